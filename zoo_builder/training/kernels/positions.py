"""Parameters of every position: a vector that is added to what is there, or that multiplies the one number there.

The former are learned positions of tokens (Vaswani et al., NeurIPS 2017), the latter make tokens of a vector's numbers
(Gorishniy et al., NeurIPS 2021). Parameters are (length, channels), positions along the width.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row
from zoo_builder.training.kernels.rows import pass_on


@compiled
def add(x: Any, y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the sum; it is linear, so that along a direction it is that of the input's change and the direction."""
    n = y.channels * batch
    for t in range(y.width):
        seen, out = row(arena, x.at, x, 0, t, 0, n, batch), row(arena, y.at, y, 0, t, 0, n, batch)
        for c in range(y.channels):
            shift = parameters[step.weight + t * y.channels + c]
            some, put = seen[c * batch : (c + 1) * batch], out[c * batch : (c + 1) * batch]
            for b in range(batch):
                put[b] = some[b] + shift


@compiled
def add_backward(x: Any, y: Any, step: Any, gradient: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the input's gradient, or what it adds to it, and add to the parameters'."""
    n = y.channels * batch
    for t in range(y.width):
        slope = row(arena, y.slope, y, 0, t, 0, n, batch)
        for c in range(y.channels):
            gradient[step.weight + t * y.channels + c] += slope[c * batch : (c + 1) * batch].sum()
        pass_on(slope, 1, row(arena, x.slope, x, 0, t, 0, n, batch), step.opens)


@compiled
def multiply(
    x: Any, y: Any, step: Any, parameters: np.ndarray, numbers: np.ndarray, arena: np.ndarray, batch: int
) -> None:
    """Write each number of the input times its vector; along a direction, that takes the parameters' place."""
    for t in range(y.width):
        seen = numbers[(x.at + t) * batch :][:batch]
        out = row(arena, y.at, y, 0, t, 0, y.channels * batch, batch)
        for c in range(y.channels):
            weight = parameters[step.weight + t * y.channels + c]
            put = out[c * batch : (c + 1) * batch]
            for b in range(batch):
                put[b] = seen[b] * weight


@compiled
def multiply_backward(
    x: Any, y: Any, step: Any, gradient: np.ndarray, numbers: np.ndarray, slopes: np.ndarray, batch: int
) -> None:
    """Add to the parameters' gradient; the input has none."""
    for t in range(y.width):
        seen = numbers[(x.at + t) * batch :][:batch]
        slope = row(slopes, y.slope, y, 0, t, 0, y.channels * batch, batch)
        for c in range(y.channels):
            some, total = slope[c * batch : (c + 1) * batch], gradient.dtype.type(0)
            for b in range(batch):
                total += some[b] * seen[b]
            gradient[step.weight + t * y.channels + c] += total
