"""The channels of two values, one behind the other.

It is linear: what it does to values and gradients, it does to their derivatives as well.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row
from zoo_builder.training.kernels.rows import pass_on


@compiled
def forward(x: Any, other: Any, y: Any, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    n, more = x.channels * batch, other.channels * batch
    for h in range(y.height):
        for w in range(y.width):
            row(arena, y.at, y, h, w, 0, n, batch)[:] = row(arena, x.at, x, h, w, 0, n, batch)
            row(arena, y.at, y, h, w, x.channels, more, batch)[:] = row(arena, other.at, other, h, w, 0, more, batch)


@compiled
def backward(x: Any, other: Any, y: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the inputs' gradients, or what it adds to them."""
    _backward_to(x, y, 0, step.opens, arena, batch)
    _backward_to(other, y, x.channels, step.opens_other, arena, batch)


@compiled
def _backward_to(x: Any, y: Any, first: int, opens: int, arena: np.ndarray, batch: int) -> None:
    if x.slope < 0:
        return
    n = x.channels * batch
    for h in range(x.height):
        for w in range(x.width):
            slope = row(arena, y.slope, y, h, w, first, n, batch)
            pass_on(slope, 1, row(arena, x.slope, x, h, w, 0, n, batch), opens)
