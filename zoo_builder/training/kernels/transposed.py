"""Transposed convolutions: what a position puts out is one small matrix product a row of the kernel.

Its weights are (kernel height, kernel width · out, channels): a row of the kernel writes to one contiguous block.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import place, row
from zoo_builder.training.kernels.products import examples_at_once, multiply
from zoo_builder.training.kernels.rows import repeat


@compiled
def forward(x: Any, y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    _begin(y, step, parameters, arena, batch)
    _spread(x, y, step, parameters, arena, arena, batch)


@compiled
def backward(
    x: Any, y: Any, step: Any, parameters: np.ndarray, gradient: np.ndarray, arena: np.ndarray, batch: int
) -> None:
    """Write the parameters' gradient, and the input's or what it adds to it."""
    span = step.kernel_width * y.channels
    gradient[step.weight : step.weight + step.kernel_height * span * x.channels] = 0
    if step.bias >= 0:
        gradient[step.bias : step.bias + y.channels] = 0
        _add_to_bias(y, step, arena, gradient, batch)
    _collect(x, y, step, gradient, arena, arena, batch)
    if x.slope >= 0:
        _pull(x, y, step, parameters, arena, arena, batch, step.opens)


@compiled
def forward_along(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    batch: int,
) -> None:
    """Write the output's derivative along a direction."""
    _begin(y, step, direction, along, batch)
    _spread(x, y, step, direction, arena, along, batch)
    if x.slope >= 0:
        _spread(x, y, step, parameters, along, along, batch)


@compiled
def backward_along(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    product: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    batch: int,
) -> None:
    """Add to a product, and write the derivative of the input's gradient or what it adds to it."""
    if step.bias >= 0:
        _add_to_bias(y, step, along, product, batch)
    _collect(x, y, step, product, along, arena, batch)
    if x.slope >= 0:
        _collect(x, y, step, product, arena, along, batch)
        _pull(x, y, step, parameters, along, along, batch, step.opens)
        _pull(x, y, step, direction, arena, along, batch, 0)


@compiled
def _begin(y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write what products are added to: biases, or zeros."""
    n = y.channels * batch
    for h in range(y.height):
        for w in range(y.width):
            out = row(arena, y.at, y, h, w, 0, n, batch)
            if step.bias >= 0:
                repeat(parameters[step.bias :], batch, out)
            else:
                out[:] = 0


@compiled
def _block(y: Any, step: Any, start: int, h: int, w: int, i: int, batch: int) -> int:
    """Return where the block begins that row i of the kernel makes of a position of the input."""
    at: int = (start + place(y, h * step.stride_height + i, w * step.stride_width)) * batch
    return at


@compiled
def _spread(x: Any, y: Any, step: Any, weights: np.ndarray, seen: np.ndarray, put: np.ndarray, batch: int) -> None:
    """Add to the output in one arena what weights make of the input in another."""
    span = step.kernel_width * y.channels
    examples, _ = examples_at_once(span, x.channels, batch, False)
    for h in range(x.height):
        for w in range(x.width):
            source = (x.at + place(x, h, w)) * batch
            for i in range(step.kernel_height):
                weight, target = weights[step.weight + i * span * x.channels :], _block(y, step, y.at, h, w, i, batch)
                for b in range(0, batch, examples):
                    n = min(examples, batch - b)
                    some, out = seen[source + b :], put[target + b :]
                    multiply(span, n, x.channels, weight, x.channels, False, some, batch, False, out, batch, True)


@compiled
def _collect(x: Any, y: Any, step: Any, gradient: np.ndarray, slopes: np.ndarray, seen: np.ndarray, batch: int) -> None:
    """Add to the weights' gradient: the output's slopes in one arena times the input in another."""
    span = step.kernel_width * y.channels
    _, summed = examples_at_once(span, x.channels, batch, False)
    for h in range(x.height):
        for w in range(x.width):
            source = (x.at + place(x, h, w)) * batch
            for i in range(step.kernel_height):
                weight, target = (
                    gradient[step.weight + i * span * x.channels :],
                    _block(y, step, y.slope, h, w, i, batch),
                )
                for b in range(0, batch, summed):
                    n = min(summed, batch - b)
                    slope, some = slopes[target + b :], seen[source + b :]
                    multiply(span, x.channels, n, slope, batch, False, some, batch, True, weight, x.channels, True)


@compiled
def _pull(
    x: Any, y: Any, step: Any, weights: np.ndarray, slopes: np.ndarray, put: np.ndarray, batch: int, opens: int
) -> None:
    """Write the input's slopes in one arena, or add to them, from the output's in another."""
    span = step.kernel_width * y.channels
    examples, _ = examples_at_once(span, x.channels, batch, False)
    for h in range(x.height):
        for w in range(x.width):
            source = (x.slope + place(x, h, w)) * batch
            for i in range(step.kernel_height):
                weight, target = (
                    weights[step.weight + i * span * x.channels :],
                    _block(y, step, y.slope, h, w, i, batch),
                )
                for b in range(0, batch, examples):
                    n, keep = min(examples, batch - b), i > 0 or not opens
                    slope, out = slopes[target + b :], put[source + b :]
                    multiply(x.channels, n, span, weight, x.channels, True, slope, batch, False, out, batch, keep)


@compiled
def _add_to_bias(y: Any, step: Any, slopes: np.ndarray, gradient: np.ndarray, batch: int) -> None:
    n = y.channels * batch
    for h in range(y.height):
        for w in range(y.width):
            slope = row(slopes, y.slope, y, h, w, 0, n, batch)
            for o in range(y.channels):
                gradient[step.bias + o] += slope[o * batch : (o + 1) * batch].sum()
