"""Spectra of weight matrices: how heavy their tails are, and what is left of randomness in them.

Heavy-tailed self-regularization (Martin and Mahoney, Implicit self-regularization in deep neural networks, JMLR 2021):
training turns the random bulk of a weight matrix's eigenvalues, which the Marchenko–Pastur law describes, first into a bulk
with spikes and then into a power law, whose exponent says how far it went.

A linear layer's matrix is its weight, a convolution's is (out, in · kernel), which multiplies what is seen from one position.
WeightWatcher by default pools the eigenvalues of one (out, in) slice for each place in the kernel; these matrices are
smaller, and not what the network multiplies by. Eigenvalues are those of WᵀW, not divided by the number of rows, as in
WeightWatcher 0.7; only norms depend on that.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor, nn

from mdbench.tables import COLUMNS
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.surface import Surface

Array = NDArray[np.float64]

#: Nonzero eigenvalues that a distribution is fitted to are at least so many.
LEAST_EIGENVALUES: Final = 5
#: What the largest eigenvalue of pure noise of a known variance stays below in 95 of 100 matrices, in units of its
#: fluctuations: a quantile of the Tracy–Widom law for real matrices (Johnstone, On the distribution of the largest
#: eigenvalue in principal components analysis, Annals of Statistics 2001).
TRACY_WIDOM_95: Final = 0.9793
#: Full-batch steps, and their learning rate, after which the spectra are looked at again.
STEPS: Final = 5
LEARNING_RATE: Final = 0.1
#: Numbers that comparing every start of a tail with every value may take at a time.
_BLOCK = 2**22

#: What is measured of a layer, with what it lies between.
_BOUNDS: Final[dict[str, tuple[float | None, float | None]]] = {
    "alpha": (1, None),
    "alpha_ks": (0, 1),
    "alpha_hill": (1, None),
    "alpha_hat": (None, None),
    "stable_rank": (1, None),
    "log_spectral_norm": (None, None),
    "log_frobenius_norm": (None, None),
    "mp_spikes": (0, None),
    "mp_distance": (0, 1),
}
#: How the layers' values become a network's. How good a fit is, is said of each layer alone.
_OVER_LAYERS: Final = ("mean", "min", "max", "imbalance")
_OF_NETWORKS: Final = tuple(column for column in _BOUNDS if column != "alpha_ks")
_CHANGE: Final = "alpha_hill_step_change"
#: What every matrix has that is finite and not zero.
_OF_ANY_MATRIX: Final = ("stable_rank", "log_spectral_norm", "log_frobenius_norm")

METRICS: Final[tuple[Metric, ...]] = (
    *(Metric(column, "layer", *bounds) for column, bounds in _BOUNDS.items()),
    *(
        Metric(f"{column}_{over}", "checkpoint", *((0, None) if over == "imbalance" else _BOUNDS[column]))
        for column in _OF_NETWORKS
        for over in _OVER_LAYERS
    ),
    Metric(_CHANGE, "checkpoint", cost=f"{STEPS} gradients"),
)


def weight_matrices(network: nn.Module) -> dict[str, str]:
    """Return the layers of a network that multiply by a matrix, linear layers and convolutions: path → its weight's name."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    # Where layers share a weight, it is that of the first.
    owned = {name for name, _ in network.named_parameters()}
    paths = [path for path, module in network.named_modules() if isinstance(module, kinds)]
    weights = {path: f"{path}.weight" if path else "weight" for path in paths}
    return {path: weight for path, weight in weights.items() if weight in owned}


def as_matrices(weights: Tensor) -> Array:
    """Return weights (S, out, …) as matrices (S, out, in · kernel), float64."""
    values: Array = weights.detach().flatten(2).cpu().double().numpy()
    return values


