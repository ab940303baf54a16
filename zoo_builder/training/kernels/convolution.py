"""Convolutions: one small matrix product a position and a row of the kernel. A linear layer is one with one position.

A row of the kernel that is a large matrix is cut: each piece meets all positions while it is in the second cache, and what
it would multiply by the zeros around the input is left out.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels import direct
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import place, place_seen, row
from zoo_builder.training.kernels.products import examples_at_once, is_cut, multiply, pieces
from zoo_builder.training.kernels.rows import repeat


@compiled
def forward(x: Any, y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    out, span = y.channels, step.kernel_width * x.channels
    cut = is_cut(out, span, y.height * y.width, batch)
    rows, columns = pieces(out, span, batch, cut)
    if direct.is_direct(step, out, span, batch, arena):
        _begin(y, step, parameters, arena, batch, True)
        direct.forward(x, y, step, parameters, arena, batch)
        return
    examples, _ = examples_at_once(out, span, batch, cut)
    begun = _begin(y, step, parameters, arena, batch, cut)
    for first in range(0, out, rows):
        m = min(rows, out - first)
        for left in range(0, span, columns):
            for h in range(y.height):
                top, bottom = _rows_seen(x, step, h, cut)
                for w in range(y.width):
                    target = (y.at + place(y, h, w) + first) * batch
                    low, high = _columns_seen(x, step, w, left, min(left + columns, span), cut)
                    k = high - low
                    if k <= 0:
                        continue
                    for i in range(top, bottom):
                        source = (x.at + place_seen(x, step, h, w, i) + low) * batch
                        weight = parameters[step.weight + (i * out + first) * span + low :]
                        for b in range(0, batch, examples):
                            n, keep = min(examples, batch - b), begun or i > 0
                            seen, put = arena[source + b :], arena[target + b :]
                            multiply(m, n, k, weight, span, False, seen, batch, False, put, batch, keep)


@compiled
def backward(
    x: Any, y: Any, step: Any, parameters: np.ndarray, gradient: np.ndarray, arena: np.ndarray, batch: int
) -> None:
    """Write the parameters' gradient, and the input's or what it adds to it."""
    out, span = y.channels, step.kernel_width * x.channels
    cut = is_cut(out, span, y.height * y.width, batch)
    rows, columns = pieces(out, span, batch, cut)
    examples, summed = examples_at_once(out, span, batch, cut)
    if x.slope >= 0 and step.opens:
        size = (x.height + 2 * x.above) * (x.width + 2 * x.beside) * x.channels
        arena[x.slope * batch : (x.slope + size) * batch] = 0
    if step.bias >= 0:
        gradient[step.bias : step.bias + out] = 0
        _add_to_bias(y, step, arena, gradient, batch)
    if direct.is_direct(step, out, span, batch, arena):
        direct.backward(x, y, step, parameters, gradient, arena, batch)
        return
    if cut:
        gradient[step.weight : step.weight + step.kernel_height * out * span] = 0
    for first in range(0, out, rows):
        m = min(rows, out - first)
        for left in range(0, span, columns):
            for h in range(y.height):
                top, bottom = _rows_seen(x, step, h, cut)
                for w in range(y.width):
                    target = (y.slope + place(y, h, w) + first) * batch
                    low, high = _columns_seen(x, step, w, left, min(left + columns, span), cut)
                    k = high - low
                    if k <= 0:
                        continue
                    for i in range(top, bottom):
                        there, at = place_seen(x, step, h, w, i) + low, step.weight + (i * out + first) * span + low
                        source = (x.at + there) * batch
                        for b in range(0, batch, summed):
                            n, keep = min(summed, batch - b), cut or h + w + b > 0
                            slope, seen = arena[target + b :], arena[source + b :]
                            multiply(m, k, n, slope, batch, False, seen, batch, True, gradient[at:], span, keep)
                        if x.slope < 0:
                            continue
                        source = (x.slope + there) * batch
                        for b in range(0, batch, examples):
                            n = min(examples, batch - b)
                            slope, back = arena[target + b :], arena[source + b :]
                            multiply(k, n, m, parameters[at:], span, True, slope, batch, False, back, batch, True)


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
    cut = is_cut(out, span, y.height * y.width, batch)
    rows, columns = pieces(out, span, batch, cut)
    examples, _ = examples_at_once(out, span, batch, cut)
    begun = _begin(y, step, direction, along, batch, cut)
    for first in range(0, out, rows):
        m = min(rows, out - first)
        for left in range(0, span, columns):
            for h in range(y.height):
                top, bottom = _rows_seen(x, step, h, cut)
                for w in range(y.width):
                    target = (y.at + place(y, h, w) + first) * batch
                    low, high = _columns_seen(x, step, w, left, min(left + columns, span), cut)
                    k = high - low
                    if k <= 0:
                        continue
                    for i in range(top, bottom):
                        source = (x.at + place_seen(x, step, h, w, i) + low) * batch
                        at = step.weight + (i * out + first) * span + low
                        for b in range(0, batch, examples):
                            n, keep = min(examples, batch - b), begun or i > 0
                            seen, put = arena[source + b :], along[target + b :]
                            multiply(m, n, k, direction[at:], span, False, seen, batch, False, put, batch, keep)
                            if x.slope >= 0:
                                moved = along[source + b :]
                                multiply(m, n, k, parameters[at:], span, False, moved, batch, False, put, batch, True)


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
    cut = is_cut(out, span, y.height * y.width, batch)
    rows, columns = pieces(out, span, batch, cut)
    examples, summed = examples_at_once(out, span, batch, cut)
    if x.slope >= 0 and step.opens:
        size = (x.height + 2 * x.above) * (x.width + 2 * x.beside) * x.channels
        along[x.slope * batch : (x.slope + size) * batch] = 0
    if step.bias >= 0:
        _add_to_bias(y, step, along, product, batch)
    for first in range(0, out, rows):
        m = min(rows, out - first)
        for left in range(0, span, columns):
            for h in range(y.height):
                top, bottom = _rows_seen(x, step, h, cut)
                for w in range(y.width):
                    target = (y.slope + place(y, h, w) + first) * batch
                    low, high = _columns_seen(x, step, w, left, min(left + columns, span), cut)
                    k = high - low
                    if k <= 0:
                        continue
                    for i in range(top, bottom):
                        there, at = place_seen(x, step, h, w, i) + low, step.weight + (i * out + first) * span + low
                        source, weight = (x.at + there) * batch, product[at:]
                        for b in range(0, batch, summed):
                            n = min(summed, batch - b)
                            pull, seen = along[target + b :], arena[source + b :]
                            multiply(m, k, n, pull, batch, False, seen, batch, True, weight, span, True)
                            if x.slope >= 0:
                                slope, moved = arena[target + b :], along[source + b :]
                                multiply(m, k, n, slope, batch, False, moved, batch, True, weight, span, True)
                        if x.slope < 0:
                            continue
                        source = (x.slope + there) * batch
                        for b in range(0, batch, examples):
                            n = min(examples, batch - b)
                            slope, pull, back = arena[target + b :], along[target + b :], along[source + b :]
                            multiply(k, n, m, parameters[at:], span, True, pull, batch, False, back, batch, True)
                            multiply(k, n, m, direction[at:], span, True, slope, batch, False, back, batch, True)


@compiled
def _begin(y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int, cut: bool) -> bool:
    """Write what products are added to, biases, or zeros where products are cut or are tiles; tell whether there is any."""
    n = y.channels * batch
    for h in range(y.height):
        for w in range(y.width):
            out = row(arena, y.at, y, h, w, 0, n, batch)
            if step.bias >= 0:
                repeat(parameters[step.bias :], batch, out)
            elif cut:
                out[:] = 0
    return cut or step.bias >= 0


@compiled
def _add_to_bias(y: Any, step: Any, slopes: np.ndarray, gradient: np.ndarray, batch: int) -> None:
    n = y.channels * batch
    for h in range(y.height):
        for w in range(y.width):
            slope = row(slopes, y.slope, y, h, w, 0, n, batch)
            for o in range(y.channels):
                gradient[step.bias + o] += slope[o * batch : (o + 1) * batch].sum()


@compiled
def _rows_seen(x: Any, step: Any, h: int, inside: bool) -> tuple[int, int]:
    """Return from which row of the kernel to before which a position sees: all, or those `inside` the input."""
    before = step.padding_height - h * step.stride_height
    if inside:
        return max(0, before), min(step.kernel_height, before + x.height)
    return 0, step.kernel_height


@compiled
def _columns_seen(x: Any, step: Any, w: int, left: int, right: int, inside: bool) -> tuple[int, int]:
    """Return from which to before which of the columns from `left` to `right` a position sees, likewise."""
    before = step.padding_width - w * step.stride_width
    if inside:
        return max(left, before * x.channels), min(right, (before + x.width) * x.channels)
    return left, right
