"""Prunability: how much worse a network is on held-out data without its smallest weights.

Weights are those of all matrices that `zoo_builder.landscape.matrices` knows, embeddings and the last layer among them, as
they multiply: where a weight is computed from other tensors, the computed one; what is masked counts as a weight of zero and
goes first. Biases and normalizations stay, and normalization keeps its statistics. Nothing is trained again.

Beside them stands the rule as AlphaPruning publishes it (Lu et al., NeurIPS 2024, and its program): exponents whose tail
begins at the peak of the eigenvalues' density, one for each block of layers, the mean of its layers'; embeddings and the
last layer are left whole. Its program asks for more than all weights of a layer that is small; here no layer loses more.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape import matrices, spectra
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.matrices import Matrix
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import NO_TEST, NOT_CLASSES, Missing
from zoo_builder.landscape.surface import Surface
from zoo_builder.landscape.tails import every_tail, hill, near_peak

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

#: Shares of the weights, in %, that are pruned.
SPARSITIES: Final = (50, 70, 80, 90)
#: Shares, in %, that are tried in search of the largest one that can be pruned, and how much the error may rise, in points.
GRID: Final = tuple(range(0, 100, 5))
RISE: Final = 5.0
#: Shares, in %, and the τ of `proportions`, for which AlphaPruning's results with magnitudes are published.
PUBLISHED: Final = (70, 80)
PUBLISHED_TAU: Final = 0.3

_WAYS: Final = ("global", "layerwise", "alpha")
_SHARE: Final = "prunable_sparsity"
_GUIDED: Final = [
    *(f"pruned_test_error_alpha_{sparsity}" for sparsity in SPARSITIES),
    *(f"alpha_pruning_gain_{sparsity}" for sparsity in SPARSITIES),
]

METRICS: Final[tuple[Metric, ...]] = (
    *(
        Metric(f"pruned_test_error_{way}_{sparsity}", "checkpoint", 0, 100, "pass over the test sample")
        for way in _WAYS
        for sparsity in SPARSITIES
    ),
    *(Metric(f"alpha_pruning_gain_{sparsity}", "checkpoint", -100, 100) for sparsity in SPARSITIES),
    *(
        Metric(f"pruned_test_error_published_{sparsity}", "checkpoint", 0, 100, "pass over the test sample")
        for sparsity in PUBLISHED
    ),
    *(
        Metric(f"published_pruning_gain_{sparsity}", "checkpoint", -100, 100, "pass over the test sample")
        for sparsity in PUBLISHED
    ),
    Metric(_SHARE, "checkpoint", 0, GRID[-1], "5 passes over the test sample"),
)


def pruned_count(weights: int, sparsity: int) -> int:
    """Return how many of so many weights a sparsity in % is; a half is rounded to even."""
    return round(Fraction(weights * sparsity, 100))


def ranks(magnitudes: Tensor) -> Tensor:
    """Return each weight's place in the order of magnitudes, int64 (S, n) of (S, n); of equals the first comes first."""
    order = magnitudes.argsort(dim=1, stable=True)
    return torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )


def safe_tau(sparsity: int) -> float:
    """Return the τ of `proportions` for a sparsity s in %: ``(1 − s) / (1 + s) / 2``.

    From twice that on, where s (1 + τ) / (1 − τ) = 1, a layer may have to be pruned whole, and then the network says the same
    of all examples. In AlphaPruning τ is a hyperparameter.
    """
    share = sparsity / 100
    return (1 - share) / (1 + share) / 2


def proportions(alphas: Array, tau: float) -> Array:
    """Return what layers' sparsities are to be proportional to, (S, L).

    ``1 − τ + 2 τ (α − min α) / (max α − min α)``: the more heavy-tailed a layer, the more it has learnt, and the less of it
    is pruned (Lu et al., AlphaPruning: Using heavy-tailed self-regularization theory for improved layer-wise pruning of
    large language models, NeurIPS 2024, section 3.2, with s₁ = 1 − τ and s₂ = 1 + τ).

    Parameters
    ----------
    alphas : (S, L), Hill's exponents. A layer without one, NaN, gets 1.
    tau : at least 0 and below 1.

    Returns
    -------
    (S, L)
        NaN where fewer than two layers have an exponent.
    """
    known = np.isfinite(alphas)
    low = np.where(known, alphas, np.inf).min(1, keepdims=True)
    high = np.where(known, alphas, -np.inf).max(1, keepdims=True)
    place = np.full(alphas.shape, 0.5)
    np.divide(alphas - low, high - low, out=place, where=known & (high > low))
    return np.where(known.sum(1, keepdims=True) > 1, 1 - tau + 2 * tau * place, np.nan)


