"""Spectra of weight matrices: how heavy their tails are, and what is left of randomness in them.

Heavy-tailed self-regularization (Martin and Mahoney, Implicit self-regularization in deep neural networks, JMLR 2021):
training turns the random bulk of a weight matrix's eigenvalues, which the Marchenko–Pastur law describes, first into a bulk
with spikes and then into a power law, whose exponent says how far it went.

A layer's matrix is what the network multiplies by (`zoo_builder.landscape.matrices`). Eigenvalues are those of WᵀW, not
divided by the number of rows; only norms depend on that.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mdbench.tables import COLUMNS
from zoo_builder.landscape import matrices
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.eigenvalues import LEAST_EIGENVALUES, Array, block_eigenvalues, eigenvalues, windows
from zoo_builder.landscape.matrices import Matrices, Matrix
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.noise import Bulk, bulk
from zoo_builder.landscape.surface import Surface
from zoo_builder.landscape.tails import PowerLaw, every_tail, hill, mean_hill, near_peak, power_law
from zoo_builder.training import copied

#: Length of the step after which the spectra are looked at again, in Frobenius norms of each layer's matrix.
STEP: Final = 1.0
#: A layer is initialised anew until there are so many eigenvalues, but not more often than that.
FRESH_EIGENVALUES: Final = 512
FRESH: Final = 64

_FRESH: Final = "alpha_hill_minus_fresh"
_WINDOWS: Final = "alpha_hill_windows"
#: What is measured of a layer, with what it lies between.
_BOUNDS: Final[dict[str, tuple[float | None, float | None]]] = {
    "alpha": (1, None),
    "alpha_ks": (0, 1),
    "alpha_hill": (1, None),
    "alpha_peak": (1, None),
    _WINDOWS: (1, None),
    _FRESH: (None, None),
    "alpha_hat": (None, None),
    "stable_rank": (1, None),
    "log_spectral_norm": (None, None),
    "log_frobenius_norm": (None, None),
    "mp_spikes": (0, None),
    "mp_distance": (0, 1),
}
#: How the layers' values become a network's. How good a fit is, is said of each layer alone; of some there is a mean alone.
_OVER_LAYERS: Final = ("mean", "min", "max", "imbalance")
_MEANS_ALONE: Final = ("alpha_peak", _WINDOWS, _FRESH)
_OF_NETWORKS: Final = {
    column: ("mean",) if column in _MEANS_ALONE else _OVER_LAYERS for column in _BOUNDS if column != "alpha_ks"
}
_CHANGE: Final = "alpha_hill_step_change"
#: What every matrix has that is finite and not zero.
_OF_ANY_MATRIX: Final = ("stable_rank", "log_spectral_norm", "log_frobenius_norm")

METRICS: Final[tuple[Metric, ...]] = (
    *(Metric(column, "layer", *bounds) for column, bounds in _BOUNDS.items()),
    *(
        Metric(f"{column}_{over}", "checkpoint", *((0, None) if over == "imbalance" else _BOUNDS[column]))
        for column, every in _OF_NETWORKS.items()
        for over in every
    ),
    Metric(_CHANGE, "checkpoint", cost="1 gradient"),
)


def layer_metrics(values: Array, rows: int, columns: int, blocks: int = 1) -> dict[str, Array]:
    """Return what the eigenvalues (…, blocks · n) of layers' matrices say, column → (…,).

    The matrices have so many blocks, rows × columns each, on their diagonals. The columns, and what they are, are in
    `mdbench.tables.COLUMNS`. Norms are ``log10 λ_max``, the logarithm of the squared spectral norm, and ``log10 Σ λ``, that
    of the squared Frobenius norm. ``alpha_hat`` is ``alpha · log10 λ_max`` (Martin, Peng and Mahoney, Predicting trends in
    the quality of state-of-the-art neural networks without access to training or testing data, Nature Communications 2021).
    WeightWatcher gives the same of linear layers; of convolutions its matrices are others (docs/metrics.md).
    """
    fitted, noise = every_tail(values), bulk(values, rows, columns, blocks)
    law = fitted.best()
    largest, total = values[..., -1], values.sum(-1)
    largest, total = (np.where(of > 0, of, np.nan) for of in (largest, total))
    return {
        "alpha": law.alpha,
        "alpha_ks": law.distance,
        "alpha_hill": hill(values),
        "alpha_peak": fitted.best(near_peak(values)).alpha,
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


def curves(blocks: NDArray[np.floating[Any]], points: int = 200) -> Curves:
    """Return the spectrum of one matrix with the densities fitted to it; NaN where one could not be.

    Parameters
    ----------
    blocks : the matrix, or the blocks on its diagonal, (blocks, rows, columns).
    points : places where densities are given.
    """
    blocks = blocks.reshape(-1, *blocks.shape[-2:])
    every = block_eigenvalues(blocks)
    law, noise = power_law(every), bulk(every, blocks.shape[1], blocks.shape[2], len(blocks))
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


def weights(surface: Surface, matrix: Matrix, points: Tensor | None = None) -> NDArray[np.floating[Any]]:
    """Return a matrix of networks whose weights are parameters, (S, blocks, rows, columns), at points or where they are."""
    points = surface.points if points is None else points
    numbers = points[:, matrix.place(surface.layout)].detach().cpu()
    found: NDArray[np.floating[Any]] = matrix.cut(numbers.double() if numbers.element_size() < 4 else numbers).numpy()
    return found


def spectra(surface: Surface, known: Iterable[Matrix], points: Tensor | None = None) -> list[Array]:
    """Return the eigenvalues of matrices of networks whose weights are parameters, (S, n) each."""
    return [block_eigenvalues(weights(surface, matrix, points)) for matrix in known]


def fresh_hill(module: nn.Module, known: Sequence[Matrix]) -> list[float]:
    """Return Hill's exponents of a module's matrices where it is freshly initialised, by its own ``reset_parameters``.

    They are means over so many initialisations that there are `FRESH_EIGENVALUES`, at most over `FRESH`; their standard error
    is 1 to 3 % of the exponent less one from 12 rows on, and 6 % at 5. The random numbers are a function of what the module
    says of itself: layers of a kind and shape have the same ones, so that what is left of chance is the same for all.

    Parameters
    ----------
    module : whose parameters are initialised again and again.
    known : its matrices.

    Returns
    -------
    One for each matrix; NaN where it has none, or the module cannot be initialised.
    """
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    if reset is None:
        return [np.nan] * len(known)
    fewest = min(min(matrix.sides) * matrix.blocks for matrix in known)
    drawn: list[list[NDArray[np.floating[Any]]]] = [[] for _ in known]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int.from_bytes(hashlib.sha256(repr(module).encode()).digest()[:7]))
        for _ in range(min(-(-FRESH_EIGENVALUES // fewest), FRESH)):
            reset()
            for matrix, draws in zip(known, drawn, strict=True):
                parameter = module.get_parameter(matrix.attribute).detach().flatten()
                draws.append(matrix.cut(parameter[matrix.start : matrix.start + matrix.size]).numpy().copy())
    return [float(mean_hill(block_eigenvalues(np.stack(draws)))) for draws in drawn]


def stepped(surface: Surface, known: Iterable[Matrix], data: Data) -> Tensor:
    """Return where one step of gradient descent on all the data leads from networks whose weights are parameters, (S, P).

    Each matrix W moves by `STEP` times its Frobenius norm, ``−STEP · ‖W‖ · G / ‖G‖``, G being the gradient of the loss with
    respect to it; one whose gradient is zero stays. Everything else stays too, the statistics of normalization among it.
    """
    _, slopes = surface.gradients(data, surface.points)
    points = surface.points.clone()
    for matrix in known:
        place = matrix.place(surface.layout)
        weight, slope = surface.points[:, place], slopes[:, place]
        length = slope.norm(dim=1, keepdim=True)
        way = torch.where(length == 0, 0.0, slope / length)
        points[:, place] = weight - STEP * weight.norm(dim=1, keepdim=True) * way
    return points


def measure(subject: Subject) -> Measured:
    """Measure the spectra of networks, layer by layer."""
    surface = subject.ordinary
    layers = matrices.find(surface.module)
    before = spectra(surface, layers.known)
    found = of_layers(surface, layers.known, before)
    answer = Measured(layers=list(_rows(layers, found, before, len(surface))))
    for column, every in _OF_NETWORKS.items():
        over = over_layers(column, _stacked([of[column] for of in found], len(surface)))
        answer.networks |= {f"{column}_{name}": over[f"{column}_{name}"] for name in every}
    answer.networks[_CHANGE] = _step_change(subject, layers.known, before)
    for row in range(len(surface)):
        numbers = {column: values[row] for column, values in answer.networks.items()}
        counts = {column: sum(bool(np.isfinite(of[column][row])) for of in found) for column in _OF_NETWORKS}
        if reasons := _reasons(numbers, counts, layers):
            answer.network_reasons[row] = reasons
    return answer


def of_layers(surface: Surface, known: Sequence[Matrix], every: Sequence[Array]) -> list[dict[str, Array]]:
    """Return what is measured of each layer, column → (S,), of networks whose weights are parameters.

    Parameters
    ----------
    surface : the networks.
    known : their matrices.
    every : the eigenvalues of these.
    """
    found = []
    for matrix, values, fresh in zip(known, every, _fresh(surface.module, known), strict=True):
        of = layer_metrics(values, *matrix.sides, matrix.blocks)
        of[_WINDOWS] = mean_hill(eigenvalues(windows(weights(surface, matrix))))
        of[_FRESH] = of["alpha_hill"] - fresh
        found.append({column: of[column] for column in _BOUNDS})
    return found


def _fresh(network: nn.Module, known: Sequence[Matrix]) -> list[float]:
    """Return Hill's exponents of a network's freshly initialised layers, one for each matrix."""
    found: dict[Matrix, float] = {}
    alike: dict[Any, list[float]] = {}
    for path in dict.fromkeys(matrix.path for matrix in known):
        own = [matrix for matrix in known if matrix.path == path]
        module = network.get_submodule(path)
        kind = type(module), repr(module), tuple((matrix.height, matrix.width) for matrix in own)
        if kind not in alike:
            alike[kind] = fresh_hill(copied(module).cpu().float(), own)
        found |= zip(own, alike[kind], strict=True)
    return [found[matrix] for matrix in known]


def _stacked(of_layers: list[Array], networks: int) -> Array:
    """Return the layers' values (S,) as (S, L); there may be no layers."""
    return np.stack(of_layers, 1) if of_layers else np.empty((networks, 0))


