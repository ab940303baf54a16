"""Convolutions over images by tiles in registers, where a row of the kernel is so small a matrix that a BLAS is slow.

A step of a U-Net of width 8 on 16 images of 24 × 24 took 9.0 ms by BLAS, and 5.8 ms by tiles. Sizes alone decide. Vectors
are of examples, so that a batch has to fill them.
"""

from typing import Any, Final

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import place, place_seen
from zoo_builder.training.kernels.tiles import (
    BYTES,
    ROWS,
    SIDE,
    outer,
    outer_of_one,
    product,
    product_of_one,
)

#: Numbers of a row of the kernel up to which tiles are faster.
_SMALL: Final = 4096


@compiled
def is_direct(step: Any, height: int, width: int, batch: int, arena: np.ndarray) -> bool:
    """Tell whether a convolution goes by tiles: one of stride 1 over images, with small matrices and full vectors."""
    slides = step.kernel_height > 1 and step.stride_height == 1 and step.stride_width == 1
    return bool(slides and height * width <= _SMALL and batch % (BYTES // arena.itemsize) == 0)


@compiled
def forward(x: Any, y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Add products to the output, which is begun."""
    out, span, lanes = y.channels, step.kernel_width * x.channels, BYTES // arena.itemsize
    for h in range(y.height):
        for w in range(y.width):
            target = (y.at + place(y, h, w)) * batch
            for i in range(step.kernel_height):
                source, weight = (x.at + place_seen(x, step, h, w, i)) * batch, step.weight + i * out * span
                for b in range(0, batch, lanes):
                    _multiply(arena, target + b, parameters, weight, span, 1, arena, source + b, out, span, batch)


@compiled
def backward(
    x: Any, y: Any, step: Any, parameters: np.ndarray, gradient: np.ndarray, arena: np.ndarray, batch: int
) -> None:
    """Write the weights' gradient, and add to the input's."""
    out, span, lanes = y.channels, step.kernel_width * x.channels, BYTES // arena.itemsize
    sums = np.empty(out * span * lanes, arena.dtype)
    for i in range(step.kernel_height):
        sums[:] = 0
        for h in range(y.height):
            target, source = (y.slope + place(y, h, 0)) * batch, (x.at + place_seen(x, step, h, 0, i)) * batch
            for b in range(0, batch, lanes):
                _collect(sums, arena, target + b, source + b, out, span, x.channels, y.width, batch, lanes)
        _sum_up(sums, gradient[step.weight + i * out * span :], out, span, lanes)
    if x.slope < 0:
        return
    for h in range(y.height):
        for w in range(y.width):
            target = (y.slope + place(y, h, w)) * batch
            for i in range(step.kernel_height):
                source, weight = (x.slope + place_seen(x, step, h, w, i)) * batch, step.weight + i * out * span
                for b in range(0, batch, lanes):
                    _multiply(arena, source + b, parameters, weight, 1, span, arena, target + b, span, out, batch)


@compiled
def _multiply(
    c: np.ndarray,
    c_at: int,
    a: np.ndarray,
    a_at: int,
    a_row: int,
    a_column: int,
    b: np.ndarray,
    b_at: int,
    rows: int,
    many: int,
    batch: int,
) -> None:
    """Do ``c += a b``, (rows, lanes) += (rows, many)(many, lanes)."""
    whole = rows - rows % ROWS
    for r in range(0, whole, ROWS):
        product(c, c_at + r * batch, batch, a, a_at + r * a_row, a_row, a_column, b, b_at, batch, many)
    for r in range(whole, rows):
        product_of_one(c, c_at + r * batch, batch, a, a_at + r * a_row, a_row, a_column, b, b_at, batch, many)


@compiled
def _collect(
    sums: np.ndarray,
    arena: np.ndarray,
    target: int,
    source: int,
    out: int,
    span: int,
    channels: int,
    positions: int,
    batch: int,
    lanes: int,
) -> None:
    """Add to the sums of a row of positions, tile by tile: slopes of the output times what is seen."""
    at, high, wide, further = 0, out - out % SIDE, span - span % SIDE, channels * batch
    for o in range(0, high, SIDE):
        there = target + o * batch
        for s in range(0, wide, SIDE):
            seen = source + s * batch
            outer(
                sums, at, SIDE * lanes, lanes, arena, there, batch, out * batch, arena, seen, batch, further, positions
            )
            at += SIDE * SIDE * lanes
    for o in range(out):
        for s in range(wide if o < high else 0, span):
            there, seen = target + o * batch, source + s * batch
            outer_of_one(
                sums, at, lanes, lanes, arena, there, batch, out * batch, arena, seen, batch, further, positions
            )
            at += lanes


@compiled
def _sum_up(sums: np.ndarray, gradient: np.ndarray, out: int, span: int, lanes: int) -> None:
    """Write gradients (out, span): sums over examples, in the order of `_collect`."""
    at, high, wide = 0, out - out % SIDE, span - span % SIDE
    for o in range(0, high, SIDE):
        for s in range(0, wide, SIDE):
            for r in range(SIDE):
                for t in range(SIDE):
                    gradient[(o + r) * span + s + t] = sums[at : at + lanes].sum()
                    at += lanes
    for o in range(out):
        for s in range(wide if o < high else 0, span):
            gradient[o * span + s] = sums[at : at + lanes].sum()
            at += lanes
