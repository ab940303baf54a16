"""Zoos left out: what the judge says of networks whose kin it never saw, and how true that makes its probabilities.

Temperature and threshold that are used come from all groups, each left out in turn. Those by which a zoo is *reported*
come from the other groups alone: for each pair of groups, a judge that saw neither.
"""

import multiprocessing
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool

from mdbench.diagnosing import calibration
from mdbench.diagnosing.judge import Judge
from mdbench.diagnosing.pool import Pool
from mdbench.errors import MdbenchError
from mdbench.methods import end_nursery, worker_context
from mdbench.tables import Task

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """The pool's rows that a task asks about.

    Attributes
    ----------
    at : (n,), their places in the pool.
    right : (n,), the place of each verdict among the task's.
    groups : (n,), the group of kin of each.
    clear : (n,), whether the verdict is more than noise: what is learned from, and calibrated on.
    weights : (n,), by which groups count the same, and zoos within a group; their mean is 1.
    """

    at: Places
    right: Places
    groups: Places
    clear: NDArray[np.bool_]
    weights: Floats

    @classmethod
    def of(cls, pool: Pool, task: Task) -> "Rows":
        """Return the rows of a task."""
        at = pool.asked(task)
        labels, zoos = pool.labels[task.name].iloc[at], pool.rows["zoo"].iloc[at]
        places = {name: place for place, name in enumerate(task.classes)}
        right = np.array([places[label] for label in labels], dtype=np.int64)
        groups = np.array([pool.groups[task.name][zoo] for zoo in zoos], dtype=np.int64)
        rows = zoos.value_counts()
        kin = Counter(pool.groups[task.name][zoo] for zoo in rows.index)
        weights = 1.0 / (zoos.map(rows).to_numpy(dtype=float) * np.array([kin[int(group)] for group in groups]))
        clear = pool.decided[task.name].to_numpy(dtype=bool)[at]
        return cls(at, right, groups, clear, weights / weights.mean())

    def some(self, which: NDArray[np.bool_]) -> "Rows":
        """Return some of them."""
        return Rows(self.at[which], self.right[which], self.groups[which], self.clear[which], self.weights[which])


@dataclass(frozen=True)
class Calibration:
    """By what probabilities are made true, and from which one on there is an answer.

    Attributes
    ----------
    temperature : see `calibration.tempered`.
    threshold : smallest probability that is an answer; ∞ where nothing is.
    """

    temperature: float
    threshold: float


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Networks as they were answered by who never saw their kin.

    Attributes
    ----------
    rows : which.
    probabilities : (n, K), tempered.
    thresholds : (n,), by which each was answered or not.
    far : (n,), whether it lay so far beyond all others that it was not answered.
    """

    rows: Rows
    probabilities: Floats
    thresholds: Floats
    far: NDArray[np.bool_]

    @property
    def sure(self) -> Floats:
        """The largest probability, (n,)."""
        found: Floats = self.probabilities.max(axis=1)
        return found

    @property
    def hit(self) -> NDArray[np.bool_]:
        """Whether the likeliest verdict is the right one, (n,)."""
        found: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.rows.right
        return found

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether there was an answer, (n,)."""
        found: NDArray[np.bool_] = (self.sure >= self.thresholds) & ~self.far
        return found


def learned(pool: Pool, task: Task, columns: Sequence[str], rows: Rows) -> Judge:
    """Return a judge that learned from those of some rows whose verdicts are more than noise."""
    return _taught(pool.rows.iloc[rows.at], task, columns, rows)


def _taught(models: pd.DataFrame, task: Task, columns: Sequence[str], rows: Rows) -> Judge:
    """Return what `learned` does, of rows whose numbers are these (n, …)."""
    clear = rows.some(rows.clear)
    return Judge(task, columns).fit(models[rows.clear], clear.right, clear.weights)


def calibrated(probabilities: Floats, rows: Rows, far: NDArray[np.bool_]) -> Calibration:
    """Return temperature and threshold, from what was said (n, K) of left-out networks: of clear ones that are not far."""
    counted = rows.clear & ~far
    probabilities, rows = probabilities[counted], rows.some(counted)
    temperature = calibration.temperature_of(probabilities, rows.right, rows.weights)
    found = calibration.tempered(probabilities, temperature)
    hit = found.argmax(axis=1) == rows.right
    return Calibration(temperature, calibration.threshold_of(found.max(axis=1), hit, rows.weights))


