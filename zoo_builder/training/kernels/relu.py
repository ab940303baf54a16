"""ReLU: as a layer, and on rows where a layer has one behind it."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row
from zoo_builder.training.kernels.rows import pass_on


@compiled
def rectify(x: np.ndarray, out: np.ndarray) -> None:
    """Write a row's ReLU."""
    zero = out.dtype.type(0)
    for j in range(len(x)):
        value = x[j]
        out[j] = zero if value <= 0 else value  # NaN is not ≤ 0, and stays


@compiled
def stop_where_rectified(out: np.ndarray, slope: np.ndarray) -> None:
    """Set to zero what must not pass where the ReLU put out zero: a row's gradient, or its derivative along a direction."""
    zero = slope.dtype.type(0)
    for j in range(len(out)):
        passed = slope[j]
        slope[j] = zero if out[j] <= 0 else passed


@compiled
def forward(x: Any, y: Any, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    n = x.channels * batch
    for h in range(x.height):
        for w in range(x.width):
            rectify(row(arena, x.at, x, h, w, 0, n, batch), row(arena, y.at, y, h, w, 0, n, batch))


@compiled
def backward(x: Any, y: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the input's gradient, or what it adds to it."""
    if x.slope < 0:
        return
    n = x.channels * batch
    for h in range(x.height):
        for w in range(x.width):
            slope = row(arena, y.slope, y, h, w, 0, n, batch)
            stop_where_rectified(row(arena, y.at, y, h, w, 0, n, batch), slope)
            pass_on(slope, 1, row(arena, x.slope, x, h, w, 0, n, batch), step.opens)


@compiled
def forward_along(x: Any, y: Any, arena: np.ndarray, along: np.ndarray, batch: int) -> None:
    """Write the output's derivative along a direction."""
    n = x.channels * batch
    for h in range(x.height):
        for w in range(x.width):
            moved = row(along, y.at, y, h, w, 0, n, batch)
            pass_on(row(along, x.at, x, h, w, 0, n, batch), 1, moved, 1)
            stop_where_rectified(row(arena, y.at, y, h, w, 0, n, batch), moved)


@compiled
def backward_along(x: Any, y: Any, step: Any, arena: np.ndarray, along: np.ndarray, batch: int) -> None:
    """Write the derivative of the input's gradient, or what it adds to it."""
    if x.slope < 0:
        return
    n = x.channels * batch
    for h in range(x.height):
        for w in range(x.width):
            pull = row(along, y.slope, y, h, w, 0, n, batch)
            stop_where_rectified(row(arena, y.at, y, h, w, 0, n, batch), pull)
            pass_on(pull, 1, row(along, x.slope, x, h, w, 0, n, batch), step.opens)
