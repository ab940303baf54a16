"""Mode connectivity: what lies between two networks that differ by their seed alone.

Three ways lead from one to the other: a trained curve, the straight line, and the straight line after the hidden units of the
other have been put into the order in which they resemble the first one's. On each of them the loss and the error on training
examples are looked at. Normalization's statistics are taken anew at every point, ends included, as in Garipov et al.'s
evaluation: a network that kept statistics of its own training would else have a barrier with itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape.alignment import aligned, hidden_units
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.surface import Surface
from zoo_builder.training import Descent, UnknownLayerError

#: Where ways are looked at, ends aside.
INTERIOR: Final = (0.25, 0.5, 0.75)

METRICS: Final[tuple[Metric, ...]] = (
    Metric("mode_connectivity", "configuration", -100, 100, cost="1,200 gradients of 32 examples a pair"),
    Metric("mode_connectivity_peak", "configuration", -100, 0),
    Metric("mode_connectivity_loss", "configuration"),
    Metric("linear_barrier", "configuration", -100, 100, cost="6 passes a pair"),
    Metric("linear_barrier_loss", "configuration"),
    Metric("aligned_barrier", "configuration", -100, 100, cost="6 passes a pair"),
    Metric("aligned_barrier_loss", "configuration"),
)
_OF_ERRORS: Final = ("mode_connectivity", "mode_connectivity_peak", "linear_barrier", "aligned_barrier")
_ALIGNED: Final = ("aligned_barrier", "aligned_barrier_loss")


@dataclass(frozen=True)
class Training:
    """How curves are trained: by stochastic gradient descent whose learning rate falls to zero along half a cosine.

    Many small batches lead further than few large ones: each batch sees one place of the curve.

    Attributes
    ----------
    steps, batch_size : how many, and of how many examples, drawn with replacement.
    learning_rate : at the beginning. A middle point moves a curve by at most half its own way, and its gradient is at most
        half the network's, so that this is at most a quarter of it where the network is.
    momentum : share of the velocity that is kept at a step.
    """

    steps: int = 1200
    batch_size: int = 32
    learning_rate: float = 0.2
    momentum: float = 0.9


def pairs(group: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs of a group that are measured: around the ring, each network with the next; two are one pair."""
    around = [(one, group[(at + 1) % len(group)]) for at, one in enumerate(group)]
    return around if len(group) > 2 else around[: len(group) - 1]


def bezier(start: Tensor, middle: Tensor, end: Tensor, t: float | Tensor) -> Tensor:
    """Return the points φ(t) = (1−t)² start + 2t(1−t) middle + t² end of quadratic Bézier curves, (S, P).

    Parameters
    ----------
    start, middle, end : (S, P).
    t : from 0 to 1; one number, or (S, 1).
    """
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end


def train_curves(
    surface: Surface,
    data: Data,
    start: Tensor,
    end: Tensor,
    rngs: Sequence[np.random.Generator],
    how: Training | None = None,
) -> Tensor:
    """Train quadratic Bézier curves between networks: minimise the mean loss over t, uniform between 0 and 1.

    Garipov et al., Loss surfaces, mode connectivity, and fast ensembling of DNNs (NeurIPS 2018), section 3. Every step takes
    one t and one batch a curve; normalization uses the batch's statistics. The middle point begins at the middle of the
    straight line.

    Parameters
    ----------
    surface : S networks of the curves' shape.
    data : what the loss is a mean over.
    start, end : (S, P).
    rngs : of each curve, for t and batches: a curve does not depend on the others.
    how : for how long, and so on.

    Returns
    -------
    The middle points, (S, P).
    """
    how = how or Training()
    shape = (how.steps, how.batch_size)
    drawn = [(rng.random(how.steps), rng.integers(0, len(data), shape)) for rng in rngs]
    times = torch.as_tensor(np.array([t for t, _ in drawn]), device=start.device).to(start.dtype)
    chosen = torch.as_tensor(np.array([examples for _, examples in drawn]))
    middle = (start + end) / 2
    descent = Descent([middle], how.momentum, middle.new_zeros(len(middle)))
    for step in range(how.steps):
        t = times[:, step, None]
        _, slopes = surface.gradients(data, bezier(start, middle, end, t), chosen[:, step], training=True)
        rate = how.learning_rate * (1 + math.cos(math.pi * step / how.steps)) / 2
        descent.step([2 * t * (1 - t) * slopes], middle.new_full((len(middle),), rate))
    return middle