def leave_out(pool: Pool, task: Task, columns: Sequence[str], workers: int = 1) -> tuple[Calibration, LeftOut]:
    """Return by what answers are calibrated, and each network as it was answered by a pipeline that never saw its kin.

    A group's own judge, temperature and threshold follow from the other groups alone: the latter two from judges that saw
    neither it nor the group that they answered for.

    Parameters
    ----------
    pool, task, columns : what is learned from, what is asked, and which columns of the pool are looked at.
    workers : processes, on whose number nothing depends but the time.
    """
    rows = Rows.of(pool, task)
    groups = np.unique(rows.groups)
    models = pool.rows.iloc[rows.at][list(columns)]
    outs = [out for size in (1, 2) for out in combinations(groups.tolist(), size)]
    orders = [(models, task, columns, rows, np.isin(rows.groups, out)) for out in outs]
    said = dict(zip(map(frozenset, outs), _all_said(orders, workers), strict=True))

    def others_of(group: int) -> Said:
        found = Said.nothing(len(rows.at), len(task.classes))
        for other in groups:
            if other != group:
                found.take(said[frozenset((group, int(other)))], rows.groups == other)
        return found

    own = Said.nothing(len(rows.at), len(task.classes))
    probabilities, thresholds = np.zeros_like(own.probabilities), np.zeros(len(rows.at))
    for group in groups.tolist():
        there = rows.groups == group
        own.take(said[frozenset((group,))], there)
        others = others_of(group)
        by = calibrated(others.probabilities[~there], rows.some(~there), others.far[~there])
        probabilities[there] = calibration.tempered(own.probabilities[there], by.temperature)
        thresholds[there] = by.threshold
    return calibrated(own.probabilities, rows, own.far), LeftOut(rows, probabilities, thresholds, own.far)


@dataclass(frozen=True, eq=False)
class Said:
    """What was said of networks: probabilities (n, K), not yet tempered, and which were far from all others (n,)."""

    probabilities: Floats
    far: NDArray[np.bool_]

    @classmethod
    def nothing(cls, count: int, classes: int) -> "Said":
        """Return room for so many."""
        return cls(np.zeros((count, classes)), np.zeros(count, dtype=np.bool_))

    def take(self, other: "Said", there: NDArray[np.bool_]) -> None:
        """Take over what was said of some."""
        self.probabilities[there] = other.probabilities[there]
        self.far[there] = other.far[there]


#: What `_said` is asked.
_Order = tuple[pd.DataFrame, Task, Sequence[str], Rows, NDArray[np.bool_]]


def _all_said(orders: Iterable[_Order], workers: int) -> list[Said]:
    """Return what `_said` says to each order, of several at a time.

    Raises
    ------
    MdbenchError
        A process ended before it had said anything.
    """
    if workers < 2 or multiprocessing.current_process().daemon:  # which may start no others
        return [_said(*order) for order in orders]
    pool = ProcessPool(max_workers=workers, context=worker_context((__name__,)))
    try:
        found = [waiting.result() for waiting in [pool.schedule(_said, args=[*order]) for order in orders]]
        pool.close()  # type: ignore[no-untyped-call]
    except BaseException as error:
        end_nursery()
        pool.stop()  # type: ignore[no-untyped-call]
        if isinstance(error, ProcessExpired | BrokenProcessPool):
            code = f" (exit code {error.exitcode})" if isinstance(error, ProcessExpired) else ""
            raise MdbenchError(
                f"a process that learned from the zoos ended{code}, perhaps for want of memory: the same command goes on "
                "from there"
            ) from error
        raise
    finally:
        pool.join()
    return found


def _said(models: pd.DataFrame, task: Task, columns: Sequence[str], rows: Rows, out: NDArray[np.bool_]) -> Said:
    """Return what is said of some rows (n, columns) by a judge that learned from the others; nothing of the others."""
    found = Said.nothing(len(out), len(task.classes))
    judge, asked = _taught(models[~out], task, columns, rows.some(~out)), models[out]
    found.probabilities[out], found.far[out] = judge.predict_proba(asked), judge.far(asked)
    return found
