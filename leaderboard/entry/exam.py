"""An exam: the cases that entries answer, posed."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

import mdbench
from leaderboard.entry.entry import Dataset
from mdbench.cases import Case, load_cases
from mdbench.errors import MdbenchError
from mdbench.scoring import Posed, pose

#: The tasks of the paper, which every method of it answers.
PUBLISHED: Final = ("optimizer", "width_vs_optimizer", "data_vs_optimizer")


@dataclass(frozen=True, eq=False)
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

    def cases(self, selections: Iterable[str], tasks: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the cases of some selections that ask one of some tasks, in the exam's order.

        Raises
        ------
        MdbenchError
            A selection is not one of the exam's.
        """
        names: set[str] = set()
        for selection in selections:
            if selection not in self.selections:
                raise MdbenchError(
                    f"the cases of {selection!r} are not posed here, but only {', '.join(self.selections)}"
                )
            names |= set(self.selections[selection])
        asked = set(tasks)
        return tuple(name for name, one in self.posed.items() if name in names and one.rows.task.name in asked)

    def record(self, cases: Iterable[str]) -> Dataset:
        """Return the data of some cases, as entries record them."""
        posed = {name: self.posed[name] for name in cases}
        zoos = {zoo.name: zoo.digest for one in posed.values() for zoo in one.zoos}
        splits = {name: tuple(one.rows.digests) for name, one in posed.items()}
        return Dataset(version=mdbench.__version__, zoos=dict(sorted(zoos.items())), splits=splits)

    def as_recorded(self, dataset: Dataset) -> "Exam":
        """Return the part of this exam that an entry answered when it was made: its cases, each with its samples.

        Cases and samples are only ever added, samples behind those that are there: an entry that was accepted once stays
        what it was. What it recorded and is no longer asked is not in the part, so that the entry is found not to fit.
        """
        counts = {name: len(digests) for name, digests in dataset.splits.items() if name in self.posed}
        return _part(self, tuple(sorted(counts.items())))

    @cached_property
    def dataset(self) -> Dataset:
        """The data of the whole exam."""
        return self.record(self.posed)

    def digest_of(self, cases: Iterable[str]) -> str:
        """Return SHA-256 of the data of some cases, the version's name left out: what the ledger calls the dataset."""
        content = self.record(cases).model_dump(mode="json", exclude={"version"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the data of this exam, the version's name left out."""
        return self.digest_of(self.posed)


@lru_cache(maxsize=256)
def _part(exam: Exam, counts: tuple[tuple[str, int], ...]) -> Exam:
    """Return some cases of an exam, each with its first so many samples: the same object for the same question."""
    samples = dict(counts)
    posed = {name: _first(one, samples[name]) for name, one in exam.posed.items() if name in samples}
    names = {selection: tuple(case for case in some if case in posed) for selection, some in exam.selections.items()}
    return Exam(names, posed)


def _first(posed: Posed, count: int) -> Posed:
    """Return a case with its first so many samples."""
    rows = posed.rows
    if count >= len(rows.samples):
        return posed
    case = rows.case.model_copy(update={"seeds": rows.case.seeds[:count]})
    return replace(posed, rows=replace(rows, case=case, samples=rows.samples[:count]))