def block_means(alphas: Array, blocks: Sequence[str]) -> Array:
    """Return for each layer the mean exponent of the block that it is in, (S, L) of (S, L); NaN where no layer has one."""
    found = np.full(alphas.shape, np.nan)
    for block in set(blocks):
        inside = [at for at, name in enumerate(blocks) if name == block]
        own = alphas[:, inside]
        known = np.isfinite(own)
        count = known.sum(1)
        mean = np.where(known, own, 0.0).sum(1) / np.maximum(count, 1)
        found[:, inside] = np.where(count > 0, mean, np.nan)[:, None]
    return found


def allotted(sizes: Sequence[int], shares: Array, total: int) -> Counts:
    """Return how many weights each layer loses, int64 (S, L), `total` together.

    Layer l's share is proportional to φₗ; a layer that would lose more weights than it has loses all, and the others share
    the rest in the same proportions. Whole numbers are reached by rounding down, and up where the remainders are the
    largest (where they are equal, in the earlier layer).

    Parameters
    ----------
    sizes : weights in each layer, (L,).
    shares : φ (S, L), positive.
    total : how many weights the layers lose together.

    Raises
    ------
    ValueError
        There are not so many weights.
    """
    if total > sum(sizes):
        raise ValueError(f"{total} weights cannot be taken from {sum(sizes)}")
    weights = shares * np.asarray(sizes)
    wanted = total * weights / weights.sum(1, keepdims=True)
    while (whole := wanted > sizes).any():
        wanted = np.where(whole, sizes, wanted)
        full = wanted == sizes
        left = total - np.where(full, wanted, 0.0).sum(1, keepdims=True)
        rest = np.where(full, 0.0, weights)
        wanted = np.where(full, wanted, left * rest / np.maximum(rest.sum(1, keepdims=True), 1e-300))
    # A share that is a whole number but for rounding is one.
    counts = np.floor(wanted + 1e-9)
    missing = total - counts.sum(1, keepdims=True)
    places = (counts - wanted).argsort(1, kind="stable").argsort(1, kind="stable")
    whole_numbers: Counts = (counts + (places < missing)).astype(np.int64)
    return whole_numbers


class Pruning:
    """The weights of networks in the order in which they are pruned.

    Attributes
    ----------
    surface : S networks whose weights are parameters.
    blocks : where the weights of each matrix lie in a point.
    sizes : how many these are.
    """

    def __init__(self, surface: Surface, known: Sequence[Matrix]) -> None:
        self.surface = surface
        self.blocks = [matrix.place(surface.layout) for matrix in known]
        self.sizes = [block.stop - block.start for block in self.blocks]
        magnitudes = [surface.points[:, block].abs() for block in self.blocks]
        self._in_network = torch.split(ranks(torch.cat(magnitudes, 1)), self.sizes, 1)
        self._in_layer = [ranks(of) for of in magnitudes]

    def globally(self, counts: Counts) -> Tensor:
        """Return points (S, M, P) without the smallest weights of the network: counts (S, M)."""
        return self._without(self._in_network, np.repeat(counts[:, :, None], len(self.blocks), 2))

    def layerwise(self, counts: Counts) -> Tensor:
        """Return points (S, M, P) without the smallest weights of each layer: counts (S, M, L)."""
        return self._without(self._in_layer, counts)

    def _without(self, places: Sequence[Tensor], counts: Counts) -> Tensor:
        points = self.surface.points[:, None].repeat(1, counts.shape[1], 1)
        below = torch.from_numpy(counts).to(points.device)
        for at, (block, place) in enumerate(zip(self.blocks, places, strict=True)):
            points[:, :, block].masked_fill_(place[:, None] < below[:, :, at, None], 0.0)
        return points


