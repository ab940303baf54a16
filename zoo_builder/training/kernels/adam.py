"""Adam and AdamW, as `torch.optim.Adam` and `torch.optim.AdamW` take their steps."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.recipe import ADAMW


@compiled
def step(
    parameters: np.ndarray,
    moments: np.ndarray,
    gradient: np.ndarray,
    rate: float,
    factors: np.ndarray,
    recipe: Any,
    taken: int,
) -> None:
    """Move parameters (P,), and their moments (2, P), by one step; `taken` steps are behind it.

    See `zoo_builder.training.optimizers.Adam`; `factors` (P,) are of the learning rate.
    """
    kind = parameters.dtype.type
    mean, square = moments[0], moments[1]
    apart = recipe.optimizer == ADAMW
    one, two = kind(1 - recipe.first), kind(1 - recipe.second)
    keep, epsilon, decay = kind(recipe.second), kind(recipe.epsilon), recipe.weight_decay
    corrected = rate / (1 - recipe.first ** (taken + 1))
    root = kind(np.sqrt(1 - recipe.second ** (taken + 1)))
    for i in range(len(parameters)):
        value, slope = parameters[i], gradient[i]
        if apart:
            value *= kind(1 - rate * factors[i] * decay)
        else:
            slope += kind(decay) * value
        mean[i] += one * (slope - mean[i])
        square[i] = keep * square[i] + two * slope * slope
        parameters[i] = value - kind(corrected * factors[i]) * (mean[i] / (np.sqrt(square[i]) / root + epsilon))
