"""Convolutions: one small matrix product a position and a row of the kernel. A linear layer is one with one position."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import place
from zoo_builder.training.kernels.products import COLUMNS, multiply, portion
from zoo_builder.training.kernels.rows import repeat


@compiled
def forward(x: Any, y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    out, span = y.channels, step.kernel_width * x.channels
    columns = portion(out * span, batch, COLUMNS)
    for h in range(y.height):
        for w in range(y.width):
            target = (y.at + place(y, h, w)) * batch
            if step.bias >= 0:
                repeat(parameters[step.bias :], batch, arena[target : target + out * batch])
            for i in range(step.kernel_height):
                row, column = (
                    h * step.stride_height + i - step.padding_height,
                    w * step.stride_width - step.padding_width,
                )
                source = (x.at + place(x, row, column)) * batch
                weight = parameters[step.weight + i * out * span :]
                keep = i > 0 or step.bias >= 0
                for b in range(0, batch, columns):
                    n = min(columns, batch - b)
                    seen, put = arena[source + b :], arena[target + b :]
                    multiply(out, n, span, weight, span, False, seen, batch, False, put, batch, keep)


@compiled
def backward(
    x: Any, y: Any, step: Any, parameters: np.ndarray, gradient: np.ndarray, arena: np.ndarray, batch: int
) -> None:
    """Write the parameters' gradient, and the input's or what it adds to it."""
    out, span = y.channels, step.kernel_width * x.channels
    columns, deep = portion(out * span, batch, COLUMNS), portion(out * span, batch, batch)
    if x.slope >= 0 and step.opens:
        size = (x.height + 2 * x.above) * (x.width + 2 * x.beside) * x.channels
        arena[x.slope * batch : (x.slope + size) * batch] = 0
    if step.bias >= 0:
        gradient[step.bias : step.bias + out] = 0
    for h in range(y.height):
        for w in range(y.width):
            target = (y.slope + place(y, h, w)) * batch
            if step.bias >= 0:
                for o in range(out):
                    gradient[step.bias + o] += arena[target + o * batch : target + (o + 1) * batch].sum()
            for i in range(step.kernel_height):
                row, column = (
                    h * step.stride_height + i - step.padding_height,
                    w * step.stride_width - step.padding_width,
                )
                there, at = place(x, row, column), step.weight + i * out * span
                source = (x.at + there) * batch
                for b in range(0, batch, deep):
                    n, keep = min(deep, batch - b), h + w + b > 0
                    slope, seen = arena[target + b :], arena[source + b :]
                    multiply(out, span, n, slope, batch, False, seen, batch, True, gradient[at:], span, keep)
                if x.slope < 0:
                    continue
                source = (x.slope + there) * batch
                for b in range(0, batch, columns):
                    n = min(columns, batch - b)
                    slope, back = arena[target + b :], arena[source + b :]
                    multiply(span, n, out, parameters[at:], span, True, slope, batch, False, back, batch, True)


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
    out, span = y.channels, step.kernel_width * x.channels
    columns = portion(out * span, batch, COLUMNS)
    for h in range(y.height):
        for w in range(y.width):
            target = (y.at + place(y, h, w)) * batch
            if step.bias >= 0:
                repeat(direction[step.bias :], batch, along[target : target + out * batch])
            for i in range(step.kernel_height):
                row, column = (
                    h * step.stride_height + i - step.padding_height,
                    w * step.stride_width - step.padding_width,
                )
                source, at = (x.at + place(x, row, column)) * batch, step.weight + i * out * span
                keep = i > 0 or step.bias >= 0
                for b in range(0, batch, columns):
                    n = min(columns, batch - b)
                    put = along[target + b :]
                    multiply(
                        out, n, span, direction[at:], span, False, arena[source + b :], batch, False, put, batch, keep
                    )
                    if x.slope >= 0:
                        seen = along[source + b :]
                        multiply(out, n, span, parameters[at:], span, False, seen, batch, False, put, batch, True)


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
    out, span = y.channels, step.kernel_width * x.channels
    columns, deep = portion(out * span, batch, COLUMNS), portion(out * span, batch, batch)
    if x.slope >= 0 and step.opens:
        size = (x.height + 2 * x.above) * (x.width + 2 * x.beside) * x.channels
        along[x.slope * batch : (x.slope + size) * batch] = 0
    for h in range(y.height):
        for w in range(y.width):
            target = (y.slope + place(y, h, w)) * batch
            if step.bias >= 0:
                for o in range(out):
                    product[step.bias + o] += along[target + o * batch : target + (o + 1) * batch].sum()
            for i in range(step.kernel_height):
                row, column = (
                    h * step.stride_height + i - step.padding_height,
                    w * step.stride_width - step.padding_width,
                )
                there, at = place(x, row, column), step.weight + i * out * span
                source, weight = (x.at + there) * batch, product[at:]
                for b in range(0, batch, deep):
                    n = min(deep, batch - b)
                    pull, seen = along[target + b :], arena[source + b :]
                    multiply(out, span, n, pull, batch, False, seen, batch, True, weight, span, True)
                    if x.slope >= 0:
                        slope, moved = arena[target + b :], along[source + b :]
                        multiply(out, span, n, slope, batch, False, moved, batch, True, weight, span, True)
                if x.slope < 0:
                    continue
                source = (x.slope + there) * batch
                for b in range(0, batch, columns):
                    n = min(columns, batch - b)
                    slope, pull, back = arena[target + b :], along[target + b :], along[source + b :]
                    multiply(span, n, out, parameters[at:], span, True, pull, batch, False, back, batch, True)
                    multiply(span, n, out, direction[at:], span, True, slope, batch, False, back, batch, True)
