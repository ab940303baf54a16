"""What of a spectrum could be noise: the Marchenko–Pastur law, its edge, and the spikes above it."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from scipy.optimize import brentq
from scipy.stats import gamma

from zoo_builder.landscape.eigenvalues import Array, enough

#: What the largest eigenvalue of pure noise of a known variance stays below in 95 of 100 matrices, in units of its
#: fluctuations: a quantile of the Tracy–Widom law for real matrices (Johnstone, On the distribution of the largest
#: eigenvalue in principal components analysis, Annals of Statistics 2001).
TRACY_WIDOM_95: Final = 0.9793


def marchenko_pastur_edges(q: float) -> tuple[float, float]:
    """Return what eigenvalues of noise lie between, (1 ∓ √q)², in the units of `marchenko_pastur_cdf`."""
    return (1 - np.sqrt(q)) ** 2, (1 + np.sqrt(q)) ** 2


def marchenko_pastur_density(x: Array, q: float) -> Array:
    """Return the density of the Marchenko–Pastur law at x; see `marchenko_pastur_cdf`."""
    low, high = marchenko_pastur_edges(q)
    inside = (x > low) & (x < high)
    at = np.where(inside, x, 1.0)
    return np.where(inside, np.sqrt(np.maximum((high - at) * (at - low), 0)) / (2 * np.pi * q * at), 0.0)


def marchenko_pastur_cdf(x: Array, q: float) -> Array:
    """Return the share of the eigenvalues of noise that lie below x.

    They are those of WᵀW / (N σ²), W being N × M, its entries independent, of mean 0 and variance σ², when N and M are large
    (Marchenko and Pastur, Mathematics of the USSR-Sbornik 1967). The antiderivative of the density is elementary.

    Parameters
    ----------
    x : any shape.
    q : M / N, above 0 and up to 1.
    """
    low, high = marchenko_pastur_edges(q)
    at = np.clip(x, low, high)
    bend = np.sqrt((high - at) * (at - low))
    one = np.arctan2(low + high - 2 * at, 2 * bend)
    other = np.arctan2(2 * low * high - (low + high) * at, 2 * (1 - q) * bend)
    share: Array = 0.5 + (bend - (1 + q) * one + (1 - q) * other) / (2 * np.pi * q)
    return np.clip(share, 0, 1)


@cache
def marchenko_pastur_median(q: float) -> float:
    """Return the median of the Marchenko–Pastur law."""
    low, high = marchenko_pastur_edges(q)
    return float(brentq(lambda x: float(marchenko_pastur_cdf(np.array(x), q)) - 0.5, low, high, xtol=1e-14))


@dataclass(frozen=True)
class Bulk:
    """What of a matrix could be noise.

    Attributes
    ----------
    q : the smaller of its sides over the larger one, of a block where it has several.
    scale : what an eigenvalue is divided by to be in the units of the Marchenko–Pastur law, N σ², (…,).
    edge : what the eigenvalues of noise seldom lie above, (…,).
    spikes : how many eigenvalues are above it, (…,).
    distance : of Kolmogorov and Smirnov, between the eigenvalues that are not and the law, (…,).
    """

    q: float
    scale: Array
    edge: Array
    spikes: Array
    distance: Array

    def density(self, x: Array) -> Array:
        """Return the law's density at eigenvalues x."""
        return marchenko_pastur_density(x / self.scale, self.q) / self.scale


def bulk(values: Array, rows: int, columns: int, blocks: int = 1) -> Bulk:
    """Fit the Marchenko–Pastur law to eigenvalues of WᵀW, W being rows × columns or columns × rows.

    The variance of the noise is such that the law's median is the eigenvalues' (Gavish and Donoho, The optimal hard threshold
    for singular values is 4/√3, IEEE Transactions on Information Theory 2014, section III.E), to which it does not
    matter how large the spikes are. The law's edge is N σ² (1 + √q)²; the largest eigenvalue of finite noise fluctuates about
    σ² μ, μ = (√(N − 1) + √M)², by σ² τ, τ = √μ (1 / √(N − 1) + 1 / √M)^⅓ (Johnstone 2001). The edge is drawn at
    σ² (μ + 0.9793 τ), which noise of a known variance keeps to in 95 of 100 matrices. The variance is fitted, and the median
    of few eigenvalues is uncertain: of Gaussian noise alone, 7 to 21 % of the matrices have a spike (5 × 5: 21 %,
    6 × 5: 18 %, 8 × 5: 16 %, 6 × 18: 8 %, 10 × 10: 16 %, 16 × 48: 9 %, 64 × 64: 13 %).

    Where W has several such blocks on its diagonal, all of their eigenvalues follow the law of one, and the edge is what the
    largest of all keeps to in 95 of 100 matrices.

    Parameters
    ----------
    values : (…, n), ascending: all of them, zeros included.

    Returns
    -------
    Bulk
        NaN where there are fewer than `LEAST_EIGENVALUES` positive values, or most of them are zero.
    """
    large, small = max(rows, columns), min(rows, columns)
    q = small / large
    scale = np.median(values, axis=-1) / marchenko_pastur_median(q)
    known = enough(values) & (scale > 0)
    scale = np.where(known, scale, np.nan)
    centre = (np.sqrt(large - 1) + np.sqrt(small)) ** 2
    spread = np.sqrt(centre) * (1 / np.sqrt(large - 1) + 1 / np.sqrt(small)) ** (1 / 3)
    edge = scale / large * (centre + _largest_of(blocks) * spread)

    above = values > edge[..., None]
    spikes = np.where(known, np.count_nonzero(above, axis=-1), np.nan)
    n = values.shape[-1]
    # Spikes are last. Of m values that are left, the i-th should have i / m to (i + 1) / m of the law below it.
    left = np.maximum(n - np.nan_to_num(spikes), 1)[..., None]
    law = marchenko_pastur_cdf(values / scale[..., None], q)
    gaps = np.maximum(law - np.arange(n) / left, np.arange(1, n + 1) / left - law)
    distance = np.where(above, 0.0, gaps).max(-1)
    return Bulk(q, scale, edge, spikes, np.where(known, distance, np.nan))


def _largest_of(blocks: int) -> float:
    """Return what the largest of several draws from the Tracy–Widom law for real matrices stays below in 95 of 100 cases.

    Of several, by the gamma law that nearly is the Tracy–Widom law (Chiani, Distribution of the largest eigenvalue for real
    Wishart and Gaussian random matrices and a simple approximation for the Tracy–Widom distribution, Journal of
    Multivariate Analysis 2014, table 1).
    """
    if blocks == 1:
        return TRACY_WIDOM_95
    return float(gamma.ppf(0.95 ** (1 / blocks), 46.446, scale=0.186054)) - 9.84801
