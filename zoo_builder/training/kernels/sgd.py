"""SGD with momentum, as `torch.optim.SGD` takes its steps."""

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
