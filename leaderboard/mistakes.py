"""What entries get wrong in a case: which verdict they take for which, and where on the grid. Arrays alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdbench.evaluation import Posed

#: The knobs over which mistakes are drawn: down and across.
DOWN, ACROSS = "batch_size", "width"


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of n entries in one case.

    Attributes
    ----------
    confusion : how often a row of the first verdict was called the second, all seeds together; shape (n, classes, classes).
    down, across : levels of the knobs `DOWN` and `ACROSS` among the test rows, ascending; empty where there is no such knob.
    shares : share of wrong answers among the test rows at each of these grid points in whole %, all seeds together, −1 where
        none stands; shape (n, down, across).
    """

    confusion: np.ndarray
    down: Sequence[float]
    across: Sequence[float]
    shares: np.ndarray


def mistakes(posed: Posed, predicted: np.ndarray) -> Mistakes:
    """Count what was answered.

    Parameters
    ----------
    posed : the case.
    predicted : places in the task's classes, int8, shape (n, seeds, test rows); anything outside of these is wrong.
    """
    test = posed.rows.test
    truth, classes = test.codes, len(posed.rows.task.classes)
    entries = len(predicted)
    said = np.eye(classes, dtype=np.float32)[truth]
    confusion = np.stack(
        [(predicted == verdict).sum(axis=1) for verdict in range(classes)], axis=2
    )  # (n, rows, classes)
    confusion = np.einsum("rt,nrp->ntp", said, confusion.astype(np.float32), optimize=True).round().astype(int)
    if DOWN not in test.table or ACROSS not in test.table:
        return Mistakes(confusion, (), (), np.empty((entries, 0, 0), dtype=int))
    down, at_down = np.unique(test.table[DOWN].to_numpy(), return_inverse=True)
    across, at_across = np.unique(test.table[ACROSS].to_numpy(), return_inverse=True)
    points = len(down) * len(across)
    stands = np.eye(points)[at_down * len(across) + at_across]  # (rows, points)
    there = stands.sum(axis=0)
    wrong = (predicted != truth).mean(axis=1) @ stands
    shares = np.where(there > 0, np.rint(100 * wrong / np.maximum(there, 1)), -1).astype(int)
    return Mistakes(confusion, down.tolist(), across.tolist(), shares.reshape(entries, len(down), len(across)))
