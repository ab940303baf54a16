"""Scores and their uncertainty. Vectorised over rows, resamples and seeds; needs NumPy alone.

Test rows of one grid cell (they share width and data) are not independent, so the bootstrap draws whole cells (Cameron,
Gelbach and Miller, Bootstrap-based improvements for inference with clustered errors, 2008: the cluster, or block, bootstrap).
Intervals are percentile intervals, conditional on the training samples that the case prescribes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

RESAMPLES: Final = 2000
LEVEL: Final = 0.95
SEED: Final = 20240721


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of what it is about."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference.

    Attributes
    ----------
    estimate : mean of A − mean of B.
    interval : of the difference.
    p : two-sided bootstrap p-value of "no difference": twice the smaller share of resamples on either side of zero, those
        at zero counted on both, with one added so that it is never zero (Davison and Hinkley, Bootstrap Methods, 1997,
        section 4.4).
    """

    estimate: float
    interval: Interval
    p: float


@lru_cache(maxsize=8)
def cell_weights(cells: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Return how often each cell is drawn in each resample; shape (resamples, cells), rows sum to `cells`.

    The same for every method and case with as many cells, so that comparisons are paired.
    """
    return np.random.default_rng(seed).multinomial(cells, np.full(cells, 1 / cells), size=resamples).astype(float)


def resampled_means(values: np.ndarray, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of `values` in every resample of cells.

    Parameters
    ----------
    values : one number a row, shape (k, rows).
    cells : the cell of each row, numbered from 0, shape (rows,).
    weights : shape (resamples, cells), see `cell_weights`.

    Returns
    -------
    Shape (k, resamples); NaN where a resample holds none of these rows.
    """
    count = weights.shape[1]
    sums = np.stack([np.bincount(cells, weights=row, minlength=count) for row in values])
    with np.errstate(invalid="ignore"):
        means: np.ndarray = (sums @ weights.T) / (np.bincount(cells, minlength=count) @ weights.T)
    return means


def _intervals(draws: np.ndarray, level: float) -> list[Interval]:
    """Return the percentile interval of each row of `draws` (k, resamples)."""
    intervals = []
    for row in draws:
        # A resample without a class has no recall of it and is left out.
        known = row[np.isfinite(row)]
        at = math.floor((len(known) - 1) * (1 - level) / 2), math.ceil((len(known) - 1) * (1 + level) / 2)
        ordered = np.partition(known, at)
        intervals.append(Interval(float(ordered[at[0]]), float(ordered[at[1]])))
    return intervals


def mean_intervals(values: np.ndarray, cells: np.ndarray, level: float = LEVEL) -> list[Interval]:
    """Return the interval of each mean; `values` (k, rows) in any unit, `cells` (rows,)."""
    names, numbers = np.unique(cells, return_inverse=True)
    return _intervals(resampled_means(values, numbers, cell_weights(len(names))), level)


@dataclass(frozen=True)
class Accuracies:
    """How k methods did on one case, in %.

    Attributes
    ----------
    by_seed, balanced_by_seed : accuracy, and the mean over the classes that occur of their recall; shape (k, seeds).
    intervals, balanced_intervals : of their means over seeds; k each.
    """

    by_seed: np.ndarray
    balanced_by_seed: np.ndarray
    intervals: list[Interval]
    balanced_intervals: list[Interval]


def accuracies(predicted: np.ndarray, truth: np.ndarray, cells: np.ndarray, level: float = LEVEL) -> Accuracies:
    """Score the verdicts of k methods on one case.

    Parameters
    ----------
    predicted : shape (k, seeds, rows).
    truth, cells : true verdict and grid cell of each row, shape (rows,).
    level : coverage that the intervals aim at.
    """
    names, numbers = np.unique(cells, return_inverse=True)
    weights = cell_weights(len(names))
    right = 100.0 * (predicted == truth)
    over_seeds = right.mean(axis=1)
    classes = [truth == verdict for verdict in np.unique(truth)]
    recalls = np.mean([right[:, :, members].mean(axis=2) for members in classes], axis=0)
    drawn = [resampled_means(over_seeds[:, members], numbers[members], weights) for members in classes]
    return Accuracies(
        right.mean(axis=2),
        recalls,
        _intervals(resampled_means(over_seeds, numbers, weights), level),
        _intervals(np.mean(drawn, axis=0), level),
    )


@dataclass(frozen=True)
class Pair:
    """Two methods on one case: what the paired bootstrap needs.

    Attributes
    ----------
    gain : for each test row, how much more often A is right than B over the seeds, in [−1, 1]; shape (rows,).
    cells : the cell of each row, numbered over the whole test zoo; shape (rows,).
    cell_count : cells of the whole test zoo.
    zoo : name of the test zoo: cases on one test zoo are resampled together.
    """

    gain: np.ndarray
    cells: np.ndarray
    cell_count: int
    zoo: str


def paired_difference(pairs: list[Pair], level: float = LEVEL) -> Difference:
    """Return the difference of mean accuracies over one case or several, in points.

    Cases on the same test zoo share their rows, so one draw of cells serves all of them; different zoos are drawn
    independently.
    """
    zoos = sorted({pair.zoo for pair in pairs})
    draws = np.mean(
        [
            resampled_means(
                100 * pair.gain[None], pair.cells, cell_weights(pair.cell_count, seed=SEED + zoos.index(pair.zoo))
            )
            for pair in pairs
        ],
        axis=0,
    )
    estimate = float(np.mean([100 * np.mean(pair.gain) for pair in pairs]))
    known = draws[np.isfinite(draws)]
    tail = min(np.sum(known <= 0), np.sum(known >= 0))
    return Difference(estimate, _intervals(draws, level)[0], min(1.0, 2 * (float(tail) + 1) / (len(known) + 1)))