def _rows(
    layers: Matrices, found: Sequence[dict[str, Array]], every: Sequence[Array], networks: int
) -> Iterator[dict[str, Any]]:
    for row in range(networks):
        for matrix, of, values in zip(layers.known, found, every, strict=True):
            numbers = {column: float(of[column][row]) for column in of}
            yield {
                "network": row,
                "layer": matrix.name,
                "matrix_rows": matrix.rows,
                "matrix_columns": matrix.columns,
                **numbers,
                "spectra_reason": _layer_reason(values[row], numbers),
            }
        for path, kind in layers.unknown.items():
            yield {
                "network": row,
                "layer": path,
                "matrix_rows": np.nan,
                "matrix_columns": np.nan,
                **dict.fromkeys(_BOUNDS, np.nan),
                "spectra_reason": f"{', '.join(_BOUNDS)}: {matrices.NOT_KNOWN} of a {kind}",
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
        fresh = [column for column in missing if column == _FRESH and "alpha_hill" not in missing]
        apart = [column for column in missing if column == _WINDOWS and "alpha_hill" not in missing]
        laws = [column for column in missing if column not in (*bulks, *fresh, *apart)]
        said = {
            "the nonzero eigenvalues, or the larger half of them, are all the same": laws,
            f"no square window of the matrix has {LEAST_EIGENVALUES} nonzero eigenvalues that are not all the same": apart,
            "its kind of layer does not say how it is initialised": fresh,
            "most eigenvalues are zero": bulks,
        }
    return "; ".join(f"{', '.join(columns)}: {why}" for why, columns in said.items() if columns) or None


def _step_change(subject: Subject, known: Sequence[Matrix], before: Sequence[Array]) -> Array:
    """Return by how much a step changes Hill's exponent, the mean over the layers, (S,).

    Kothapalli et al., Crafting heavy-tails in weight matrix spectrum without gradient noise (2024), find that tails can
    become heavy within a few full-batch steps that are as large as the weights themselves.
    """
    surface = subject.ordinary
    after = spectra(surface, known, stepped(surface, known, subject.sample)) if known else []
    changes = [hill(new) - hill(old) for new, old in zip(after, before, strict=True)]
    return over_layers("alpha_hill", _stacked(changes, len(surface)))["alpha_hill_mean"]


def _reasons(of: dict[str, np.float64], counts: dict[str, int], layers: Matrices) -> str:
    """Return why some numbers of one network are NaN, and which are not of all its layers.

    Parameters
    ----------
    of : the network's numbers.
    counts : how many layers have a column.
    layers : all of them.
    """
    missing = [column for column, value in of.items() if not np.isfinite(value)]
    if not layers.known:
        return f"{', '.join(missing)}: " + (layers.left_out or "there is no layer with a matrix")
    single = [column for column in missing if column.endswith("_imbalance") and column[:-9] + "mean" not in missing]
    change = [column for column in missing if column == _CHANGE]
    norms = [column for column in missing if column.startswith(_OF_ANY_MATRIX) and column not in single]
    fresh = [column for column in missing if column == f"{_FRESH}_mean" and "alpha_hill_mean" not in missing]
    apart = [column for column in missing if column == f"{_WINDOWS}_mean" and "alpha_hill_mean" not in missing]
    other = [column for column in missing if column not in (*single, *change, *norms, *fresh, *apart)]
    why = f"no layer's matrix has {LEAST_EIGENVALUES} nonzero eigenvalues, most not zero and not all the same"
    said = [
        (norms, "every layer's matrix is zero, or not finite"),
        (other, why),
        (apart, f"no square window of a matrix has {LEAST_EIGENVALUES} nonzero eigenvalues that are not all the same"),
        (fresh, "no kind of layer that there is says how it is initialised"),
        (
            single,
            f"only 1 of {len(layers)} layers has one"
            if len(layers) > 1
            else "there is no more than one layer to compare",
        ),
        (change, f"{why}, or it has not after the step"),
    ]
    for count in sorted({count for count in counts.values() if 0 < count < len(layers)}, reverse=True):
        some = [column for column, known in counts.items() if known == count]
        said.append((some, f"over {count} of {len(layers)} layers"))
    reasons = [f"{', '.join(columns)}: {reason}" for columns, reason in said if columns]
    return "; ".join([*reasons, *filter(None, [layers.left_out])])