def room(errors: Array, classes: int) -> NDArray[np.bool_]:
    """Return whether errors in % have room to rise: `RISE` points more are still below chance, 100 (1 − 1 / classes) %.

    Where there is none, a network that says the same of all examples passes, and how much can be pruned says nothing.
    """
    return errors + RISE < 100 * (1 - 1 / classes) - 1e-9


def largest_share(pruning: Pruning, data: Data, errors: dict[int, Array]) -> Array:
    """Return the largest share of the weights, in % and in `GRID`, without which the error is at most `RISE` points higher.

    Weights are pruned globally. The first two known shares between which the error rises too far are where bisection begins,
    which takes errors between them as rising with the share.

    Parameters
    ----------
    pruning : of S networks.
    data : examples that errors are of.
    errors : share in %, in `GRID`, → errors in %, (S,), where they are known already; 0 is there.

    Returns
    -------
    (S,)
    """
    known = sorted(errors)
    bound = errors[0] + RISE + 1e-9  # errors are whole numbers over whole numbers, but for rounding
    fails = np.stack([errors[share] > bound for share in known] + [np.ones(len(bound), dtype=bool)], 1)
    places = np.array([*map(GRID.index, known), len(GRID)])
    first = fails.argmax(1)
    low, high = places[first - 1], places[first]
    weights = sum(pruning.sizes)
    counts = np.array([pruned_count(weights, share) for share in GRID])
    while len(rows := np.flatnonzero(high - low > 1)):
        middle = (low + high) // 2
        points = pruning.globally(counts[middle][:, None])[torch.from_numpy(rows)]
        _, found = pruning.surface.part(rows.tolist()).scores(data, points)
        fits = found[:, 0].numpy() <= bound[rows]
        low[rows], high[rows] = np.where(fits, middle[rows], low[rows]), np.where(fits, high[rows], middle[rows])
    shares: Array = np.array(GRID, dtype=np.float64)[low]
    return shares


def measure(subject: Subject) -> Measured:
    """Measure the test errors of pruned networks."""
    size, columns = len(subject.surface), [metric.column for metric in METRICS]
    missing = Missing(size)
    if why := _unmeasurable(subject):
        missing.because(why, columns)
        return Measured(networks=missing.fill({}, columns), network_reasons=missing.reasons)
    left_out = matrices.find(subject.ordinary.module).left_out
    finite: NDArray[np.bool_] = subject.ordinary.points.isfinite().all(1).cpu().numpy()
    missing.because("weights are not finite", columns, np.flatnonzero(~finite).tolist())
    found = {column: np.full(size, np.nan) for column in columns}
    rows = np.flatnonzero(finite).tolist()
    if rows:
        for column, values in _errors(subject, rows).items():
            found[column][rows] = values
    no_room = f"the error has no room to rise: {RISE:g} points more are those of chance"
    missing.because(no_room, [_SHARE], np.flatnonzero(np.isnan(found[_SHARE])).tolist())
    unguided = "fewer than two layers have an alpha_hill to be guided by"
    missing.because(unguided, _GUIDED, np.flatnonzero(np.isnan(found[_GUIDED[0]])).tolist())
    alike = (
        "fewer than two blocks of layers, embeddings and the last layer left out, have an alpha_peak to be guided by"
    )
    return Measured(
        networks=missing.fill(found, columns, alike), network_reasons=_with(missing.reasons, left_out, size)
    )


def _with(reasons: dict[int, str], left_out: str, size: int) -> dict[int, str]:
    """Return reasons, and in all rows which weights were not pruned, where there are such."""
    if not left_out:
        return reasons
    said = f"not pruned: {left_out}"
    return {row: "; ".join(filter(None, (reasons.get(row), said))) for row in range(size)}


def _unmeasurable(subject: Subject) -> str:
    """Return why no network of a subject can be measured, or nothing."""
    if subject.test is None:
        return NO_TEST
    if not subject.surface.classifies:
        return NOT_CLASSES
    found = matrices.find(subject.ordinary.module)
    if not found.known:
        return found.left_out or "there is no layer with a matrix"
    return ""