def eigenvalues(matrices: Array) -> Array:
    """Return the eigenvalues of WᵀW, ascending: (…, n) of W (…, out, in), n the smaller of its sides.

    What is zero within the rounding of float32, in which networks are kept, is exactly zero: singular values up to the
    largest one times the larger side times 2⁻²³, the bound of `numpy.linalg.matrix_rank`. A matrix that is not finite has
    zeros alone.
    """
    finite = np.isfinite(matrices).all((-2, -1), keepdims=True)
    values = np.linalg.svd(np.where(finite, matrices, 0.0), compute_uv=False)[..., ::-1]
    least = values[..., -1:] * max(matrices.shape[-2:]) * np.finfo(np.float32).eps
    return np.where(values > least, values, 0.0) ** 2


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


def power_law(values: Array) -> PowerLaw:
    """Fit power laws to the tails of samples (Clauset, Shalizi and Newman, Power-law distributions in empirical data, 2009).

    The exponent is the most likely one, ``1 + n / Σ ln(xᵢ / x_min)`` over the n values from x_min on (equation 3.1);
    x_min is the value, other than the largest, at which the distance between data and law is the smallest (section 3.3).
    The distance is ``max |P(xᵢ) − i / n|``, i = 0 … n − 1, as in the authors' program and in those that follow it.

    Parameters
    ----------
    values : (…, n), ascending, at least 0. Zeros are not part of the sample.

    Returns
    -------
    PowerLaw
        NaN where there are fewer than `LEAST_EIGENVALUES` positive values, or no two that differ.
    """
    flat = values.reshape(-1, values.shape[-1])
    size = max(1, _BLOCK // flat.shape[1] ** 2)
    parts = [_tails(flat[at : at + size]) for at in range(0, len(flat), size)]
    alpha, x_min, distance = (np.concatenate(part).reshape(values.shape[:-1]) for part in zip(*parts, strict=True))
    return PowerLaw(alpha, x_min, distance)


def _tails(values: Array) -> tuple[Array, Array, Array]:
    """Return exponent, start and distance, (S,) each, of the best tail of values (S, n)."""
    n = values.shape[1]
    logs = _logarithms(values)
    start, of = np.arange(n)[:, None], np.arange(n)[None]
    size = n - np.arange(n)
    above = np.where(of >= start, logs[:, None, :] - logs[:, :, None], 0.0)
    total = above.sum(2)
    # A tail begins at the first of several equal values, and its values are not all the same.
    begins = (values > 0) & (np.diff(values, axis=1, prepend=0) > 0) & (total > 0)
    alpha = 1 + size / np.where(begins, total, np.inf)  # elsewhere a law that no number is too large for
    law = -np.expm1(-(alpha - 1)[:, :, None] * above)
    gaps = np.where(of >= start, np.abs(law - (of - start) / size[:, None]), 0.0).max(2)
    distance = np.where(begins, gaps, np.inf)
    best = distance.argmin(1)[:, None]
    enough = (_enough(values) & begins.any(1))[:, None]
    alpha, x_min, distance = (
        np.where(enough, np.take_along_axis(of_all, best, 1), np.nan)[:, 0] for of_all in (alpha, values, distance)
    )
    return alpha, x_min, distance


def _logarithms(values: Array) -> Array:
    """Return natural logarithms, 0 in place of those of zeros, which no sum may include."""
    return np.log(np.where(values > 0, values, 1.0))


def _enough(values: Array) -> NDArray[np.bool_]:
    """Return whether enough of the values (…, n) are positive to fit a distribution."""
    found: NDArray[np.bool_] = np.count_nonzero(values, axis=-1) >= LEAST_EIGENVALUES
    return found


def hill(values: Array) -> Array:
    """Return Hill's estimate of a density's exponent from the upper half of a sample, (…,).

    ``1 + k / Σ ln(xᵢ / x₀)``: the sum is over the k = ⌊n / 2⌋ largest of the n positive values, x₀ is the next smaller one
    (Hill, A simple general approach to inference about the tail of a distribution, Annals of Statistics 1975;
    PL_Alpha_Hill of Zhou et al., Temperature balancing, layer-wise weight analysis, and neural network training, NeurIPS
    2023).

    Parameters
    ----------
    values : (…, n), ascending, at least 0. Fewer than `LEAST_EIGENVALUES` positive ones give NaN, equal ones too.
    """
    k = np.count_nonzero(values, axis=-1, keepdims=True) // 2
    n = values.shape[-1]
    logs = _logarithms(values)
    above = logs - np.take_along_axis(logs, n - 1 - k, -1)
    total = np.where(np.arange(n) >= n - k, above, 0.0).sum(-1)
    known = _enough(values) & (total > 0)
    return np.where(known, 1 + k[..., 0] / np.where(known, total, 1.0), np.nan)


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
    q : the smaller of its sides over the larger one.
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


def bulk(values: Array, rows: int, columns: int) -> Bulk:
    """Fit the Marchenko–Pastur law to eigenvalues of WᵀW, W being rows × columns or columns × rows.

    The variance of the noise is such that the law's median is the eigenvalues' (Gavish and Donoho, The optimal hard threshold
    for singular values is 4/√3, IEEE Transactions on Information Theory 2014, section III.E), to which it does not
    matter how large the spikes are. The law's edge is N σ² (1 + √q)²; the largest eigenvalue of finite noise fluctuates about
    σ² μ, μ = (√(N − 1) + √M)², by σ² τ, τ = √μ (1 / √(N − 1) + 1 / √M)^⅓ (Johnstone 2001). The edge is drawn at
    σ² (μ + 0.9793 τ), which noise of a known variance keeps to in 95 of 100 matrices. The variance is fitted, and the median
    of few eigenvalues is uncertain: of Gaussian noise alone, 7 to 21 % of the matrices have a spike (5 × 5: 21 %,
    6 × 5: 18 %, 8 × 5: 16 %, 6 × 18: 8 %, 10 × 10: 16 %, 16 × 48: 9 %, 64 × 64: 13 %).

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
    known = _enough(values) & (scale > 0)
    scale = np.where(known, scale, np.nan)
    centre = (np.sqrt(large - 1) + np.sqrt(small)) ** 2
    spread = np.sqrt(centre) * (1 / np.sqrt(large - 1) + 1 / np.sqrt(small)) ** (1 / 3)
    edge = scale / large * (centre + TRACY_WIDOM_95 * spread)

    above = values > edge[..., None]
    spikes = np.where(known, np.count_nonzero(above, axis=-1), np.nan)
    n = values.shape[-1]
    # Spikes are last. Of m values that are left, the i-th should have i / m to (i + 1) / m of the law below it.
    left = np.maximum(n - np.nan_to_num(spikes), 1)[..., None]
    law = marchenko_pastur_cdf(values / scale[..., None], q)
    gaps = np.maximum(law - np.arange(n) / left, np.arange(1, n + 1) / left - law)
    distance = np.where(above, 0.0, gaps).max(-1)
    return Bulk(q, scale, edge, spikes, np.where(known, distance, np.nan))


def layer_metrics(values: Array, rows: int, columns: int) -> dict[str, Array]:
    """Return what is measured of layers, column → (…,), from the eigenvalues (…, n) of their matrices, rows × columns.

    The columns, and what they are, are in `mdbench.tables.COLUMNS`. Norms are WeightWatcher's: ``log10 λ_max``, the logarithm
    of the squared spectral norm, and ``log10 Σ λ``, that of the squared Frobenius norm. ``alpha_hat`` is
    ``alpha · log10 λ_max`` (Martin, Peng and Mahoney, Predicting trends in the quality of state-of-the-art neural networks
    without access to training or testing data, Nature Communications 2021).
    """
    law, noise = power_law(values), bulk(values, rows, columns)
    largest, total = values[..., -1], values.sum(-1)
    largest, total = (np.where(of > 0, of, np.nan) for of in (largest, total))
    return {
        "alpha": law.alpha,
        "alpha_ks": law.distance,
        "alpha_hill": hill(values),
        "alpha_hat": law.alpha * np.log10(largest),
        "stable_rank": total / largest,
        "log_spectral_norm": np.log10(largest),
        "log_frobenius_norm": np.log10(total),
        "mp_spikes": noise.spikes,
        "mp_distance": noise.distance,
    }


@dataclass(frozen=True)
class Curves:
    """What a figure of a spectrum shows.

    Attributes
    ----------
    eigenvalues : the nonzero ones, ascending.
    law, noise : fits, of shape ().
    x : (points,), from the smallest nonzero eigenvalue to the largest, evenly in their logarithm.
    tail : the power law's density at x, times the share of the eigenvalues that are in the tail.
    bulk : the Marchenko–Pastur law's density at x, times the share that are not spikes.
    """

    eigenvalues: Array
    law: PowerLaw
    noise: Bulk
    x: Array
    tail: Array
    bulk: Array


def curves(matrix: Array, points: int = 200) -> Curves:
    """Return the spectrum of one matrix (out, in) with the densities fitted to it; NaN where one could not be."""
    every = eigenvalues(matrix)
    law, noise = power_law(every), bulk(every, *matrix.shape)
    found = every[every > 0]
    x = np.geomspace(found[0], found[-1], points) if len(found) else np.full(points, np.nan)
    in_tail = np.mean(every >= law.x_min) if len(found) else np.nan
    return Curves(found, law, noise, x, law.density(x) * in_tail, noise.density(x) * (1 - noise.spikes / len(every)))


def over_layers(column: str, values: Array) -> dict[str, Array]:
    """Return what the layers' values say of networks: column → (S,).

    The imbalance of a pure number is its standard deviation over the layers, divided by its mean; that of a logarithm or a
    count, whose mean may be zero, is the standard deviation. (That layers differ in their exponents is what Zhou et al.,
    NeurIPS 2023, and Lu et al., AlphaPruning, NeurIPS 2024, build on.)

    Parameters
    ----------
    column : of a layer.
    values : (S, L); NaN where a layer's could not be measured, which is then left out.

    Returns
    -------
    mean, min, max, imbalance : NaN where no layer is left, the imbalance also where only one is.
    """
    known = np.isfinite(values)
    count = known.sum(1)
    some = np.maximum(count, 1)
    mean = np.where(known, values, 0.0).sum(1) / some
    spread = np.sqrt((np.where(known, values - mean[:, None], 0.0) ** 2).sum(1) / some)
    if COLUMNS[column].unit == "1":
        spread = spread / np.where(mean != 0, mean, np.nan)
    return {
        f"{column}_mean": np.where(count > 0, mean, np.nan),
        f"{column}_min": np.where(count > 0, np.where(known, values, np.inf).min(1, initial=np.inf), np.nan),
        f"{column}_max": np.where(count > 0, np.where(known, values, -np.inf).max(1, initial=-np.inf), np.nan),
        f"{column}_imbalance": np.where(count > 1, spread, np.nan),
    }


def spectra(surface: Surface, points: Tensor | None = None) -> dict[str, Array]:
    """Return the eigenvalues of the layers' matrices, path → (S, n), at points (S, P) or where the networks are."""
    tensors = surface.layout.tensors(surface.points if points is None else points)
    return {path: eigenvalues(as_matrices(tensors[weight])) for path, weight in weight_matrices(surface.module).items()}


def descended(surface: Surface, data: Data, steps: int, learning_rate: float) -> Tensor:
    """Return where some steps of gradient descent on all the data lead from the networks, (S, P).

    Normalization keeps its statistics.
    """
    points = surface.points
    for _ in range(steps):
        _, slopes = surface.gradients(data, points)
        points = points - learning_rate * slopes
    return points


def measure(subject: Subject) -> Measured:
    """Measure the spectra of networks, layer by layer."""
    surface = subject.surface
    sizes = {path: _sides(surface.layout.shapes[weight]) for path, weight in weight_matrices(surface.module).items()}
    before = spectra(surface)
    found = {path: layer_metrics(values, *sizes[path]) for path, values in before.items()}
    answer = Measured(layers=list(_rows(found, before, sizes, len(surface))))
    for column in _OF_NETWORKS:
        answer.networks |= over_layers(column, _stacked([of[column] for of in found.values()], len(surface)))
    answer.networks[_CHANGE] = _step_change(subject, before)
    for row in range(len(surface)):
        if reasons := _reasons({column: values[row] for column, values in answer.networks.items()}, len(found)):
            answer.network_reasons[row] = reasons
    return answer


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def _stacked(of_layers: list[Array], networks: int) -> Array:
    """Return the layers' values (S,) as (S, L); there may be no layers."""
    return np.stack(of_layers, 1) if of_layers else np.empty((networks, 0))


def _rows(
    found: dict[str, dict[str, Array]],
    every: dict[str, Array],
    sizes: dict[str, tuple[int, int]],
    networks: int,
) -> Iterator[dict[str, Any]]:
    for row in range(networks):
        for path, of in found.items():
            rows, columns = sizes[path]
            numbers = {column: float(values[row]) for column, values in of.items()}
            yield {
                "network": row,
                "layer": path,
                "matrix_rows": rows,
                "matrix_columns": columns,
                **numbers,
                "spectra_reason": _layer_reason(every[path][row], numbers),
            }


def _layer_reason(values: Array, of: dict[str, float]) -> str | None:
    """Return why some numbers of one layer, of the eigenvalues (n,), are NaN; None where none is."""
    missing = [column for column, value in of.items() if np.isnan(value)]
    count = np.count_nonzero(values)
    if not count:
        said = {"the matrix is zero, or not finite": missing}
    elif count < LEAST_EIGENVALUES:
        said = {f"the matrix has {count} nonzero eigenvalues, and it takes {LEAST_EIGENVALUES}": missing}
    else:
        bulks = [column for column in missing if column.startswith("mp_")]
        laws = [column for column in missing if column not in bulks]
        said = {
            "the nonzero eigenvalues, or the larger half of them, are all the same": laws,
            "most eigenvalues are zero": bulks,
        }
    return "; ".join(f"{', '.join(columns)}: {why}" for why, columns in said.items() if columns) or None


def _step_change(subject: Subject, before: dict[str, Array]) -> Array:
    """Return by how much a few full-batch steps change Hill's exponent, the mean over the layers, (S,).

    Kothapalli et al., Crafting heavy-tails in weight matrix spectrum without gradient noise (2024), find that tails can
    become heavy within a few such steps, where the learning rate is large.
    """
    after = spectra(subject.surface, descended(subject.surface, subject.sample, STEPS, LEARNING_RATE))
    changes = [hill(after[path]) - hill(values) for path, values in before.items()]
    return over_layers("alpha_hill", _stacked(changes, len(subject.surface)))["alpha_hill_mean"]


def _reasons(of: dict[str, np.float64], layers: int) -> str:
    """Return why some numbers of one network, which has so many layers with a matrix, are NaN."""
    missing = [column for column, value in of.items() if not np.isfinite(value)]
    single = [column for column in missing if column.endswith("_imbalance") and column[:-9] + "mean" not in missing]
    change = [column for column in missing if column == _CHANGE]
    norms = [column for column in missing if column.startswith(_OF_ANY_MATRIX) and column not in single]
    other = [column for column in missing if column not in (*single, *change, *norms)]
    why = f"no layer's matrix has {LEAST_EIGENVALUES} nonzero eigenvalues, most not zero and not all the same"
    if not layers:
        return f"{', '.join(missing)}: there is no linear layer and no convolution"
    said = (
        (norms, "every layer's matrix is zero, or not finite"),
        (other, why),
        (single, f"only 1 of {layers} layers has one" if layers > 1 else "there is no more than one layer to compare"),
        (change, f"{why}, or it has not after {STEPS} steps"),
    )
    return "; ".join(f"{', '.join(columns)}: {reason}" for columns, reason in said if columns)
