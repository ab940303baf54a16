"""MD tree: a fixed tree of questions on the loss landscape whose thresholds are trained.

Zhou, Chen, Cao, Schürholt, Yang: MD tree: a model-diagnostic tree grown on loss landscape (ICML 2024). The thresholds are
set in one pass, each by bounded scalar minimisation of minus the training accuracy while the others are held.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from mdbench.tasks import Task


class Question(NamedTuple):
    """Is `column` ≤ threshold? Then `low`, else `high`: a verdict, or the number of the next question."""

    column: str
    low: int | str
    high: int | str
    start: float
    bounds: tuple[float, float]


LOW, HIGH = "temperature_too_low", "temperature_too_high"
ERROR = ("train_error", 0.5, (0.0, 1.0))
PEAK = ("mode_connectivity_peak", -10.0, (-30.0, 0.0))
TRACE = ("log_hessian_trace", 7.0, (4.0, 9.0))


def question(about: tuple[str, float, tuple[float, float]], low: int | str, high: int | str) -> Question:
    """Ask about a column, with its start and bounds."""
    column, start, bounds = about
    return Question(column, low, high, start, bounds)


#: The published trees; questions stand in the order in which their thresholds are trained, and the first is the root.
TREES = {
    "optimizer": [question(ERROR, LOW, 1), question(PEAK, 2, HIGH), question(TRACE, HIGH, LOW)],
    "width_vs_optimizer": [
        question(ERROR, 1, 2),
        question(PEAK, "width", "optimizer"),
        question(PEAK, "width", "optimizer"),
    ],
    "data_vs_optimizer": [
        question(ERROR, 1, 3),
        question(PEAK, 4, 2),
        question(TRACE, "data", "optimizer"),
        question(PEAK, "optimizer", 5),
        question(TRACE, "data", "optimizer"),
        question(TRACE, "data", "optimizer"),
    ],
}


def columns_of(tree: Sequence[Question]) -> list[str]:
    """Return the columns that a tree asks about, each once."""
    return list(dict.fromkeys(step.column for step in tree))


def columns_as_arrays(tree: Sequence[Question], models: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the values of each column of a tree, shape (n,): looking a column up in a DataFrame is slow.

    Of a column ``a|b`` it is the one that is there. What could not be measured is +∞, above every threshold.
    """
    there = {column: next(name for name in column.split("|") if name in models) for column in columns_of(tree)}
    arrays = {column: models[name].to_numpy() for column, name in there.items()}
    return {column: np.where(np.isnan(values), np.inf, values) for column, values in arrays.items()}


def follow(
    tree: Sequence[Question],
    thresholds: Sequence[float],
    values: Mapping[str, np.ndarray],
    ends: Mapping[str, Any],
    at: int | str = 0,
) -> Any:
    """Walk models down a tree from the question `at`, and return what `ends` holds for the verdicts they arrive at.

    `ends` maps a verdict to one thing, or to one for each model, shape (n,); the result has shape (n,).
    """
    if isinstance(at, str):
        return ends[at]
    step = tree[at]
    low, high = (follow(tree, thresholds, values, ends, branch) for branch in (step.low, step.high))
    return np.where(values[step.column] <= thresholds[at], low, high)


def reaching(
    tree: Sequence[Question], thresholds: Sequence[float], values: Mapping[str, np.ndarray], number: int
) -> np.ndarray:
    """Return which models a question is asked of; shape (n,), bool."""
    for parent, step in enumerate(tree):
        if number in (step.low, step.high):
            below = values[step.column] <= thresholds[parent]
            return reaching(tree, thresholds, values, parent) & (below if step.low == number else ~below)
    return np.ones(len(values[tree[0].column]), dtype=bool)


class MDTree:
    """MD tree, to the letter of the publication."""

    trees: Mapping[str, Sequence[Question]] = TREES
    name = "md_tree"
    columns: Mapping[str, Sequence[str]] = {task: columns_of(tree) for task, tree in TREES.items()}

    def fit(self, models: pd.DataFrame, labels: pd.Series, task: Task) -> None:
        """Set the thresholds."""
        self.tree = self.trees[task.name]
        self.thresholds = [step.start for step in self.tree]
        values, truth = columns_as_arrays(self.tree, models), labels.to_numpy()
        self.said = {verdict: np.array(verdict, dtype=object) for verdict in task.classes}
        right = {verdict: truth == verdict for verdict in task.classes}
        for number in range(len(self.tree)):
            self.thresholds[number] = self._best_threshold(values, right, number)

    def _best_threshold(self, values: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray], number: int) -> float:
        # With the other thresholds held, a model is set right or wrong on either side of this question whatever the
        # threshold: sorted by the column, the accuracy at any threshold is a lookup in a running sum.
        step = self.tree[number]
        asked = reaching(self.tree, self.thresholds, values, number)
        low, high = (follow(self.tree, self.thresholds, values, right, branch) for branch in (step.low, step.high))
        elsewhere = follow(self.tree, self.thresholds, values, right) & ~asked
        order = np.argsort(values[step.column][asked], kind="stable")
        low, high = low[asked][order], high[asked][order]
        count = elsewhere.sum() + high.sum() + np.concatenate([[0], np.cumsum(low.astype(int) - high)])
        loss = (-count / len(asked)).tolist()
        ascending = values[step.column][asked][order].tolist()
        found = minimize_scalar(lambda t: loss[bisect_right(ascending, t)], method="bounded", bounds=step.bounds)
        return float(found.x)

    def predict(self, models: pd.DataFrame) -> np.ndarray:
        """Walk every model down the tree."""
        return np.asarray(follow(self.tree, self.thresholds, columns_as_arrays(self.tree, models), self.said))


method = MDTree
