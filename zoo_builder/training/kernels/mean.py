"""The mean over positions. It is linear: what it does to values and gradients, it does to their derivatives as well."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row
from zoo_builder.training.kernels.rows import pass_on


@compiled
def forward(x: Any, y: Any, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    n, share = x.channels * batch, 1 / (x.height * x.width)
    out = row(arena, y.at, y, 0, 0, 0, n, batch)
    out[:] = 0
    for h in range(x.height):
        for w in range(x.width):
            pass_on(row(arena, x.at, x, h, w, 0, n, batch), share, out, 0)


@compiled
def backward(x: Any, y: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the input's gradient, or what it adds to it."""
    if x.slope < 0:
        return
    n, share = x.channels * batch, 1 / (x.height * x.width)
    slope = row(arena, y.slope, y, 0, 0, 0, n, batch)
    for h in range(x.height):
        for w in range(x.width):
            pass_on(slope, share, row(arena, x.slope, x, h, w, 0, n, batch), step.opens)