def along(
    surface: Surface, data: Data, way: Callable[[float], Tensor]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return losses and errors in % at the interior points of ways, (S, 3) each.

    Parameters
    ----------
    surface : S networks of the ways' shape.
    data : what losses and errors are means over, and normalization's statistics are taken from.
    way : t → points (S, P).
    """
    found = []
    for t in INTERIOR:
        points = way(t)
        found.append(torch.stack(surface.renormalized(data, points).scores(data, points[:, None])))
    losses, errors = torch.cat(found, 2).numpy()
    return losses, _where_finite(errors, losses)


def _where_finite(errors: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return errors as NaN where the loss is not finite: such outputs say no class."""
    return np.where(np.isfinite(losses), errors, np.nan)


def connectivity(ends: NDArray[np.float64], interior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mode connectivity (e(0) + e(1)) / 2 − e(t*), t* where its absolute value is largest, of equals the first.

    Yang et al., Taxonomizing local versus global structure in neural network loss landscapes (NeurIPS 2021), equation 2.
    It is below 0 where a barrier is left, above where the curve finds better networks than its ends.

    Parameters
    ----------
    ends : (S, 2), e at t = 0 and 1.
    interior : (S, 3), e between them, in order.
    """
    values = np.concatenate([ends[:, :1], interior, ends[:, 1:]], 1)
    # So written, the deviations at the two ends differ by their sign alone, rounding included.
    deviations = ((ends[:, :1] - values) + (ends[:, 1:] - values)) / 2
    largest = np.abs(deviations).round(9).argmax(1)  # errors in % are often equal but for rounding
    found: NDArray[np.float64] = np.take_along_axis(deviations, largest[:, None], 1)[:, 0]
    return found


def barrier(ends: NDArray[np.float64], interior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far values rise above the straight line between those at the ends: max over t of e(t) − (1−t) e(0) − t e(1).

    Entezari et al., The role of permutation invariance in linear mode connectivity of neural networks (ICLR 2022), definition
    2.1. (The instability of Frankle et al., Linear mode connectivity and the lottery ticket hypothesis, ICML 2020, is the
    rise above the mean of the two ends.) Of the interior points only: below 0 where the values sag.

    Parameters
    ----------
    ends : (S, 2), e at t = 0 and 1.
    interior : (S, 3), e at `INTERIOR`.
    """
    t = np.array(INTERIOR)
    found: NDArray[np.float64] = (interior - ((1 - t) * ends[:, :1] + t * ends[:, 1:])).max(1)
    return found


def measure(subject: Subject, how: Training | None = None) -> Measured:
    """Measure mode connectivity and barriers: means over the pairs of each group.

    Curves are trained on all training examples. Losses, errors and normalization's statistics are those of `subject.sample`,
    at the ends too.

    Parameters
    ----------
    subject : what is measured.
    how : how curves are trained.
    """
    measured = Measured(configurations={metric.column: np.full(len(subject.groups), np.nan) for metric in METRICS})
    finite = torch.isfinite(subject.surface.points).all(1).tolist()
    reasons: dict[int, dict[str, list[str]]] = {at: {} for at in range(len(subject.groups))}
    measurable = {}
    for at, group in enumerate(subject.groups):
        if len(group) < 2:
            reasons[at]["a group of one network has no pairs"] = [metric.column for metric in METRICS]
        elif not all(finite[row] for row in group):
            reasons[at]["a network's parameters are not finite"] = [metric.column for metric in METRICS]
        else:
            measurable[at] = pairs(group)
    every = [pair for found in measurable.values() for pair in found]
    if every:
        values, missing = _of_pairs(subject, every, how)
        owner = np.repeat(list(measurable), [len(found) for found in measurable.values()])
        for at in measurable:
            for column, of_pair in values.items():
                mean = of_pair[owner == at].mean()
                measured.configurations[column][at] = mean if np.isfinite(mean) else np.nan
                if not np.isfinite(mean):
                    why = missing.get(column, "the loss is not finite all the way")
                    reasons[at].setdefault(why, []).append(column)
    measured.configuration_reasons = {
        at: "; ".join(f"{', '.join(columns)}: {why}" for why, columns in said.items())
        for at, said in reasons.items()
        if said
    }
    return measured


def _of_pairs(
    subject: Subject, every: Sequence[tuple[int, int]], how: Training | None
) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    """Return what is measured of each pair, column → (pairs,), and why a column is missing."""
    surface, sample = subject.surface, subject.sample
    first, second = map(list, zip(*every, strict=True))
    start, end = surface.points[first], surface.points[second]
    between = surface.part(first)
    renewed = surface.renormalized(sample, surface.points)
    of_ends = [found[:, 0].numpy() for found in renewed.scores(sample, surface.points[:, None])]
    end_losses, end_errors = (np.stack([found[first], found[second]], 1) for found in of_ends)
    end_errors = _where_finite(end_errors, end_losses)

    values: dict[str, NDArray[np.float64]] = {}
    missing: dict[str, str] = {}
    middle = train_curves(
        between, subject.train, start, end, [subject.pair_rng(pair, "mode connectivity") for pair in every], how
    )
    losses, errors = along(between, sample, lambda t: bezier(start, middle, end, t))
    values["mode_connectivity"] = connectivity(end_errors, errors)
    values["mode_connectivity_peak"] = -errors.max(1)
    values["mode_connectivity_loss"] = connectivity(end_losses, losses)

    losses, errors = along(between, sample, lambda t: torch.lerp(start, end, t))
    values["linear_barrier"], values["linear_barrier_loss"] = barrier(end_errors, errors), barrier(end_losses, losses)

    try:
        units = hidden_units(surface.network(0), sample.shape)
    except UnknownLayerError:
        values |= {column: np.full(len(every), np.nan) for column in _ALIGNED}
        missing |= dict.fromkeys(_ALIGNED, "the network has layers whose hidden units are not known")
    else:
        like_start = aligned(surface.layout, units, start, end)
        losses, errors = along(between, sample, lambda t: torch.lerp(start, like_start, t))
        values["aligned_barrier"], values["aligned_barrier_loss"] = (
            barrier(end_errors, errors),
            barrier(end_losses, losses),
        )
    if not surface.classifies:
        missing = dict.fromkeys(_OF_ERRORS, "the loss is of one's own, and has no errors") | missing
    return values, missing
