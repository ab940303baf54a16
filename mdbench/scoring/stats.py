"""Scores: how often methods are right, and by how much more than chance. Vectorised over rows and training samples.

The uncertainty of scores is in `mdbench.scoring.student`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from mdbench.scoring.student import Interval, Means, over_rows

#: A verdict that a smaller share of the rows has is rare: its recall is no part of balanced accuracy.
RARE: Final = 0.05


@dataclass(frozen=True)
class Accuracies:
    """How k methods did on one case, in %.

    Attributes
    ----------
    by_seed, balanced_by_seed : accuracy, and the mean recall of the verdicts of `counted`; shape (k, seeds).
    intervals, balanced_intervals : of their means over seeds; k each.
    """

    by_seed: np.ndarray
    balanced_by_seed: np.ndarray
    intervals: list[Interval]
    balanced_intervals: list[Interval]


def counted(truth: np.ndarray) -> np.ndarray:
    """Return the verdicts whose recall is part of balanced accuracy: those that no fewer than 5 % of the rows have.

    A few rows of a rare verdict would weigh as much as hundreds of another. Where this leaves fewer than two, every verdict
    that occurs is counted.

    Parameters
    ----------
    truth : true verdict of each row, shape (rows,).
    """
    several = common(truth)
    return several if len(several) > 1 else np.unique(truth)


def common(truth: np.ndarray) -> np.ndarray:
    """Return the verdicts that no fewer than 5 % of the rows have, from the true verdict of each row, shape (rows,)."""
    verdicts, rows = np.unique(truth, return_counts=True)
    return verdicts[rows >= RARE * len(truth)]


def balanced_accuracy(said: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean recall of the verdicts of `counted`, in %; verdicts of shape (rows,)."""
    return float(recalls(100.0 * (said == truth), truth))


def above_chance(balanced: float, verdicts: int) -> float:
    """Return balanced accuracy over so many verdicts, in %, on a scale where one verdict said always is 0 and perfect 100.

    ``100 (b − 100/k) / (100 − 100/k)``, scikit-learn's ``balanced_accuracy_score(adjusted=True)``.
    """
    chance = 100 / verdicts
    return 100 * (balanced - chance) / (100 - chance)


def recalls(right: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the mean recall of the verdicts of `counted`, in the unit of `right`.

    Parameters
    ----------
    right : how right each answer is; shape (…, rows).
    truth : true verdict of each row, shape (rows,).

    Returns
    -------
    Shape (…).
    """
    means: np.ndarray = np.mean([right[..., truth == verdict].mean(axis=-1) for verdict in counted(truth)], axis=0)
    return means


def strata(truth: np.ndarray) -> np.ndarray:
    """Return the true verdicts (rows,), −1 for those that `counted` leaves out."""
    return np.where(np.isin(truth, counted(truth)), truth, -1)


def accuracies(
    predicted: np.ndarray, truth: np.ndarray, cells: np.ndarray, cell_count: int, *, several: bool = True
) -> Accuracies:
    """Score the verdicts of k methods on one case.

    Parameters
    ----------
    predicted : shape (k, samples, rows).
    truth, cells : true verdict of each row, and its grid cell, numbered over the whole test zoo; shape (rows,).
    cell_count, several : see `mdbench.scoring.student.over_rows`.
    """
    right = 100.0 * (predicted == truth)
    plain, balanced = (
        over_rows(right, cells, cell_count, several=several, strata=by).intervals(0, 100)
        for by in (None, strata(truth))
    )
    return Accuracies(right.mean(axis=2), recalls(right, truth), plain, balanced)


def means_above_chance(
    right: np.ndarray, truth: np.ndarray, cells: np.ndarray, cell_count: int, *, zoo: str, several: bool
) -> Means | None:
    """Return what k methods have above chance on one case, in %.

    Parameters
    ----------
    right : how often each answer is right, from 0 to 1; shape (k, samples, rows).
    truth : true verdict of each row, shape (rows,).
    cells, cell_count, zoo, several : see `mdbench.scoring.student.over_rows`.

    Returns
    -------
    None where all rows but a few have one verdict.
    """
    verdicts = len(common(truth))
    if verdicts < 2:
        return None
    balanced = over_rows(100 * right, cells, cell_count, zoo=zoo, several=several, strata=strata(truth))
    chance = 100 / verdicts
    return balanced.scaled(100 / (100 - chance), chance)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values (pairs,) corrected for their number by Holm's step-down procedure (Scand. J. Statistics, 1979)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return corrected
