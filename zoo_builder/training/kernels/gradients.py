"""What is done with a gradient before a step: the way up of SAM and ASAM, and clipping."""

import numpy as np

from zoo_builder.training.kernels.compilation import compiled


@compiled
def norm(gradient: np.ndarray) -> float:
    """Return the Euclidean norm, summed up in double precision."""
    total = 0.0
    for i in range(len(gradient)):
        total += np.float64(gradient[i]) * np.float64(gradient[i])
    return float(np.sqrt(total))


@compiled
def clip(gradient: np.ndarray, most: float, epsilon: float) -> None:
    """Scale a gradient to a length, if it is longer."""
    share = most / (norm(gradient) + epsilon)
    if share < 1:
        scale = gradient.dtype.type(share)
        for i in range(len(gradient)):
            gradient[i] *= scale


@compiled
def climb(
    parameters: np.ndarray,
    gradient: np.ndarray,
    scaled: np.ndarray,
    rho: float,
    adaptive: int,
    eta: float,
    least: float,
) -> None:
    """Move parameters (P,) to where the loss is about the largest nearby; see `zoo_builder.training.optimizers.climb`.

    `scaled` (P,) says which of them are weights; the gradient is changed.
    """
    kind = parameters.dtype.type
    if adaptive:
        for i in range(len(gradient)):
            if scaled[i]:
                gradient[i] *= abs(parameters[i]) + kind(eta)
    share = kind(rho / (norm(gradient) + least))
    for i in range(len(gradient)):
        way = gradient[i]
        if adaptive and scaled[i]:
            way *= abs(parameters[i]) + kind(eta)
        parameters[i] += share * way