def _errors(subject: Subject, rows: Sequence[int]) -> dict[str, Array]:
    """Return what is measured of some of the networks, column → (rows,)."""
    assert subject.test is not None
    surface, data = subject.ordinary.part(rows), subject.test.first(subject.settings.test_sample)
    known = matrices.find(surface.module).known
    pruning, every = Pruning(surface, known), spectra.spectra(surface, known)
    totals = [pruned_count(sum(pruning.sizes), sparsity) for sparsity in SPARSITIES]
    uniform = np.array([[pruned_count(size, sparsity) for size in pruning.sizes] for sparsity in SPARSITIES])
    alphas = np.stack([hill(values) for values in every], 1)
    guided = np.isfinite(alphas).sum(1) > 1
    by_alpha = []
    for sparsity, total in zip(SPARSITIES, totals, strict=True):
        # What cannot be guided has no such errors below; it goes along as if its layers were equal.
        shares = np.where(guided[:, None], proportions(alphas, safe_tau(sparsity)), 1.0)
        by_alpha.append(allotted(pruning.sizes, shares, total))

    points = (
        pruning.globally(np.tile([0, *totals], (len(rows), 1))),
        pruning.layerwise(np.tile(uniform, (len(rows), 1, 1))),
        pruning.layerwise(np.stack(by_alpha, 1)),
    )
    _, errors = surface.scores(data, torch.cat(points, 1))
    unpruned, *pruned = errors.numpy().T
    of = dict(zip(((way, sparsity) for way in _WAYS for sparsity in SPARSITIES), pruned, strict=True))
    for sparsity in SPARSITIES:
        of["alpha", sparsity] = np.where(guided, of["alpha", sparsity], np.nan)
    classes = surface.logits(data.first(1)).shape[2]
    known_errors = {0: unpruned} | {sparsity: of["global", sparsity] for sparsity in SPARSITIES}
    return {
        **{f"pruned_test_error_{way}_{sparsity}": values for (way, sparsity), values in of.items()},
        **{
            f"alpha_pruning_gain_{sparsity}": of["layerwise", sparsity] - of["alpha", sparsity]
            for sparsity in SPARSITIES
        },
        **_as_published(pruning, known, every, data),
        _SHARE: np.where(room(unpruned, classes), largest_share(pruning, data, known_errors), np.nan),
    }


def _as_published(pruning: Pruning, known: Sequence[Matrix], every: Sequence[Array], data: Data) -> dict[str, Array]:
    """Return what AlphaPruning's rule does to networks, column → (S,); of their matrices the eigenvalues are given too."""
    surface = pruning.surface
    network = surface.network(0)
    last = matrices.used_last(network, data.first(1).inputs, known)
    body = [at for at, matrix in enumerate(known) if not matrix.embedding and matrix not in last]
    if len(body) < 2:
        return {}
    blocks = matrices.repeated(network, [known[at] for at in body])
    peaks = [every_tail(every[at]).best(near_peak(every[at])).alpha for at in body]
    alphas = block_means(np.stack(peaks, 1), blocks)
    guided = np.isfinite(alphas[:, [blocks.index(block) for block in dict.fromkeys(blocks)]]).sum(1) > 1
    sizes = [pruning.sizes[at] for at in body]
    counts = np.zeros((len(surface), 2, len(PUBLISHED), len(known)), dtype=np.int64)
    for at, sparsity in enumerate(PUBLISHED):
        shares = np.where(guided[:, None], proportions(alphas, PUBLISHED_TAU), 1.0)
        counts[:, 0, at, body] = [pruned_count(size, sparsity) for size in sizes]
        counts[:, 1, at, body] = allotted(sizes, shares, pruned_count(sum(sizes), sparsity))
    _, errors = surface.scores(data, pruning.layerwise(counts.reshape(len(surface), -1, len(known))))
    uniform, by_rule = errors.numpy().reshape(len(surface), 2, len(PUBLISHED)).swapaxes(0, 1)
    by_rule = np.where(guided[:, None], by_rule, np.nan)
    return {
        **{f"pruned_test_error_published_{sparsity}": by_rule[:, at] for at, sparsity in enumerate(PUBLISHED)},
        **{
            f"published_pruning_gain_{sparsity}": uniform[:, at] - by_rule[:, at]
            for at, sparsity in enumerate(PUBLISHED)
        },
    }
