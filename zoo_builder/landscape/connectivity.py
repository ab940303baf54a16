"""Mode connectivity: what lies between two networks that differ by their seed alone.

Three ways lead from one to the other: a trained curve, the straight line, and the straight line after the hidden units of the
other have been put into the order in which they resemble the first one's. On each of them the loss and the error on training
examples are looked at; where there are no classes, the loss alone. Normalization's statistics are taken anew at every point,
ends included, as in Garipov et al.'s evaluation: a network that kept statistics of its own training would else have a barrier
with itself.

Losses of regressions, or of equations, mean something in their own unit and in proportion to each other: beside the
differences of losses stand those of their natural logarithms, which do not depend on the unit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape.alignment import aligned, hidden_units
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import ALONE, NOT_CLASSES
from zoo_builder.landscape.surface import Surface
from zoo_builder.training import Descent, UnknownLayerError

Floats: TypeAlias = NDArray[np.float64]

#: Where ways are looked at, ends aside.
INTERIOR: Final = (0.25, 0.5, 0.75)

METRICS: Final[tuple[Metric, ...]] = (
    Metric("mode_connectivity", "configuration", -100, 100, cost="1,200 gradients of 32 examples a pair"),
    Metric("mode_connectivity_peak", "configuration", -100, 0),
    Metric("mode_connectivity_loss", "configuration"),
    Metric("mode_connectivity_peak_loss", "configuration"),
    Metric("mode_connectivity_log_loss", "configuration"),
    Metric("linear_barrier", "configuration", -100, 100, cost="6 passes a pair"),
    Metric("linear_barrier_loss", "configuration"),
    Metric("linear_barrier_log_loss", "configuration"),
    Metric("aligned_barrier", "configuration", -100, 100, cost="6 passes a pair"),
    Metric("aligned_barrier_loss", "configuration"),
    Metric("aligned_barrier_log_loss", "configuration"),
)
_OF_ERRORS: Final = ("mode_connectivity", "mode_connectivity_peak", "linear_barrier", "aligned_barrier")
_ALIGNED: Final = ("aligned_barrier", "aligned_barrier_loss", "aligned_barrier_log_loss")

_NOT_ABOVE_ZERO: Final = "the loss is not finite and above zero all the way"

#: The learning rate of curves between networks that were trained with cross-entropy.
OF_CLASSES: Final = 0.2
#: Steps of a trial of a learning rate; by what factor trials' rates differ; how many there are at most in one direction.
TRIAL: Final = 60
FACTOR: Final = 4
MOST_TRIALS: Final = 20
#: What loss is nearly the least of the trials': so much more, as a share of it.
NEARLY: Final = 0.1


@dataclass(frozen=True)
class Training:
    """How curves are trained: by stochastic gradient descent whose learning rate falls to zero along half a cosine.

    Many small batches lead further than few large ones: each batch sees one place of the curve.

    Attributes
    ----------
    steps, batch_size : how many, and of how many examples, drawn with replacement.
    learning_rate : at the beginning. A middle point moves a curve by at most half its own way, and its gradient is at most
        half the network's, so that this is at most a quarter of it where the network is. None for `OF_CLASSES` where the
        loss is the cross-entropy of classes, and elsewhere for what `learning_rates` finds; a quarter of that, or less, where
        the loss then rises.
    momentum : share of the velocity that is kept at a step.
    """

    steps: int = 1200
    batch_size: int = 32
    learning_rate: float | None = None
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
    draws = Draws.of(rngs, how, len(data), start)
    if how.learning_rate is not None or surface.classifies:
        rate = OF_CLASSES if how.learning_rate is None else how.learning_rate
        rates = torch.full((len(start),), rate, dtype=torch.float64)
        return _descended(surface, data, start, end, draws, _falling(rates, how.steps), how.momentum)[0]
    rates = learning_rates(surface, data, start, end, draws, how.momentum)
    middles, rows = torch.empty_like(start), list(range(len(start)))
    for _ in range(MOST_TRIALS):
        falling = _falling(rates[rows], how.steps)
        middles[rows], losses = _descended(
            surface.part(rows), data, start[rows], end[rows], draws.part(rows), falling, how.momentum
        )
        # What a short trial bears, the whole way may not: such curves are trained anew, with a smaller rate.
        rows = [row for row, rises in zip(rows, _rises(losses).tolist(), strict=True) if rises]
        if not rows:
            break
        rates[rows] /= FACTOR
    return middles


def _falling(rates: Tensor, steps: int) -> list[Tensor]:
    """Return learning rates (S,) of so many steps: half a cosine."""
    return [rates * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]


def _rises(losses: Tensor) -> Tensor:
    """Return whether losses (steps, S) end higher than they began, or not finite, bool (S,)."""
    some = min(TRIAL // 2, max(1, len(losses) // 2))
    first, last = losses[:some].mean(0), losses[-some:].mean(0)
    return ~(last <= first + NEARLY * first.abs())


@dataclass(frozen=True)
class Draws:
    """What the steps of S curves are taken on: places t (S, steps), and numbers of examples (S, steps, batch)."""

    times: Tensor
    examples: Tensor

    @classmethod
    def of(cls, rngs: Sequence[np.random.Generator], how: Training, examples: int, like: Tensor) -> "Draws":
        """Draw them, of each curve by its own generator."""
        shape = (how.steps, how.batch_size)
        drawn = [(rng.random(how.steps), rng.integers(0, examples, shape)) for rng in rngs]
        times = torch.as_tensor(np.array([t for t, _ in drawn]), device=like.device).to(like.dtype)
        return cls(times, torch.as_tensor(np.array([chosen for _, chosen in drawn])))

    def part(self, rows: Sequence[int]) -> "Draws":
        """Return those of some curves."""
        return Draws(self.times[rows], self.examples[rows])


def learning_rates(surface: Surface, data: Data, start: Tensor, end: Tensor, draws: Draws, momentum: float) -> Tensor:
    """Return the learning rate that each curve's training is to begin with, float64 (S,): found by short trials.

    Losses differ in scale, and so do the rates that fit them. Rates of 0.2 times powers of 4 are tried by 60 steps each, all
    on the same draws: from 0.2 upwards as long as the mean loss of the second half of the steps falls, or else downwards
    as long as it falls or is not finite. Of those tried it is the smallest whose loss is nearly the least.

    Parameters
    ----------
    surface, data, start, end, draws : as they will be trained.
    momentum : of the descent.
    """
    steps = min(TRIAL, draws.times.shape[1])

    def trial(rates: Tensor) -> Tensor:
        losses = _descended(surface, data, start, end, draws, [rates] * steps, momentum)[1]
        reached = losses[steps // 2 :].mean(0)
        return torch.where(torch.isfinite(reached), reached, torch.inf)

    first = torch.full((len(start),), OF_CLASSES, dtype=torch.float64)
    tried, reached = [first], [trial(first)]
    moved = torch.zeros(len(start), dtype=torch.bool)
    for factor in (FACTOR, 1 / FACTOR):
        going, lowest = ~moved, reached[0]
        for power in range(1, MOST_TRIALS + 1):
            tried.append(first * factor**power)
            # In whatever company, a curve's own trials end where its own loss no longer falls.
            reached.append(torch.where(going, trial(tried[-1]), torch.inf))
            going &= (reached[-1] < lowest) | (torch.isinf(lowest) & (factor < 1))
            if not going.any():
                break
            lowest = torch.where(going, reached[-1], lowest)
            moved |= going
    rates, losses = torch.stack(tried), torch.stack(reached)
    lowest = losses.amin(0)
    return torch.where(losses <= lowest + NEARLY * lowest.abs(), rates, torch.inf).amin(0)


def _descended(
    surface: Surface,
    data: Data,
    start: Tensor,
    end: Tensor,
    draws: Draws,
    rates: Sequence[Tensor],
    momentum: float,
) -> tuple[Tensor, Tensor]:
    """Return the middle points of curves (S, P) after steps at rates (S,) each, and the losses (steps, S) before them."""
    middle = (start + end) / 2
    descent = Descent([middle], momentum, middle.new_zeros(len(middle)))
    # Kept one by one, the losses would lie between vectors that are freed at every step, which then fit nowhere any more.
    losses = torch.empty(len(rates), len(middle), dtype=torch.float64, device=middle.device)
    for step, rate in enumerate(rates):
        t = draws.times[:, step, None]
        loss, slopes = surface.gradients(data, bezier(start, middle, end, t), draws.examples[:, step], training=True)
        descent.step([2 * t * (1 - t) * slopes], rate.to(middle.device))
        losses[step] = loss
    return middle, losses


def along(surface: Surface, data: Data, way: Callable[[float], Tensor]) -> tuple[Floats, Floats]:
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


def followed(subject: Subject, places: int) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
    """Return losses and errors in % on the ways from the first network to the second, for drawing.

    The ways are the curve, trained as it is for measuring, the straight line, and the line after units were put in the same
    order, where these are known.

    Parameters
    ----------
    subject : of two networks at least.
    places : points of each way, both ends included.

    Returns
    -------
    Times (places,), and by way losses and errors, (places,) each.
    """
    surface, sample = subject.surface, subject.sample
    start, end = surface.points[[0]], surface.points[[1]]
    between = surface.part([0])
    middle = train_curves(between, subject.train, start, end, [subject.pair_rng((0, 1), "mode connectivity")])
    ways: dict[str, Callable[[float], Tensor]] = {
        "trained curve": lambda t: bezier(start, middle, end, t),
        "straight line": lambda t: torch.lerp(start, end, t),
    }
    try:
        if not sample.floating:
            raise UnknownLayerError
        like_start = aligned(surface.layout, hidden_units(surface.network(0), sample.shape), start, end)
        ways["line, units aligned"] = lambda t: torch.lerp(start, like_start, t)
    except UnknownLayerError:
        pass
    times = np.linspace(0, 1, places)
    losses, errors = {}, {}
    for way, point in ways.items():
        found = []
        for t in times:
            points = point(float(t))
            found.append([float(of) for of in between.renormalized(sample, points).scores(sample, points[:, None])])
        losses[way], errors[way] = np.array(found).T
    return times, losses, errors


def _where_finite(errors: Floats, losses: Floats) -> Floats:
    """Return errors as NaN where the loss is not finite: such outputs say no class."""
    return np.where(np.isfinite(losses), errors, np.nan)


def connectivity(ends: Floats, interior: Floats) -> Floats:
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
    found: Floats = np.take_along_axis(deviations, largest[:, None], 1)[:, 0]
    return found


def barrier(ends: Floats, interior: Floats) -> Floats:
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
    found: Floats = (interior - ((1 - t) * ends[:, :1] + t * ends[:, 1:])).max(1)
    return found


def measure(subject: Subject, how: Training | None = None) -> Measured:
    """Measure mode connectivity and barriers: means over the pairs of each group.

    Curves are trained on all training examples. Losses, errors and normalization's statistics are those of `subject.sample`,
    at the ends too.

    Parameters
    ----------
    subject : what is measured.
    how : how curves are trained; by default, as the subject's settings say.
    """
    how = how or Training(learning_rate=subject.settings.curve_learning_rate)
    measured = Measured(configurations={metric.column: np.full(len(subject.groups), np.nan) for metric in METRICS})
    finite = torch.isfinite(subject.surface.points).all(1).tolist()
    reasons: dict[int, dict[str, list[str]]] = {at: {} for at in range(len(subject.groups))}
    measurable = {}
    for at, group in enumerate(subject.groups):
        if len(group) < 2:
            reasons[at][ALONE] = [metric.column for metric in METRICS]
        elif not all(finite[row] for row in group):
            reasons[at]["a network's parameters are not finite"] = [metric.column for metric in METRICS]
        else:
            measurable[at] = pairs(group)
    every = [pair for found in measurable.values() for pair in found]
    if every:
        values, missing = _of_pairs(subject, every, how)
        owner = np.repeat(list(measurable), [len(found) for found in measurable.values()])
        for at in measurable:
            for metric in METRICS:
                column = metric.column
                mean = values[column][owner == at].mean()
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
    subject: Subject, every: Sequence[tuple[int, int]], how: Training
) -> tuple[dict[str, Floats], dict[str, str]]:
    """Return what is measured of each pair, column → (pairs,), and why a column is missing."""
    surface, sample = subject.surface, subject.sample
    first, second = map(list, zip(*every, strict=True))
    start, end = surface.points[first], surface.points[second]
    between = surface.part(first)
    renewed = surface.renormalized(sample, surface.points)
    of_ends = [found[:, 0].numpy() for found in renewed.scores(sample, surface.points[:, None])]
    end_losses, end_errors = (np.stack([found[first], found[second]], 1) for found in of_ends)
    end_errors = _where_finite(end_errors, end_losses)

    values: dict[str, Floats] = {}
    missing = {metric.column: _NOT_ABOVE_ZERO for metric in METRICS if metric.column.endswith("log_loss")}

    def told(name: str, found: Callable[[Floats, Floats], Floats], losses: Floats, errors: Floats) -> None:
        """Say what is found between the ends and inside, of errors, of losses, and of the logarithms of losses."""
        values[name], values[f"{name}_loss"] = found(end_errors, errors), found(end_losses, losses)
        with np.errstate(divide="ignore", invalid="ignore"):
            values[f"{name}_log_loss"] = found(np.log(end_losses), np.log(losses))

    middle = train_curves(
        between, subject.train, start, end, [subject.pair_rng(pair, "mode connectivity") for pair in every], how
    )
    losses, errors = along(between, sample, lambda t: bezier(start, middle, end, t))
    told("mode_connectivity", connectivity, losses, errors)
    values["mode_connectivity_peak"], values["mode_connectivity_peak_loss"] = -errors.max(1), -losses.max(1)

    told("linear_barrier", barrier, *along(between, sample, lambda t: torch.lerp(start, end, t)))

    try:
        if not sample.floating:
            raise UnknownLayerError
        units = hidden_units(surface.network(0), sample.shape)
    except UnknownLayerError:
        values |= {column: np.full(len(every), np.nan) for column in _ALIGNED}
        missing |= dict.fromkeys(_ALIGNED, "the network has layers whose hidden units are not known")
    else:
        like_start = aligned(surface.layout, units, start, end)
        told("aligned_barrier", barrier, *along(between, sample, lambda t: torch.lerp(start, like_start, t)))
    if not surface.classifies:
        missing = dict.fromkeys(_OF_ERRORS, NOT_CLASSES) | missing
    return values, missing
