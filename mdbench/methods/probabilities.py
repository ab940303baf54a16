"""Probabilities as a method gives them: checked, and put in the order of the task's verdicts."""

from typing import Any, Final

import numpy as np
import pandas as pd

from mdbench.cases import codes
from mdbench.methods.method import MethodError
from mdbench.tables import Task

#: How far from 1 the probabilities of a row may add up to, and how far below 0 rounding may bring one.
TOLERANCE: Final = 1e-4


def in_order(given: Any, classes: Any, task: Task, rows: int) -> np.ndarray:
    """Return what ``predict_proba`` gave in the order of ``task.classes``.

    Parameters
    ----------
    given : what it gave: numbers, shape (rows, classes); or a DataFrame whose columns are named by verdicts and whose index
        names the rows.
    classes : the verdicts of the columns, as scikit-learn's ``classes_``; None: those of the task. A verdict that is not
        among them has probability 0.
    task : what was asked.
    rows : how many rows were asked about.

    Returns
    -------
    Shape (rows, classes of the task), float32; see `check_probabilities`.

    Raises
    ------
    MethodError
        These are no probabilities of these verdicts for so many rows.
    """
    if isinstance(given, pd.DataFrame):
        if given.index.has_duplicates or len(given) != rows or not given.index.isin(range(rows)).all():
            raise MethodError(
                "it gave probabilities as a DataFrame whose index does not name the rows it was asked about"
            )
        given, classes = given.reindex(range(rows)), given.columns
    places = np.arange(len(task.classes)) if classes is None else codes(np.asarray(classes, dtype=object).ravel(), task)
    if (places < 0).any() or len(np.unique(places)) < len(places):
        raise MethodError(
            f"it gave probabilities of {', '.join(str(one)[:60] for one in np.ravel(classes))}; "
            f"the verdicts of {task.name} are {', '.join(task.classes)}"
        )
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise MethodError(f"it gave probabilities that are no table of numbers, but a {type(given).__name__}") from None
    if values.shape != (rows, len(places)):
        shape = "×".join(map(str, values.shape)) or "one number"
        raise MethodError(f"it gave probabilities of shape {shape} for {rows} rows and {len(places)} verdicts")
    check_probabilities(values)
    ordered = np.zeros((rows, len(task.classes)), dtype=np.float32)
    ordered[:, places] = np.maximum(values, 0)
    return ordered


def check_probabilities(values: np.ndarray) -> None:
    """Make sure that the rows of (n, classes) are probabilities: finite, not negative, and adding up to 1.

    Raises
    ------
    MethodError
        One of them is not.
    """
    finite = np.isfinite(values)
    sums = np.where(finite, values, 0).sum(axis=1)
    for wrong, what in (
        (~finite.all(axis=1), "that are not finite"),
        ((values < -TOLERANCE).any(axis=1), "below 0"),
        (np.abs(sums - 1) > TOLERANCE, f"that do not add up to 1 (but to {sums[np.argmax(np.abs(sums - 1))]:.6g})"),
    ):
        if wrong.any():
            raise MethodError(f"it gave probabilities {what}, in {wrong.sum()} of {len(values)} rows")
