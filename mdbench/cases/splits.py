"""Which rows train and which rows test.

Within one zoo, row for row the published sampling (Zhou et al., ICML 2024): NumPy's legacy generator, seeded anew for every
split, one ``choice`` a split, over lists that are ascending. Of several zoos, each is drawn from by a generator of its own.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from mdbench.cases.cases import Case, Range
from mdbench.errors import MdbenchError
from mdbench.tables import NONE, Task, Zoo, find_task, kind


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a zoo that take part in a task.

    Attributes
    ----------
    table : the rows, in the zoo's order.
    task : the question.
    cells : the grid cell of each row, numbered over the whole zoo; shape (rows,).
    cell_count : cells of the whole zoo.
    zoo : name of the zoo.
    """

    table: pd.DataFrame
    task: Task
    cells: np.ndarray
    cell_count: int
    zoo: str = ""
    _values: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _combinations: dict[tuple[str, ...], tuple[np.ndarray, int]] = field(default_factory=dict, repr=False)
    _told: dict[tuple[str, ...], "Rows"] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def ids(self) -> np.ndarray:
        """The identifiers of the rows; shape (rows,), strings."""
        return self.table.index.to_numpy(dtype=object)

    @cached_property
    def labels(self) -> np.ndarray:
        """The true verdicts; shape (rows,), strings."""
        return self.table[self.task.name].to_numpy(dtype=object)

    @cached_property
    def codes(self) -> np.ndarray:
        """The true verdicts, as places in ``task.classes``; shape (rows,), int8."""
        return codes(self.labels, self.task)

    @property
    def parts(self) -> tuple["Rows", ...]:
        """The rows zoo by zoo: these alone."""
        return (self,)

    def only(self, chosen: np.ndarray) -> "Rows":
        """Return the chosen rows, boolean (rows,), in their order."""
        return Rows(self.table[chosen], self.task, self.cells[chosen], self.cell_count, self.zoo)

    def told(self, columns: Sequence[str], *, labels: bool = True) -> "Rows":
        """Return the same rows with some columns alone, those of them that the zoo has, and with their labels or without."""
        names = (*(name for name in columns if name in self.table), *([self.task.name] if labels else []))
        if names not in self._told:  # a zoo is learned from in many cases, and pandas takes long to choose columns
            self._told[names] = Rows(self.table[list(names)], self.task, self.cells, self.cell_count, self.zoo)
        return self._told[names]

    def matrix(self, columns: Sequence[str]) -> np.ndarray:
        """Return the values of some columns, NaN in one that the zoo does not have; shape (rows, columns)."""
        for column in columns:
            if column not in self._values:
                there = column in self.table
                self._values[column] = self.table[column].to_numpy(dtype=float) if there else np.full(len(self), np.nan)
        return np.stack([self._values[column] for column in columns], axis=1) if columns else np.empty((len(self), 0))

    def combinations(self, knobs: tuple[str, ...]) -> tuple[np.ndarray, int]:
        """Give each combination of the levels of some knobs a number, last knob fastest, whether or not a row stands there.

        Returns
        -------
        The number of each row's combination, shape (rows,), and how many combinations there are.
        """
        if knobs not in self._combinations:
            count, number = 1, np.zeros(len(self), dtype=np.int64)
            for knob in knobs:
                levels, level = np.unique(self.table[knob].to_numpy(), return_inverse=True)
                count, number = count * len(levels), number * len(levels) + level
            self._combinations[knobs] = number, count
        return self._combinations[knobs]


@lru_cache(maxsize=128)
def taking_part(zoo: Zoo, task: Task, keep: tuple[tuple[str, Range], ...] = (), also: tuple[str, ...] = ()) -> Rows:
    """Return the rows of a zoo that take part in a task: those to keep, less those without a verdict.

    Parameters
    ----------
    zoo, task : what is asked of what.
    keep : knobs, and the values of them that take part.
    also : other tasks in which a row must have a verdict.

    Raises
    ------
    MdbenchError
        The zoo lacks the task's label or a knob to keep by, the knob has no order, or no row is left.
    """
    table = zoo.configurations
    for need in (task.name, *also, *(knob for knob, _ in keep)):
        if need not in table:
            raise MdbenchError(f"zoo {zoo.name} has no column {need!r}")
    chosen = pd.Series(True, index=table.index)
    for label in (task.name, *also):
        chosen &= table[label].notna() & (table[label] != NONE)
    for knob, values in keep:
        chosen &= values.holds(_ordered(knob, table))
    if not chosen.any():
        raise MdbenchError(f"no row of zoo {zoo.name} takes part")
    return Rows(table[chosen], task, zoo.cells[chosen].to_numpy(), int(zoo.cells.max()) + 1, zoo.name)


