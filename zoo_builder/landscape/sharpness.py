"""Sharpness: how much the training loss rises near a network, at worst and on average; and diversity between seeds.

All rises are those of the mean loss on the sample, in evaluation mode, from where the network is to points around it.

The two largest rises are found by climbing, and are lower bounds. From a point of the sphere, the next one is where the
gradient there points to. The first is the point that sharpness-aware minimization looks at (Foret et al., ICLR 2021); on
a quadratic loss around its minimum this is the power method, which ends in the eigenvector of the largest eigenvalue.
Where the loss is convex every step climbs (Journée et al., JMLR 2010, section 3), there is no step size to choose, and
what counts is the highest of the points seen.

At a critical point the gradient is zero, or what rounding left of it, and points nowhere: a network whose units are all dead,
or one with weights of zero. There, and where the climb rose nowhere, the highest point of the sphere is searched from
several random directions too, by a quasi-Newton method: it finds its way where the loss is curved down along most
directions, or alike along many, which the power method does not.

Radii are the same for all networks of a zoo. What the steepest directions do is of the same order in wide networks as in
narrow ones, so that the radius of the former two is absolute: 0.1, among the values that SAM is used with. A random
direction meets the few steep ones the less the more parameters there are; it is as long as 5 % of the vector of
parameters, which is the same to a network whatever its size and scale.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from zoo_builder.landscape import diversity
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import Missing
from zoo_builder.landscape.surface import Surface

Floats = NDArray[np.float64]

#: Radius of the balls that the largest rises are searched in: of ‖δ‖, and of ‖δ / |w|‖.
RADIUS: Final = 0.1
#: Points of the sphere at which the climb asks for a gradient.
STEPS: Final = 5
#: Random directions that the search begins with where the gradient says nothing, and gradients that each may ask for. On
#: networks with dead units the largest rise, which has a closed form there, was found to 0.3 % with up to 30 equally frequent
#: classes, and to 3 % with 100 in float32. It costs ten times as much as a climb, of the few networks that need it.
STARTS: Final = 4
EVALUATIONS: Final = 30
#: Pairs of vectors that the quasi-Newton method keeps.
_PAIRS: Final = 5
#: Examples whose gradients say what all of them sum to. They must not cancel where all do: no number of classes up to 12
#: divides 13.
_TERMS: Final = 13
#: A gradient is nothing but rounding up to so many times ε √n, of what its n terms are. Where it is zero in truth, 0 to 2
#: were seen, in float32 and float64, with sorted and with alternating classes; 135 trained networks had 11,000 and more.
_ROUNDING: Final = 4
#: Length of a random direction, as a share of ‖w‖.
RELATIVE_RADIUS: Final = 0.05
#: Random directions that are asked: as many of every network. To stop where the mean looks good enough would be to stop
#: where by chance few directions are steep, and the standard error would be too small.
DIRECTIONS: Final = 20

METRICS: Final = (
    Metric("sharpness_worst", "checkpoint", 0, cost=f"{STEPS + 1} gradients"),
    Metric("sharpness_adaptive", "checkpoint", 0, cost=f"{STEPS} gradients"),
    Metric("sharpness_average", "checkpoint", cost=f"{DIRECTIONS} losses"),
    Metric("sharpness_average_se", "checkpoint", 0),
    *diversity.METRICS,
)


@dataclass(frozen=True)
class Centre:
    """Where networks are: their losses, float64 (S,), and their gradients, (S, P)."""

    losses: Tensor
    gradients: Tensor

    @classmethod
    def of(cls, surface: Surface, data: Data) -> "Centre":
        """Ask a surface."""
        return cls(*surface.gradients(data, surface.points))


def worst_rises(
    surface: Surface,
    data: Data,
    centre: Centre,
    start: Tensor,
    *,
    radius: float = RADIUS,
    scale: Tensor | None = None,
    steps: int = STEPS,
) -> NDArray[np.float64]:
    """Return the largest rises of the loss that are found in a ball, float64 (S,); at least 0, the rise at its centre.

    The ball is ‖δ‖ ≤ radius (Foret et al., Sharpness-aware minimization for efficiently improving generalization, ICLR 2021),
    or ‖δ / scale‖ ≤ radius. With scale |w| that is adaptive sharpness (Kwon et al., ASAM, ICML 2021, section 3), which
    does not change when weights are rescaled so that the function stays what it is.

    Parameters
    ----------
    surface, data : the loss.
    centre : of the surface, on the data.
    start : (S, P), directions to begin with where a gradient is zero.
    radius : of the ball.
    scale : (S, P), one number a parameter; 1 if left out.
    steps : gradients that are asked for on the sphere.
    """
    scale = torch.ones_like(surface.points) if scale is None else scale
    towards = _unit(scale * centre.gradients, _unit(start, torch.zeros_like(start)))
    highest = torch.zeros_like(centre.losses)
    for _ in range(steps):
        losses, gradients = surface.gradients(data, surface.points + radius * scale * towards)
        highest = torch.maximum(highest, losses - centre.losses)
        towards = _unit(scale * gradients, towards)
    last, _ = surface.scores(data, (surface.points + radius * scale * towards)[:, None])
    return np.asarray(torch.maximum(highest, last[:, 0] - centre.losses).numpy())


def pointless(gradients: Tensor, terms: Tensor, examples: int) -> NDArray[np.bool_]:
    """Return whether gradients are no more than what rounding leaves of zero, bool (S,).

    They are compared with what they are sums of: terms of one size that cancel leave about ε √n of it.

    Parameters
    ----------
    gradients : (S, P), means over n examples.
    terms : (S, P), means over a few of them.
    examples : n.
    """
    allowed = _ROUNDING * torch.finfo(terms.dtype).eps * math.sqrt(examples)
    return np.asarray((gradients.norm(dim=1) <= allowed * terms.norm(dim=1)).cpu().numpy())


def searched_rises(
    surface: Surface, data: Data, losses: Tensor, starts: Tensor, *, radius: float = RADIUS, scale: Tensor
) -> NDArray[np.float64]:
    """Return the largest rises that searches from several directions find, float64 (S,); at least 0, the rise at the centre.

    Each is a maximisation over the sphere ‖δ / scale‖ = radius by L-BFGS (Liu and Nocedal, On the limited memory BFGS method
    for large scale optimization, Mathematical Programming 1989), of vectors of any length that say where on the sphere.

    Parameters
    ----------
    surface, data : the loss.
    losses : (S,), at the centres.
    starts : (S, M, P), M directions a network.
    radius, scale : of the ball, as in `worst_rises`.
    """
    highest = np.zeros(len(starts))
    for row, directions in enumerate(starts.double().cpu().numpy()):
        rise = _over_the_sphere(surface.part([row]), data, float(losses[row]), radius * scale[row])
        highest[row] = max(0.0, *(_maximum(rise, direction) for direction in directions))
    return highest


def _over_the_sphere(alone: Surface, data: Data, loss: float, unit: Tensor) -> Callable[[Floats], tuple[float, Floats]]:
    """Return the rise of one network's loss as a function of a vector that points at the sphere, and its derivative."""

    def rise(vector: Floats) -> tuple[float, Floats]:
        length = np.linalg.norm(vector)
        towards = vector / length
        losses, gradients = alone.gradients(data, alone.points + unit * torch.as_tensor(towards).to(unit))
        slope = (unit * gradients[0]).double().cpu().numpy()
        return float(losses[0]) - loss, (slope - (slope @ towards) * towards) / length

    return rise


