"""SGD with momentum, as `torch.optim.SGD` takes its steps."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled


@compiled
def step(
    parameters: np.ndarray,
    velocity: np.ndarray,
    gradient: np.ndarray,
    rate: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """Move parameters, and their velocities, by one step."""
    kind = parameters.dtype.type
    rate, keep, decay = kind(rate), kind(momentum), kind(weight_decay)
    for i in range(len(parameters)):
        speed = keep * velocity[i] + (gradient[i] + decay * parameters[i])
        velocity[i] = speed
        parameters[i] -= rate * speed


@compiled
def any_step(
    parameters: np.ndarray,
    velocity: np.ndarray,
    gradient: np.ndarray,
    rate: float,
    factors: np.ndarray,
    recipe: Any,
    taken: int,
) -> None:
    """Do so with Nesterov's momentum or dampening, or with factors (P,) of the learning rate; `taken` steps are behind it."""
    kind = parameters.dtype.type
    keep, decay, nesterov = kind(recipe.momentum), kind(recipe.weight_decay), recipe.nesterov
    new = kind(1 - recipe.dampening if taken else 1)
    for i in range(len(parameters)):
        slope = gradient[i] + decay * parameters[i]
        speed = keep * velocity[i] + new * slope
        velocity[i] = speed
        parameters[i] -= kind(rate * factors[i]) * (slope + keep * speed if nesterov else speed)
