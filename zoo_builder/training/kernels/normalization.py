"""Batch normalization (Ioffe and Szegedy, ICML 2015), strips of channels at a time, with the ReLU behind it if wanted."""

from typing import Any, Final

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row
from zoo_builder.training.kernels.relu import rectify, stop_where_rectified
from zoo_builder.training.kernels.rows import repeat

#: Numbers that are worked on at once: their coefficients stay in the nearest cache.
_STRIP: Final = 2048


@compiled
def strip(batch: int) -> int:
    """Return how many channels normalization works on at once."""
    return max(1, _STRIP // batch)


@compiled
def forward(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
    training: bool,
) -> None:
    """Write the output; in training mode by the batch's statistics, which buffers then follow."""
    kind = arena.dtype.type
    count = x.height * x.width * batch
    wide = strip(batch)
    each = np.empty((4, wide), arena.dtype)
    for first in range(0, x.channels, wide):
        channels = min(wide, x.channels - first)
        n = channels * batch
        sums, center, scale, shift = scratch[0, :n], scratch[1, :n], scratch[2, :n], scratch[3, :n]
        if training:
            sums[:] = 0
            for h in range(x.height):
                for w in range(x.width):
                    _add_to(row(arena, x.at, x, h, w, first, n, batch), sums)
            _channel_sums(sums, batch, each[0])
            for c in range(channels):
                each[0, c] /= kind(count)
            repeat(each[0], batch, center)
            sums[:] = 0
            for h in range(x.height):
                for w in range(x.width):
                    _add_squares_to(row(arena, x.at, x, h, w, first, n, batch), center, sums)
            _channel_sums(sums, batch, each[1])
            for c in range(channels):
                each[1, c] /= kind(count)
                new = kind(step.momentum)
                mean, variance = step.mean + first + c, step.variance + first + c
                buffers[mean] += new * (each[0, c] - buffers[mean])
                buffers[variance] += new * (each[1, c] * kind(count / (count - 1)) - buffers[variance])
        else:
            each[0, :channels] = buffers[step.mean + first : step.mean + first + channels]
            each[1, :channels] = buffers[step.variance + first : step.variance + first + channels]
        for c in range(channels):
            inverse = kind(1 / np.sqrt(each[1, c] + step.epsilon))
            saved[step.saved + first + c] = each[0, c]
            saved[step.saved + x.channels + first + c] = inverse
            each[2, c] = parameters[step.weight + first + c] * inverse
            each[3, c] = parameters[step.bias + first + c] - each[0, c] * each[2, c]
        repeat(each[2], batch, scale)
        repeat(each[3], batch, shift)
        for h in range(x.height):
            for w in range(x.width):
                out = row(arena, y.at, y, h, w, first, n, batch)
                _scale(row(arena, x.at, x, h, w, first, n, batch), scale, shift, out)
                if step.relu:
                    rectify(out, out)


@compiled
def backward(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    gradient: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
    training: bool,
) -> None:
    """Write the parameters' gradient, and the input's or what it adds to it."""
    kind = arena.dtype.type
    count = kind(x.height * x.width * batch)
    wide = strip(batch)
    each = np.empty((5, wide), arena.dtype)
    for first in range(0, x.channels, wide):
        channels = min(wide, x.channels - first)
        n = channels * batch
        plain, weighted, center, scale = scratch[0, :n], scratch[1, :n], scratch[2, :n], scratch[3, :n]
        level, tilt = scratch[4, :n], scratch[5, :n]
        for c in range(channels):
            each[0, c] = saved[step.saved + first + c]
            each[1, c] = saved[step.saved + x.channels + first + c]
            each[2, c] = parameters[step.weight + first + c] * each[1, c]
        repeat(each[0], batch, center)
        repeat(each[2], batch, scale)
        plain[:] = 0
        weighted[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                slope = row(arena, y.slope, y, h, w, first, n, batch)
                if step.relu:
                    stop_where_rectified(row(arena, y.at, y, h, w, first, n, batch), slope)
                _weigh(slope, row(arena, x.at, x, h, w, first, n, batch), center, plain, weighted)
        _channel_sums(plain, batch, each[3])
        _channel_sums(weighted, batch, each[4])
        for c in range(channels):
            gradient[step.bias + first + c] = each[3, c]
            gradient[step.weight + first + c] = each[4, c] * each[1, c]
            # In evaluation mode the statistics do not depend on the batch.
            each[3, c] *= each[2, c] / count if training else kind(0)
            each[4, c] *= each[2, c] * each[1, c] * each[1, c] / count if training else kind(0)
        if x.slope < 0:
            continue
        repeat(each[3], batch, level)
        repeat(each[4], batch, tilt)
        for h in range(x.height):
            for w in range(x.width):
                slope = row(arena, y.slope, y, h, w, first, n, batch)
                seen = row(arena, x.at, x, h, w, first, n, batch)
                _pull(
                    slope, seen, center, scale, level, tilt, row(arena, x.slope, x, h, w, first, n, batch), step.opens
                )


@compiled
def forward_along(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
) -> None:
    """Write the output's derivative along a direction."""
    wide = strip(batch)
    each = np.empty((4, wide), arena.dtype)
    for first in range(0, x.channels, wide):
        channels = min(wide, x.channels - first)
        n = channels * batch
        center, scale, tilt, level = scratch[0, :n], scratch[1, :n], scratch[2, :n], scratch[3, :n]
        for c in range(channels):
            inverse = saved[step.saved + x.channels + first + c]
            each[0, c] = saved[step.saved + first + c]
            each[1, c] = parameters[step.weight + first + c] * inverse
            each[2, c] = direction[step.weight + first + c] * inverse
            each[3, c] = direction[step.bias + first + c]
        repeat(each[0], batch, center)
        repeat(each[1], batch, scale)
        repeat(each[2], batch, tilt)
        repeat(each[3], batch, level)
        for h in range(x.height):
            for w in range(x.width):
                seen = row(arena, x.at, x, h, w, first, n, batch)
                out = row(along, y.at, y, h, w, first, n, batch)
                _move(seen, row(along, x.at, x, h, w, first, n, batch), center, scale, tilt, level, out)
                if step.relu:
                    stop_where_rectified(row(arena, y.at, y, h, w, first, n, batch), out)


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
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
) -> None:
    """Add to a product, and write the derivative of the input's gradient or what it adds to it."""
    wide = strip(batch)
    each = np.empty((5, wide), arena.dtype)
    for first in range(0, x.channels, wide):
        channels = min(wide, x.channels - first)
        n = channels * batch
        plain, weighted, center = scratch[0, :n], scratch[1, :n], scratch[2, :n]
        scale, tilt = scratch[3, :n], scratch[4, :n]
        for c in range(channels):
            inverse = saved[step.saved + x.channels + first + c]
            each[0, c] = saved[step.saved + first + c]
            each[1, c] = parameters[step.weight + first + c] * inverse
            each[2, c] = direction[step.weight + first + c] * inverse
        repeat(each[0], batch, center)
        repeat(each[1], batch, scale)
        repeat(each[2], batch, tilt)
        plain[:] = 0
        weighted[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                slope = row(arena, y.slope, y, h, w, first, n, batch)
                pull = row(along, y.slope, y, h, w, first, n, batch)
                if step.relu:
                    stop_where_rectified(row(arena, y.at, y, h, w, first, n, batch), pull)
                seen, moved = row(arena, x.at, x, h, w, first, n, batch), row(along, x.at, x, h, w, first, n, batch)
                _weigh_along(pull, slope, seen, moved, center, plain, weighted)
                if x.slope >= 0:
                    _pull_along(pull, slope, scale, tilt, row(along, x.slope, x, h, w, first, n, batch), step.opens)
        _channel_sums(plain, batch, each[3])
        _channel_sums(weighted, batch, each[4])
        for c in range(channels):
            product[step.bias + first + c] += each[3, c]
            product[step.weight + first + c] += each[4, c] * saved[step.saved + x.channels + first + c]


@compiled
def _add_to(x: np.ndarray, sums: np.ndarray) -> None:
    for j in range(len(x)):
        sums[j] += x[j]


@compiled
def _add_squares_to(x: np.ndarray, center: np.ndarray, sums: np.ndarray) -> None:
    for j in range(len(x)):
        distance = x[j] - center[j]
        sums[j] += distance * distance


@compiled
def _channel_sums(sums: np.ndarray, batch: int, out: np.ndarray) -> None:
    for c in range(len(sums) // batch):
        out[c] = sums[c * batch : (c + 1) * batch].sum()


@compiled
def _scale(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    for j in range(len(x)):
        out[j] = x[j] * scale[j] + shift[j]


@compiled
def _weigh(slope: np.ndarray, x: np.ndarray, center: np.ndarray, plain: np.ndarray, weighted: np.ndarray) -> None:
    for j in range(len(x)):
        passed = slope[j]
        plain[j] += passed
        weighted[j] += passed * (x[j] - center[j])


@compiled
def _pull(
    slope: np.ndarray,
    x: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    level: np.ndarray,
    tilt: np.ndarray,
    out: np.ndarray,
    opens: int,
) -> None:
    if opens:
        for j in range(len(x)):
            out[j] = scale[j] * slope[j] - level[j] - (x[j] - center[j]) * tilt[j]
    else:
        for j in range(len(x)):
            out[j] += scale[j] * slope[j] - level[j] - (x[j] - center[j]) * tilt[j]


@compiled
def _move(
    x: np.ndarray,
    moved: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    tilt: np.ndarray,
    level: np.ndarray,
    out: np.ndarray,
) -> None:
    for j in range(len(x)):
        out[j] = scale[j] * moved[j] + (x[j] - center[j]) * tilt[j] + level[j]


@compiled
def _weigh_along(
    pull: np.ndarray,
    slope: np.ndarray,
    x: np.ndarray,
    moved: np.ndarray,
    center: np.ndarray,
    plain: np.ndarray,
    weighted: np.ndarray,
) -> None:
    for j in range(len(x)):
        plain[j] += pull[j]
        weighted[j] += pull[j] * (x[j] - center[j]) + slope[j] * moved[j]


@compiled
def _pull_along(
    pull: np.ndarray, slope: np.ndarray, scale: np.ndarray, tilt: np.ndarray, out: np.ndarray, opens: int
) -> None:
    if opens:
        for j in range(len(pull)):
            out[j] = scale[j] * pull[j] + tilt[j] * slope[j]
    else:
        for j in range(len(pull)):
            out[j] += scale[j] * pull[j] + tilt[j] * slope[j]
