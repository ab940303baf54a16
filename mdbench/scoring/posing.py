"""Which cases are asked, and their rows."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdbench.cases import Case, CaseRows, load_cases, own_cases_and_why, select, split
from mdbench.errors import MdbenchError
from mdbench.scoring.results import Failure
from mdbench.tables import Zoo, find_zoo, load_zoo


@dataclass(frozen=True)
class Posed:
    """A case with its rows and its zoos: those learned from, and the one asked about; `folders` are those of `zoos`."""

    rows: CaseRows
    train: tuple[Zoo, ...]
    test: Zoo
    folders: tuple[Path, ...]

    @property
    def zoos(self) -> tuple[Zoo, ...]:
        """All zoos of the case, the one asked about last."""
        return (*self.train, self.test)


#: Zoos that were loaded already: name → folder and zoo.
AtHand = Mapping[str, tuple[Path, Zoo]]


def choose(
    cases: str | Sequence[str] | None, zoo: str | os.PathLike[str] | None, otherwise: str = "core"
) -> tuple[list[Case], AtHand]:
    """Return the cases that are wanted, and the zoos that had to be loaded to know them.

    Parameters
    ----------
    cases : see `mdbench.cases.load_cases`; with a zoo, of its own cases: names, sweeps or patterns. None for `otherwise`,
        and with a zoo for all.
    zoo : name or folder of a zoo to evaluate on, by the cases that it makes itself (see `mdbench.cases.own`).
    otherwise : the cases where nothing is said.

    Raises
    ------
    MdbenchError
        There is no such case or zoo, or the zoo makes no cases.
    """
    if zoo is None:
        return load_cases(otherwise if cases is None else cases), {}
    folder = find_zoo(zoo).resolve()
    loaded = load_zoo(folder, layers=False)
    made, why_not = own_cases_and_why(loaded)
    own = {case.name: case for case in made}
    hint = f"zoo {loaded.name} makes {', '.join(own)}" + (f", and no others: {'; '.join(why_not)}" if why_not else "")
    chosen = select("all" if cases is None else cases, own, {}, hint)
    return chosen, {loaded.name: (folder, loaded)}


def pose(cases: Iterable[Case], at_hand: AtHand | None = None) -> tuple[list[Posed], list[Failure]]:
    """Load the zoos of cases, those at hand excepted, and split them.

    Returns
    -------
    The cases that can be posed, and why the others cannot.

    Raises
    ------
    MdbenchError
        None can.
    """
    zoos = dict(at_hand or {})
    posed, failures = [], []

    def zoo(name: str) -> tuple[Path, Zoo]:
        if name not in zoos:
            folder = find_zoo(name, of_case=True)
            zoos[name] = folder, load_zoo(folder, layers=False)
        return zoos[name]

    for case in cases:
        try:
            folders, loaded = zip(*map(zoo, case.zoos), strict=True)
            *train, test = loaded
            posed.append(Posed(split(case, train, test), tuple(train), test, folders))
        except MdbenchError as error:
            failures.append(Failure(method=None, case=case.name, reason=str(error)))
    if not posed:
        raise MdbenchError(failures[0].reason)
    return posed, failures
