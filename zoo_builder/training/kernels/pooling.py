"""Pooling: the largest of the numbers under a window, or their average."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import LARGEST, row
from zoo_builder.training.kernels.rows import pass_on


@compiled
def forward(x: Any, y: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    if step.function == LARGEST:
        n = x.channels * batch
        for h in range(y.height):
            for w in range(y.width):
                out = row(arena, y.at, y, h, w, 0, n, batch)
                for i in range(step.kernel_height):
                    for j in range(step.kernel_width):
                        seen = _seen(x, step, arena, x.at, h, w, i, j, n, batch)
                        if i + j == 0:
                            out[:] = seen
                        else:
                            _enlarge(seen, out)
    else:
        _average(x, y, step, arena, batch)


@compiled
def backward(x: Any, y: Any, step: Any, arena: np.ndarray, along: np.ndarray, batch: int) -> None:
    """Write the input's gradient, or what it adds to it; the output's is used up where the largest is wanted.

    Which number is the largest, `arena` says; gradients are in `along`: the same arena, or that of derivatives along a
    direction, of which the same holds. Of several the first is taken, as PyTorch does.
    """
    if x.slope < 0:
        return
    n = x.channels * batch
    if step.opens:
        for h in range(x.height):
            for w in range(x.width):
                row(along, x.slope, x, h, w, 0, n, batch)[:] = 0
    for h in range(y.height):
        for w in range(y.width):
            slope = row(along, y.slope, y, h, w, 0, n, batch)
            for i in range(step.kernel_height):
                for j in range(step.kernel_width):
                    out = _seen(x, step, along, x.slope, h, w, i, j, n, batch)
                    if step.function == LARGEST:
                        seen = _seen(x, step, arena, x.at, h, w, i, j, n, batch)
                        _hand_over(seen, row(arena, y.at, y, h, w, 0, n, batch), slope, out)
                    else:
                        pass_on(slope, 1 / (step.kernel_height * step.kernel_width), out, 0)


@compiled
def forward_along(x: Any, y: Any, step: Any, arena: np.ndarray, along: np.ndarray, batch: int) -> None:
    """Write the output's derivative along a direction."""
    if step.function == LARGEST:
        n = x.channels * batch
        for h in range(y.height):
            for w in range(y.width):
                most, out = row(arena, y.at, y, h, w, 0, n, batch), row(along, y.at, y, h, w, 0, n, batch)
                # From the last to the first, so that the first of several stays.
                for i in range(step.kernel_height - 1, -1, -1):
                    for j in range(step.kernel_width - 1, -1, -1):
                        seen = _seen(x, step, arena, x.at, h, w, i, j, n, batch)
                        _follow(seen, most, _seen(x, step, along, x.at, h, w, i, j, n, batch), out)
    else:
        _average(x, y, step, along, batch)


@compiled
def _average(x: Any, y: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    n, share = x.channels * batch, 1 / (step.kernel_height * step.kernel_width)
    for h in range(y.height):
        for w in range(y.width):
            out = row(arena, y.at, y, h, w, 0, n, batch)
            for i in range(step.kernel_height):
                for j in range(step.kernel_width):
                    pass_on(_seen(x, step, arena, x.at, h, w, i, j, n, batch), share, out, i + j == 0)


@compiled
def _seen(
    x: Any, step: Any, arena: np.ndarray, start: int, h: int, w: int, i: int, j: int, n: int, batch: int
) -> np.ndarray:
    """Return the row that place (i, j) of a window at position (h, w) sees."""
    return row(arena, start, x, h * step.stride_height + i, w * step.stride_width + j, 0, n, batch)


@compiled
def _enlarge(x: np.ndarray, out: np.ndarray) -> None:
    for j in range(len(x)):
        value = x[j]
        out[j] = out[j] if value <= out[j] else value  # NaN is not ≤, and comes through


@compiled
def _hand_over(x: np.ndarray, most: np.ndarray, slope: np.ndarray, out: np.ndarray) -> None:
    """Add gradients to where the largest number is, and let them go."""
    zero = slope.dtype.type(0)
    for j in range(len(x)):
        here, passed = x[j] == most[j], slope[j]
        out[j] += passed if here else zero
        slope[j] = zero if here else passed


@compiled
def _follow(x: np.ndarray, most: np.ndarray, moved: np.ndarray, out: np.ndarray) -> None:
    for j in range(len(x)):
        change, before = moved[j], out[j]
        out[j] = change if x[j] == most[j] else before
