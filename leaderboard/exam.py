"""An exam: the cases that entries answer, posed."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import mdbench
from leaderboard.entry import Dataset
from mdbench.cases import Case, load_cases
from mdbench.errors import MdbenchError
from mdbench.evaluation import Posed, pose


@dataclass(frozen=True)
class Exam:
    """The cases of some selections with their rows.

    Attributes
    ----------
    selections : selection → names of its cases.
    posed : name of a case → the case with its rows, in the order of ``cases.toml``.
    """

    selections: Mapping[str, tuple[str, ...]]
    posed: Mapping[str, Posed]

    @classmethod
    def of(cls, selections: Iterable[str]) -> "Exam":
        """Pose the cases of some selections.

        Raises
        ------
        MdbenchError
            A selection does not exist, or one of its zoos is not on this machine.
        """
        return cls.posing({name: load_cases(name) for name in selections})

    @classmethod
    def posing(cls, cases: Mapping[str, Sequence[Case]]) -> "Exam":
        """Pose cases; `cases` is selection → cases. Raises as `of` does."""
        every = {case.name: case for several in cases.values() for case in several}
        posed, failures = pose(every.values())
        if failures:
            raise MdbenchError(f"case {failures[0].case} cannot be posed: {failures[0].reason}")
        return cls(
            {name: tuple(case.name for case in several) for name, several in cases.items()},
            {one.rows.case.name: one for one in posed},
        )

    @cached_property
    def dataset(self) -> Dataset:
        """The data of this exam, as entries record it."""
        zoos = {zoo.name: zoo.digest for one in self.posed.values() for zoo in (one.train, one.test)}
        splits = {name: tuple(one.rows.digests) for name, one in self.posed.items()}
        return Dataset(version=mdbench.__version__, zoos=dict(sorted(zoos.items())), splits=splits)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the data of this exam, the version's name left out."""
        content = self.dataset.model_dump(mode="json", exclude={"version"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
