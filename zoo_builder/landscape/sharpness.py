"""Sharpness: how much the training loss rises near a network, at worst and on average; and diversity between seeds.

All rises are those of the mean loss on the sample, in evaluation mode, from where the network is to points around it.

The two largest rises are found by climbing, and are lower bounds. From a point of the sphere, the next one is where the
gradient there points to. The first is the point that sharpness-aware minimization looks at (Foret et al., ICLR 2021); on
a quadratic loss around its minimum this is the power method, which ends in the eigenvector of the largest eigenvalue.
Where the loss is convex every step climbs (Journée et al., JMLR 2010, section 3), there is no step size to choose, and
what counts is the highest of the points seen.

Radii are the same for all networks of a zoo. What the steepest directions do is of the same order in wide networks as in
narrow ones, so that the radius of the former two is absolute: 0.1, among the values that SAM is used with. A random
direction meets the few steep ones the less the more parameters there are; it is as long as 5 % of the vector of
parameters, which is the same to a network whatever its size and scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape import diversity
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import Missing
from zoo_builder.landscape.surface import Surface

#: Radius of the balls that the largest rises are searched in: of ‖δ‖, and of ‖δ / |w|‖.
RADIUS: Final = 0.1
#: Points of the sphere at which the climb asks for a gradient.
STEPS: Final = 5
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
    found = {
        "sharpness_worst": worst_rises(surface, data, centre, begin),
        "sharpness_adaptive": worst_rises(surface, data, centre, begin, scale=surface.points.abs()),
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


def _unit(vectors: Tensor, otherwise: Tensor) -> Tensor:
    """Return vectors (S, P) scaled to length 1, and others where they are zero."""
    norms = vectors.norm(dim=1, keepdim=True)
    return torch.where(norms > 0, vectors / norms.clamp_min(torch.finfo(norms.dtype).tiny), otherwise)
