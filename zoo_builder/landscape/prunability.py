"""Prunability: how much worse a network is on held-out data without its smallest weights.

Weights are those of linear layers and convolutions; biases and normalizations stay, and normalization keeps its statistics.
Nothing is trained again.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape import spectra
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import Missing
from zoo_builder.landscape.surface import Surface

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

#: Shares of the weights, in %, that are pruned.
SPARSITIES: Final = (50, 70, 80, 90)
#: Shares, in %, that are tried in search of the largest one that can be pruned, and how much the error may rise, in points.
GRID: Final = tuple(range(0, 100, 5))
RISE: Final = 5.0

_WAYS: Final = ("global", "layerwise", "alpha")
_SHARE: Final = "prunable_sparsity"

METRICS: Final[tuple[Metric, ...]] = (
    *(
        Metric(f"pruned_test_error_{way}_{sparsity}", "checkpoint", 0, 100, "pass over the test sample")
        for way in _WAYS
        for sparsity in SPARSITIES
    ),
    *(Metric(f"alpha_pruning_gain_{sparsity}", "checkpoint", -100, 100) for sparsity in SPARSITIES),
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


def allotted(sizes: Sequence[int], shares: Array, total: int) -> Counts:
    """Return how many weights each layer loses, int64 (S, L), `total` together.

    Layer l's share is proportional to φₗ; whole numbers are reached by rounding down, and up where the remainders are the
    largest (where they are equal, in the earlier layer).

    Parameters
    ----------
    sizes : weights in each layer, (L,).
    shares : φ (S, L), positive.
    total : how many weights the layers lose together.

    Raises
    ------
    ValueError
        A layer would lose more weights than it has.
    """
    weights = shares * np.asarray(sizes)
    wanted = total * weights / weights.sum(1, keepdims=True)
    # A share that is a whole number but for rounding is one.
    counts = np.floor(wanted + 1e-9)
    missing = total - counts.sum(1, keepdims=True)
    places = (counts - wanted).argsort(1, kind="stable").argsort(1, kind="stable")
    counts = counts + (places < missing)
    if (counts > sizes).any():
        raise ValueError("a layer would lose more weights than it has; use shares that differ less")
    whole: Counts = counts.astype(np.int64)
    return whole


class Pruning:
    """The weights of networks in the order in which they are pruned.

    Attributes
    ----------
    surface : S networks.
    blocks : where the weights of each matrix lie in a point.
    sizes : how many these are.
    """

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.blocks = [surface.layout.slices[name] for name in spectra.weight_matrices(surface.module).values()]
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
    finite: NDArray[np.bool_] = subject.surface.points.isfinite().all(1).cpu().numpy()
    missing.because("weights are not finite", columns, np.flatnonzero(~finite).tolist())
    found = {column: np.full(size, np.nan) for column in columns}
    rows = np.flatnonzero(finite).tolist()
    if rows:
        for column, values in _errors(subject, rows).items():
            found[column][rows] = values
    no_room = f"the error has no room to rise: {RISE:g} points more are those of chance"
    missing.because(no_room, [_SHARE], np.flatnonzero(np.isnan(found[_SHARE])).tolist())
    unguided = "fewer than two layers have an alpha_hill to be guided by"
    return Measured(networks=missing.fill(found, columns, unguided), network_reasons=missing.reasons)


def _unmeasurable(subject: Subject) -> str:
    """Return why no network of a subject can be measured, or nothing."""
    if subject.test is None:
        return "there are no test examples"
    if not subject.surface.classifies:
        return "the loss is not one of classes"
    if not spectra.weight_matrices(subject.surface.module):
        return "there is no linear layer and no convolution"
    return ""


def _errors(subject: Subject, rows: Sequence[int]) -> dict[str, Array]:
    """Return what is measured of some of the networks, column → (rows,)."""
    assert subject.test is not None
    surface, data = subject.surface.part(rows), subject.test.first(subject.settings.test_sample)
    pruning = Pruning(surface)
    totals = [pruned_count(sum(pruning.sizes), sparsity) for sparsity in SPARSITIES]
    uniform = np.array([[pruned_count(size, sparsity) for size in pruning.sizes] for sparsity in SPARSITIES])
    alphas = np.stack([spectra.hill(values) for values in spectra.spectra(surface).values()], 1)
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
    known = {0: unpruned} | {sparsity: of["global", sparsity] for sparsity in SPARSITIES}
    return {
        **{f"pruned_test_error_{way}_{sparsity}": values for (way, sparsity), values in of.items()},
        **{
            f"alpha_pruning_gain_{sparsity}": of["layerwise", sparsity] - of["alpha", sparsity]
            for sparsity in SPARSITIES
        },
        _SHARE: np.where(room(unpruned, classes), largest_share(pruning, data, known), np.nan),
    }
