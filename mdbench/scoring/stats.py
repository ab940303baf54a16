"""Scores and their uncertainty. Vectorised over rows, resamples and seeds; needs NumPy alone.

A score depends on which rows were trained on and on which were asked, so the bootstrap draws both, each on its own:
training samples, and whole grid cells of the test zoo, whose rows share width and data and are not independent (Owen, The
pigeonhole bootstrap, Annals of Applied Statistics, 2007). Variance that is neither the sample's nor the cell's counts up to
three times: there it is conservative. Where every seed has the same training rows, that dimension vanishes.

Intervals are percentile intervals. A case has few training samples, 5 or 25. The variance that they add is estimated
without bias (see `sample_weights`), but percentiles make no allowance, as Student's t would, for how few they are. Where
the training samples are all that varies, and normally, 95 % intervals over five cover P(−1.96 < t₄ < 1.96) = 88 %; where
they vary in leaps, less.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

RESAMPLES: Final = 2000
LEVEL: Final = 0.95
SEED: Final = 20240721
#: A verdict that a smaller share of the rows has is rare: its recall is no part of balanced accuracy.
RARE: Final = 0.05


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
    p : two-sided p-value of "no difference". That of the bootstrap is twice the smaller share of resamples on either side
        of zero, those at zero counted on both, with one added so that it is never zero (Davison and Hinkley, Bootstrap
        Methods, 1997, section 4.4).
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


@lru_cache(maxsize=8)
def sample_weights(samples: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Return the share of each training sample in each resample; shape (resamples, samples), rows sum to 1.

    One fewer is drawn than there are, with replacement: a mean over n − 1 draws varies by s² / n, with the unbiased s²,
    where one over n draws varies by s² (n − 1) / n², a fifth less with five (Rao and Wu, Resampling inference with complex
    survey data, JASA, 1988).

    The same for every method and case with as many samples. In a mean over cases that is right whether or not their samples
    have to do with each other (one seed draws the same cells for every task, and smaller budgets from larger ones): what is
    drawn is the mean over cases of one sample each. Draws of their own would take the cases for independent.
    """
    draws = max(samples - 1, 1)
    rng = np.random.default_rng([seed, samples])  # other numbers than the cells'
    return rng.multinomial(draws, np.full(samples, 1 / samples), size=resamples) / draws


def resampled_means(values: np.ndarray, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of `values` in every resample of training samples and cells.

    Parameters
    ----------
    values : one number a training sample and row, shape (k, samples, rows).
    cells : the cell of each row, numbered from 0, shape (rows,).
    weights : shape (resamples, cells), see `cell_weights`.

    Returns
    -------
    Shape (k, resamples); NaN where a resample holds none of these rows.
    """
    (k, samples, rows), count = values.shape, weights.shape[1]
    sums = np.stack([np.bincount(cells, weights=one, minlength=count) for one in values.reshape(k * samples, rows)])
    by_sample = (sums @ weights.T).reshape(k, samples, len(weights))
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.einsum("ksb,bs->kb", by_sample, sample_weights(samples, len(weights))) / (
            np.bincount(cells, minlength=count) @ weights.T
        )
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


def mean_intervals(values: np.ndarray, cells: np.ndarray, cell_count: int, level: float = LEVEL) -> list[Interval]:
    """Return the interval of each mean; `values` (k, samples, rows) in any unit, `cells` (rows,) of `cell_count`."""
    return _intervals(resampled_means(values, cells, cell_weights(cell_count)), level)


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
    verdicts, rows = np.unique(truth, return_counts=True)
    common = verdicts[rows >= RARE * len(truth)]
    return common if len(common) > 1 else verdicts


def balanced_accuracy(said: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean recall of the verdicts of `counted`, in %; verdicts of shape (rows,)."""
    return 100 * float(np.mean([(said[truth == verdict] == verdict).mean() for verdict in counted(truth)]))


def above_chance(balanced: float, verdicts: int) -> float:
    """Return balanced accuracy over so many verdicts, in %, on a scale where one verdict said always is 0 and perfect 100.

    ``100 (b − 100/k) / (100 − 100/k)``, scikit-learn's ``balanced_accuracy_score(adjusted=True)``.
    """
    chance = 100 / verdicts
    return 100 * (balanced - chance) / (100 - chance)


def accuracies(
    predicted: np.ndarray, truth: np.ndarray, cells: np.ndarray, cell_count: int, level: float = LEVEL
) -> Accuracies:
    """Score the verdicts of k methods on one case.

    Parameters
    ----------
    predicted : shape (k, seeds, rows).
    truth, cells : true verdict of each row, and its grid cell, numbered over the whole test zoo; shape (rows,).
    cell_count : cells of the whole test zoo.
    level : coverage that the intervals aim at.
    """
    weights = cell_weights(cell_count)
    right = 100.0 * (predicted == truth)
    classes = [truth == verdict for verdict in counted(truth)]
    recalls = np.mean([right[:, :, members].mean(axis=2) for members in classes], axis=0)
    drawn = [resampled_means(right[:, :, members], cells[members], weights) for members in classes]
    return Accuracies(
        right.mean(axis=2),
        recalls,
        mean_intervals(right, cells, cell_count, level),
        _intervals(np.mean(drawn, axis=0), level),
    )


@dataclass(frozen=True)
class Pair:
    """Two methods on one case: what the paired bootstrap needs.

    Attributes
    ----------
    gain : for each seed and test row, whether A is right less whether B is, in [−1, 1]; shape (seeds, rows).
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
    independently. One draw of training samples serves all cases that have as many.
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


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values (pairs,) corrected for their number by Holm's step-down procedure (Scand. J. Statistics, 1979)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1)
    return corrected