def _maximum(function: Callable[[Floats], tuple[float, Floats]], start: Floats) -> float:
    """Return the largest value seen on the way up from somewhere, of a function that also says its derivative."""
    start = start / np.linalg.norm(start)
    value, slope = function(start)
    seen, unit = [value], float(np.linalg.norm(slope)) or 1.0  # the first step is then about as long as the start

    def downwards(point: Floats) -> tuple[float, Floats]:
        value, slope = function(point)
        seen.append(value)
        return -value / unit, -slope / unit

    minimize(
        downwards,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxfun": EVALUATIONS, "maxcor": _PAIRS, "ftol": 0, "gtol": 0},
    )
    return max(seen)


def average_rises(
    surface: Surface,
    data: Data,
    centre: Centre,
    generators: Sequence[np.random.Generator],
    radii: Tensor,
    *,
    many: int = DIRECTIONS,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean rise of the loss over random directions of a given length, and its standard error: float64 (S,) each.

    Directions are Gaussian, scaled to the length (Andriushchenko et al., A modern look at the relationship between
    sharpness and generalization, ICML 2023, call the mean average-case sharpness). The rise along the tangent has the
    mean zero; it is taken off, so that fewer directions do (a control variate).

    Parameters
    ----------
    surface, data : the loss.
    centre : of the surface, on the data.
    generators : S, one a network.
    radii : (S,), the lengths.
    many : directions a network is asked, at least 2.
    """
    length = surface.points.shape[1]
    drawn = np.stack([generator.standard_normal((many, length)) for generator in generators])
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    steps = torch.as_tensor(drawn).to(surface.points) * radii[:, None, None]
    losses, _ = surface.scores(data, surface.points[:, None] + steps)
    along = torch.einsum("smp,sp->sm", steps, centre.gradients).double().cpu()
    rises = (losses - centre.losses[:, None] - along).numpy()
    return rises.mean(1), rises.std(1, ddof=1) / math.sqrt(many)


def measure(subject: Subject) -> Measured:
    """Measure all networks and groups of a subject: `METRICS`."""
    surface, data = subject.surface, subject.sample
    size, length = surface.points.shape
    missing = Missing(size)
    centre = Centre.of(surface, data)
    start = np.stack([subject.rng(row, "sharpness: start").standard_normal(length) for row in range(size)])
    begin = torch.as_tensor(start).to(surface.points)
    generators = [subject.rng(row, "sharpness: directions") for row in range(size)]
    mean, error = average_rises(surface, data, centre, generators, RELATIVE_RADIUS * surface.points.norm(dim=1))
    terms = _terms(subject)
    found = {
        "sharpness_worst": _largest_rises(subject, centre, begin, terms, torch.ones_like(begin)),
        "sharpness_adaptive": _largest_rises(subject, centre, begin, terms, surface.points.abs()),
        "sharpness_average": mean,
        "sharpness_average_se": error,
    }
    networks = missing.fill(found, list(found), "the loss on the sample, or near the network, is not finite")
    configurations, missing_of_groups = diversity.measure(subject)
    return Measured(
        networks=networks,
        configurations=configurations,
        network_reasons=missing.reasons,
        configuration_reasons=missing_of_groups.reasons,
    )


def _terms(subject: Subject) -> Tensor:
    """Return the gradients of the mean losses on a few examples of each network's own choice, (S, P)."""
    surface, data = subject.surface, subject.sample
    few = max(1, min(_TERMS, len(data) - 1))
    drawn = [subject.rng(row, "sharpness: terms").permutation(len(data))[:few] for row in range(len(surface))]
    return surface.gradients(data, surface.points, torch.as_tensor(np.stack(drawn)))[1]


def _largest_rises(
    subject: Subject, centre: Centre, begin: Tensor, terms: Tensor, scale: Tensor
) -> NDArray[np.float64]:
    """Return the largest rises found in balls of `RADIUS` in units of `scale` (S, P)."""
    surface, data = subject.surface, subject.sample
    rises = worst_rises(surface, data, centre, begin, scale=scale)
    lost = pointless(scale * centre.gradients, scale * terms, len(data)) | (rises == 0)
    rows = np.flatnonzero(lost & np.isfinite(rises)).tolist()
    if rows:
        shape = (STARTS, surface.points.shape[1])
        drawn = np.stack([subject.rng(row, "sharpness: starts").standard_normal(shape) for row in rows])
        starts = torch.as_tensor(drawn).to(surface.points)
        found = searched_rises(surface.part(rows), data, centre.losses[rows], starts, scale=scale[rows])
        rises[rows] = np.maximum(rises[rows], found)
    return rises


def _unit(vectors: Tensor, otherwise: Tensor) -> Tensor:
    """Return vectors (S, P) scaled to length 1, and others where they are zero."""
    norms = vectors.norm(dim=1, keepdim=True)
    return torch.where(norms > 0, vectors / norms.clamp_min(torch.finfo(norms.dtype).tiny), otherwise)