@dataclass(frozen=True, eq=False)
class Pool:
    """The rows of several zoos that take part in a task, one zoo after the other.

    Attributes
    ----------
    parts : the rows of each zoo.
    """

    parts: tuple[Rows, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @cached_property
    def ids(self) -> np.ndarray:
        """The identifiers of the rows, each behind the name of its zoo and a colon; shape (rows,), strings."""
        return np.concatenate(
            [np.array([f"{part.zoo}:{row}" for row in part.ids], dtype=object) for part in self.parts]
        )

    @cached_property
    def labels(self) -> np.ndarray:
        """The true verdicts; shape (rows,), strings."""
        return np.concatenate([part.labels for part in self.parts])

    @cached_property
    def codes(self) -> np.ndarray:
        """The true verdicts, as places in the task's classes; shape (rows,), int8."""
        return np.concatenate([part.codes for part in self.parts])

    def told(self, columns: Sequence[str]) -> "Pool":
        """Return the same rows with some columns and their labels alone."""
        return Pool(tuple(part.told(columns) for part in self.parts))

    def matrix(self, columns: Sequence[str]) -> np.ndarray:
        """Return the values of some columns, NaN in rows whose zoo does not have one; shape (rows, columns)."""
        return np.concatenate([part.matrix(columns) for part in self.parts])


def _ordered(knob: str, table: pd.DataFrame) -> "pd.Series[float]":
    """Return the values of a knob, which must be numbers to be compared."""
    if kind(knob) == "text":
        raise MdbenchError(f"the values of {knob!r} are names without an order: no range of them can be kept or drawn")
    return table[knob]


@dataclass(frozen=True, eq=False)
class CaseRows:
    """The rows of a case.

    Attributes
    ----------
    case : what is asked.
    train : rows that may be trained on, of one zoo or several.
    test : rows to diagnose.
    samples : for each seed of the case, positions in `train`.
    """

    case: Case
    train: Rows | Pool
    test: Rows
    samples: Sequence[np.ndarray]

    @property
    def task(self) -> Task:
        """The question."""
        return self.test.task

    def told(self, columns: Sequence[str]) -> "CaseRows":
        """Return the case with some columns alone, and without the true verdicts of the rows to diagnose."""
        return CaseRows(self.case, self.train.told(columns), self.test.told(columns, labels=False), self.samples)

    @cached_property
    def distinct(self) -> list[int]:
        """For each seed, the first seed with the same training rows: its own place unless a sample occurs again."""
        samples = [sample.tobytes() for sample in self.samples]
        return [samples.index(sample) for sample in samples]

    @property
    def several(self) -> bool:
        """Whether training samples differ: a limit leaves nothing to draw."""
        return len(set(self.distinct)) > 1

    @cached_property
    def digests(self) -> list[str]:
        """For each seed, SHA-256 of the sorted identifiers of test and training rows, one a line, an empty line between."""
        test = hashlib.sha256("\n".join([*sorted(self.test.ids), "", ""]).encode())
        made = {}
        for position in set(self.distinct):
            both = test.copy()
            both.update("\n".join(sorted(self.train.ids[self.samples[position]])).encode())
            made[position] = both.hexdigest()
        return [made[position] for position in self.distinct]


def draw(rows: Rows, case: Case, seed: int) -> np.ndarray:
    """Draw the training rows of one seed.

    Parameters
    ----------
    rows : rows that may be drawn.
    case : says how. ``cells``: every row of `budget` random combinations of the levels of its knobs; ``levels``: every
        row with one of `budget` random levels of its knob; ``limit``: every row whose knob is at most `budget`; ``each``:
        every row with one level of its knob, which `seed` counts from 0, in ascending order.
    seed : seed of the sample.

    Returns
    -------
    Positions in `rows`, ascending, shape (m,).

    Raises
    ------
    MdbenchError
        A knob is missing or has no order, there are fewer cells or levels than the budget, or no row is drawn.
    """
    for knob in case.knobs:
        if knob not in rows.table:
            raise MdbenchError(f"case {case.name}: the train zoo has no column {knob!r}")
    if case.sample == "limit":
        chosen = _ordered(case.knobs[0], rows.table).to_numpy() <= case.budget
    else:
        number, count = rows.combinations(case.knobs)
        size = seed + 1 if case.sample == "each" else int(case.budget)
        if size > count:
            unit = "levels" if case.sample == "each" else case.sample
            raise MdbenchError(f"case {case.name}: {size} {unit} wanted, but the train zoo has {count}")
        if case.sample == "each":
            chosen = number == seed
        else:
            chosen = np.isin(number, np.random.RandomState(seed).choice(range(count), size=size, replace=False))
    positions = np.flatnonzero(chosen)
    if not len(positions):
        none = f"has {case.knobs[0]} up to {case.budget:g}" if case.sample == "limit" else f"is drawn by seed {seed}"
        raise MdbenchError(f"case {case.name}: no training row {none}")
    return positions


def draw_shares(pool: Pool, case: Case, seed: int) -> np.ndarray:
    """Draw the training rows of one seed from several zoos.

    Of each zoo `budget` % of its cells are drawn, whole and without replacement. A zoo with more rows than the middle one
    (the lower median) gives as many fewer, so that none outweighs the others.

    Parameters
    ----------
    pool : rows that may be drawn.
    case : says how, see `Case`.
    seed : seed of the sample.

    Returns
    -------
    Positions in `pool`, ascending, shape (m,).
    """
    middle = sorted(map(len, pool.parts))[(len(pool.parts) - 1) // 2]
    chosen = []
    for part in pool.parts:
        cells = np.unique(part.cells)
        size = math.ceil(len(cells) * case.budget / 100 * min(1, middle / len(part)))
        own = hashlib.sha256(part.zoo.encode()).digest()
        picked = np.random.default_rng([seed, int.from_bytes(own[:8], "big")]).permutation(cells)[:size]
        chosen.append(np.isin(part.cells, picked))
    return np.flatnonzero(np.concatenate(chosen))


def codes(labels: np.ndarray, task: Task) -> np.ndarray:
    """Return labels, (n,) objects, as places in ``task.classes``, −1 for anything else; shape (n,), int8."""
    place: dict[object, int] = {verdict: number for number, verdict in enumerate(task.classes)}
    try:
        # A dictionary: pandas' own look-up takes several times as long for objects.
        return np.array([place.get(label, -1) for label in labels.tolist()], dtype=np.int8)
    except TypeError:  # something unhashable among them
        return codes(np.array([label if isinstance(label, str) else None for label in labels], dtype=object), task)


def split(case: Case, train: Zoo | Sequence[Zoo], test: Zoo) -> CaseRows:
    """Return the rows of a case.

    Parameters
    ----------
    case : what is asked.
    train : the zoo to learn from; where there are several, in the case's order.
    test : the zoo to ask about.

    Raises
    ------
    MdbenchError
        A zoo lacks what the case needs, or the budget is out of its reach; the task has other verdicts in one zoo than in
        the other.
    """
    known = (train,) if isinstance(train, Zoo) else tuple(train)
    task = test.tasks.get(case.task, find_task(case.task))
    try:
        *may_train, asked = (
            taking_part(zoo, task, (*case.keep.items(), *side.items()), case.also)
            for zoo, side in (*((zoo, case.train_keep) for zoo in known), (test, case.test_keep))
        )
    except MdbenchError as error:
        raise MdbenchError(f"case {case.name}: {error}") from error
    for zoo in known:
        learned = zoo.tasks[task.name].classes
        if learned != task.classes:
            raise MdbenchError(
                f"case {case.name}: {task.name} has the verdicts {', '.join(task.classes)} in zoo {test.name}, but "
                f"{', '.join(learned)} in zoo {zoo.name}; both zoos must offer the same moves"
            )
    if case.sample == "share":
        pool = Pool(tuple(may_train))
        return CaseRows(case, pool, asked, [draw_shares(pool, case, seed) for seed in case.seeds])
    (rows,) = may_train
    samples = [draw(rows, case, seed) for seed in case.seeds]
    if case.held_out:
        # The same rows for every seed, so that seeds and methods are compared on one table.
        asked = asked.only(~np.isin(asked.cells, rows.cells[np.concatenate(samples)]))
        if not len(asked):
            raise MdbenchError(f"case {case.name}: its seeds train on every cell, and none is held out")
    return CaseRows(case, rows, asked, samples)
