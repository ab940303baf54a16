"""Which columns decide what a method says: permutation importance on the rows that are asked about.

A column matters as much as balanced accuracy falls where its values are dealt out anew among the test rows (Breiman, Random
forests, Machine Learning, 2001), the trained method and all other columns being the same. Of columns that tell the same, each
can stand in for the other, so that neither seems to matter.
"""

import os
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from mdbench.errors import MdbenchError
from mdbench.methods import (
    Learner,
    Method,
    MethodError,
    Question,
    beside,
    kept_back,
    loaded_method,
    questions,
    say_once,
)
from mdbench.scoring import stats
from mdbench.scoring.evaluation import Progress
from mdbench.scoring.posing import choose, pose
from mdbench.scoring.student import Interval, mean_interval


@dataclass(frozen=True)
class Importance:
    """A column, and the balanced accuracy that is lost without what it says, in points, with its interval."""

    column: str
    lost: float
    interval: Interval


@dataclass(frozen=True)
class Explanation:
    """Which columns decide what a method says in a case.

    Attributes
    ----------
    method, case : their names.
    balanced_accuracy : in %, mean over training samples, nothing shuffled.
    importances : of every column that the method gets, the largest first.
    over : what intervals are over, by Student's distribution: training samples, or where there is one alone, shuffles.
    samples, shuffles : how many training samples, and shuffles of each column after each of them.
    """

    method: str
    case: str
    balanced_accuracy: float
    importances: tuple[Importance, ...]
    over: Literal["training samples", "shuffles"]
    samples: int
    shuffles: int

    @classmethod
    def of(cls, names: tuple[str, str], columns: tuple[str, ...], base: np.ndarray, lost: np.ndarray) -> Self:
        """Make one of balanced accuracies (samples,) in %, and of what is lost, (samples, columns, shuffles) in points."""
        samples, _, shuffles = lost.shape
        draws = lost.mean(axis=2) if samples > 1 else lost[0].T
        found = [
            Importance(column, float(one.mean()), mean_interval(one))
            for column, one in zip(columns, draws.T, strict=True)
        ]
        return cls(
            *names,
            balanced_accuracy=float(base.mean()),
            importances=tuple(sorted(found, key=lambda one: -one.lost)),
            over="training samples" if samples > 1 else "shuffles",
            samples=samples,
            shuffles=shuffles,
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the importances as a table: ``column``, ``lost``, ``low`` and ``high``, in points."""
        rows = [(one.column, one.lost, one.interval.low, one.interval.high) for one in self.importances]
        return pd.DataFrame(rows, columns=["column", "lost", "low", "high"])


def explain(
    method: Any,
    case: str,
    *,
    zoo: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    shuffles: int = 10,
    progress: Progress | None = None,
) -> Explanation:
    """Say which columns decide what a method says in a case; the method runs in this process.

    Parameters
    ----------
    method : the name of a method, its file, or an object or class that is one.
    case : its name; with a zoo, one of that zoo's own cases.
    zoo : name or folder of a zoo, of whose own cases one is meant.
    samples : how many training samples are learned from, the first ones; all if None.
    shuffles : how often each column is shuffled after each training sample.
    progress : called with the number of trainings that are done and wanted.

    Raises
    ------
    MdbenchError
        There is no such case, or it is not one alone; the method does not answer its task, looks at no column, or fails;
        there are fewer than two shuffles.
    """
    if shuffles < 2:
        raise MdbenchError(f"{shuffles} shuffles are too few: an interval takes two")
    known = loaded_method(method)
    wanted, at_hand = choose(case, zoo)
    if len(wanted) != 1:
        raise MdbenchError(f"{case!r} is {len(wanted)} cases; name one of them, such as {wanted[0].name}")
    (posed,), _ = pose([wanted[0].first(samples)], at_hand)
    rows = posed.rows
    if not known.answers(rows.task.name):
        raise MdbenchError(
            f"method {known.name} does not answer {rows.task.name}, which case {rows.case.name} asks; "
            f"it answers {', '.join(known.columns or ())}"
        )
    base, lost, distinct = [], [], len(set(rows.distinct))
    try:
        with beside(known.file), kept_back() as warned:
            for _, seen, question in questions(known, rows):
                if not question.columns:
                    raise MdbenchError(f"method {known.name} looks at no column in case {rows.case.name}")
                before, after = _shuffled(known, question, rows.test.codes[seen], shuffles)
                base.append(before)
                lost.append(before - after)
                if progress:
                    progress(len(base), distinct)
    except MethodError as error:
        raise MethodError(f"method {known.name}, case {rows.case.name}: {error}", error.traceback) from error
    say_once(known.name, [warned])
    return Explanation.of((known.name, rows.case.name), question.columns, np.array(base), np.stack(lost))


def _shuffled(method: Method, question: Question, truth: np.ndarray, shuffles: int) -> tuple[float, np.ndarray]:
    """Return balanced accuracy in %, and after each shuffle of each column, shape (columns, shuffles)."""
    learner, draws = Learner(method, question), np.random.default_rng(question.seed)
    rows = len(question.test)
    before = learner.unasked().predict(question.test.copy())
    after = np.empty((len(question.columns), shuffles))
    for column in range(len(question.columns)):
        tables = np.repeat(question.test[None], shuffles, axis=0)
        tables[:, :, column] = draws.permuted(tables[:, :, column], axis=1)
        if method.track == "inductive":  # row by row, so that all may be asked at once
            said = learner.predict(tables.reshape(shuffles * rows, -1)).reshape(shuffles, rows)
        else:
            said = np.stack([learner.unasked().predict(table) for table in tables])
        after[column] = [stats.balanced_accuracy(one, truth) for one in said]
    return stats.balanced_accuracy(before, truth), after
