"""How heavy the tail of a spectrum is: power laws by maximum likelihood, and by Hill's estimator."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zoo_builder.landscape.eigenvalues import Array, Mask, differ, enough

#: Bins of the histogram of eigenvalues whose peak AlphaPruning takes, and between which multiples of it a tail may begin.
PEAK_BINS: Final = 100
PEAK: Final = (0.95, 1.5)
#: Starts of tails that are compared with all values from the first of them on at a time.
_STARTS: Final = 64


@dataclass(frozen=True)
class PowerLaw:
    """A density ∝ x^−alpha from x_min on.

    Attributes
    ----------
    alpha, x_min : (…,).
    distance : of Kolmogorov and Smirnov, between it and the values from x_min on, (…,).
    """

    alpha: Array
    x_min: Array
    distance: Array

    def density(self, x: Array) -> Array:
        """Return the density at x, one of the values that are not below x_min."""
        return np.where(x < self.x_min, 0.0, (self.alpha - 1) / self.x_min * (x / self.x_min) ** -self.alpha)


@dataclass(frozen=True)
class Tails:
    """Power laws fitted to all tails of samples: a tail holds all values from one of them on.

    Attributes
    ----------
    values : the samples, (…, n), ascending.
    alpha : exponent of the tail that begins at a value, (…, n).
    distance : of Kolmogorov and Smirnov between that tail and its law, (…, n); infinite where none begins.
    """

    values: Array
    alpha: Array
    distance: Array

    def best(self, allowed: Mask | None = None) -> PowerLaw:
        """Return the law of the least distance, of all tails or of those that are allowed, (…, n)."""
        distance = self.distance if allowed is None else np.where(allowed, self.distance, np.inf)
        at = distance.argmin(-1)[..., None]
        known = enough(self.values)[..., None] & np.isfinite(np.take_along_axis(distance, at, -1))
        alpha, x_min, distance = (
            np.where(known, np.take_along_axis(of, at, -1), np.nan)[..., 0]
            for of in (self.alpha, self.values, distance)
        )
        return PowerLaw(alpha, x_min, distance)


def every_tail(values: Array) -> Tails:
    """Fit power laws to the tails of samples (Clauset, Shalizi and Newman, Power-law distributions in empirical data, 2009).

    The exponent is the most likely one, ``1 + n / Σ ln(xᵢ / x_min)`` over the n values from x_min on (equation 3.1). The
    distance is ``max |P(xᵢ) − i / n|``, i = 0 … n − 1, as in the authors' program and in those that follow it.

    Parameters
    ----------
    values : (…, n), ascending, at least 0, eigenvalues of WᵀW. Zeros are not part of the sample.
    """
    n = values.shape[-1]
    logs, at = _logarithms(values), np.arange(n)
    # A tail begins at the first of several equal values, and its values are not all the same.
    firsts = differ(values)
    begins = (values > 0) & firsts & (at < _last(firsts))
    alpha, distance = np.ones(values.shape), np.full(values.shape, np.inf)
    for first in range(0, n, _STARTS):
        starts = np.arange(first, min(first + _STARTS, n))
        inside = at[first:] >= starts[:, None]
        here, size = begins[..., starts], n - starts
        above = np.where(inside, logs[..., None, first:] - logs[..., starts, None], 0.0)
        # Elsewhere a law that no number is too large for.
        alpha[..., starts] = 1 + size / np.where(here, above.sum(-1), np.inf)
        law = -np.expm1(-(alpha[..., starts, None] - 1) * above)
        gaps = np.where(inside, np.abs(law - (at[first:] - starts[:, None]) / size[:, None]), 0.0).max(-1)
        distance[..., starts] = np.where(here, gaps, np.inf)
    return Tails(values, alpha, distance)


def power_law(values: Array) -> PowerLaw:
    """Fit power laws to the tails of samples (…, n), ascending; see `every_tail`.

    x_min is the value, other than the largest, at which the distance between data and law is the smallest (Clauset et al.,
    section 3.3).

    Returns
    -------
    PowerLaw
        NaN where there are fewer than `LEAST_EIGENVALUES` positive values, or no two that differ.
    """
    return every_tail(values).best()


def near_peak(values: Array) -> Mask:
    """Return which values are about as large as most of them, of samples (…, n), ascending.

    They lie between 0.95 and 1.5 times where the fullest of 100 bins of their logarithms begins, the first one of several
    (the rule of TempBalance and AlphaPruning: Lu et al., NeurIPS 2024, section 3.2; its published program compares the
    logarithm of the lower bound, so that hardly a value is below it).
    """
    logs, known = _logarithms(values), values > 0
    low = np.where(known, logs, np.inf).min(-1, keepdims=True)
    span = np.where(known, logs, -np.inf).max(-1, keepdims=True) - low
    span = np.where(np.isfinite(span) & (span > 0), span, 1.0)
    low = np.where(np.isfinite(low), low, 0.0)
    bins = np.clip((logs - low) / span * PEAK_BINS, 0, PEAK_BINS - 1).astype(np.int64)
    counts = ((bins[..., None] == np.arange(PEAK_BINS)) & known[..., None]).sum(-2)
    peak = np.exp(low + counts.argmax(-1)[..., None] * span / PEAK_BINS)
    near: Mask = known & (values >= PEAK[0] * peak) & (values <= PEAK[1] * peak)
    return near


def hill(values: Array) -> Array:
    """Return Hill's estimate of a density's exponent from the upper half of a sample, (…,).

    ``1 + k / Σ ln(xᵢ / x₀)``: the sum is over the k = ⌊n / 2⌋ largest of the n positive values, x₀ is the next smaller one
    (Hill, A simple general approach to inference about the tail of a distribution, Annals of Statistics 1975;
    PL_Alpha_Hill of Zhou et al., Temperature balancing, layer-wise weight analysis, and neural network training, NeurIPS
    2023).

    Parameters
    ----------
    values : (…, n), ascending, at least 0, eigenvalues of WᵀW. Fewer than `LEAST_EIGENVALUES` positive ones give NaN, and
        so do those whose larger half is all the same.
    """
    k = np.count_nonzero(values, axis=-1, keepdims=True) // 2
    n = values.shape[-1]
    logs = _logarithms(values)
    next_one = n - 1 - k
    above = logs - np.take_along_axis(logs, next_one, -1)
    total = np.where(np.arange(n) >= n - k, above, 0.0).sum(-1)
    known = enough(values) & (next_one < _last(differ(values)))[..., 0]
    return np.where(known, 1 + k[..., 0] / np.where(known, total, 1.0), np.nan)


def mean_hill(values: Array) -> Array:
    """Return the mean of Hill's exponents over samples (…, samples, n) that have one; NaN where none has."""
    found = hill(values)
    known = np.isfinite(found)
    count = known.sum(-1)
    return np.where(count > 0, np.where(known, found, 0.0).sum(-1) / np.maximum(count, 1), np.nan)


def _logarithms(values: Array) -> Array:
    """Return natural logarithms, 0 in place of those of zeros, which no sum may include."""
    return np.log(np.where(values > 0, values, 1.0))


def _last(firsts: Mask) -> NDArray[np.intp]:
    """Return where the last of several different values begins, (…, 1)."""
    found: NDArray[np.intp] = firsts.shape[-1] - 1 - firsts[..., ::-1].argmax(-1)[..., None]
    return found
