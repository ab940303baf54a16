"""Layer normalization (Ba, Kiros and Hinton, 2016) of tokens: the channels of each position and example by themselves.

Mean and inverse standard deviation are a value of the tape's own, two channels at every position, and so are their
derivatives along a direction. Formulas are those of `zoo_builder.training.kernels.group_normalization`, with one group.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row


@compiled
def forward(x: Any, y: Any, kept: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the output, and what is `kept`."""
    kind = arena.dtype.type
    size, share = x.channels, kind(1 / x.channels)
    for t in range(x.width):
        seen, out = _channels(arena, x.at, x, t, batch), _channels(arena, y.at, y, t, batch)
        both = _channels(arena, kept.at, kept, t, batch)
        mean, scale = both[0], both[1]
        both[:] = 0
        for c in range(size):
            for b in range(batch):
                mean[b] += seen[c, b]
        for b in range(batch):
            mean[b] *= share
        for c in range(size):
            for b in range(batch):
                away = seen[c, b] - mean[b]
                scale[b] += away * away
        for b in range(batch):
            scale[b] = kind(1) / np.sqrt(scale[b] * share + kind(step.epsilon))
        for c in range(size):
            weight, bias = parameters[step.weight + c], parameters[step.bias + c]
            for b in range(batch):
                out[c, b] = (seen[c, b] - mean[b]) * scale[b] * weight + bias


@compiled
def backward(
    x: Any, y: Any, kept: Any, step: Any, parameters: np.ndarray, gradient: np.ndarray, arena: np.ndarray, batch: int
) -> None:
    """Write the parameters' gradient, and the input's or what it adds to it."""
    kind = arena.dtype.type
    size, share = x.channels, kind(1 / x.channels)
    sums = np.empty((2, batch), arena.dtype)
    level, tilt = sums[0], sums[1]
    gradient[step.weight : step.weight + size] = 0
    gradient[step.bias : step.bias + size] = 0
    for t in range(x.width):
        seen, slope = _channels(arena, x.at, x, t, batch), _channels(arena, y.slope, y, t, batch)
        both, out = _channels(arena, kept.at, kept, t, batch), _channels(arena, x.slope, x, t, batch)
        mean, scale = both[0], both[1]
        sums[:] = 0
        for c in range(size):
            weight = parameters[step.weight + c]
            plain, weighted = kind(0), kind(0)
            for b in range(batch):
                passed, normal = slope[c, b], (seen[c, b] - mean[b]) * scale[b]
                plain += passed
                weighted += passed * normal
                level[b] += passed * weight
                tilt[b] += passed * weight * normal
            gradient[step.bias + c] += plain
            gradient[step.weight + c] += weighted
        for b in range(batch):
            level[b] *= share
            tilt[b] *= share
        for c in range(size):
            weight = parameters[step.weight + c]
            for b in range(batch):
                normal = (seen[c, b] - mean[b]) * scale[b]
                more = scale[b] * (slope[c, b] * weight - level[b] - normal * tilt[b])
                out[c, b] = more if step.opens else out[c, b] + more


@compiled
def forward_along(
    x: Any,
    y: Any,
    kept: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    batch: int,
) -> None:
    """Write the output's derivative along a direction, and those of what is kept."""
    kind = arena.dtype.type
    size, share = x.channels, kind(1 / x.channels)
    for t in range(x.width):
        seen, moved = _channels(arena, x.at, x, t, batch), _channels(along, x.at, x, t, batch)
        both, changes = _channels(arena, kept.at, kept, t, batch), _channels(along, kept.at, kept, t, batch)
        out = _channels(along, y.at, y, t, batch)
        mean, scale, shift, stretch = both[0], both[1], changes[0], changes[1]
        changes[:] = 0
        for c in range(size):
            for b in range(batch):
                shift[b] += moved[c, b]
                stretch[b] += (seen[c, b] - mean[b]) * moved[c, b]
        for b in range(batch):
            shift[b] *= share
            stretch[b] *= -share * scale[b] * scale[b] * scale[b]
        for c in range(size):
            weight = parameters[step.weight + c]
            change, lift = direction[step.weight + c], direction[step.bias + c]
            for b in range(batch):
                away = seen[c, b] - mean[b]
                turned = (moved[c, b] - shift[b]) * scale[b] + away * stretch[b]
                out[c, b] = turned * weight + away * scale[b] * change + lift


@compiled
def backward_along(
    x: Any,
    y: Any,
    kept: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    product: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    batch: int,
) -> None:
    """Write the derivative of the input's gradient, or what it adds to it, and add to a product."""
    kind = arena.dtype.type
    size, share = x.channels, kind(1 / x.channels)
    sums = np.empty((4, batch), arena.dtype)
    level, tilt, lift, twist = sums[0], sums[1], sums[2], sums[3]
    for t in range(x.width):
        seen, moved = _channels(arena, x.at, x, t, batch), _channels(along, x.at, x, t, batch)
        slope, pull = _channels(arena, y.slope, y, t, batch), _channels(along, y.slope, y, t, batch)
        both, changes = _channels(arena, kept.at, kept, t, batch), _channels(along, kept.at, kept, t, batch)
        out = _channels(along, x.slope, x, t, batch)
        mean, scale, shift, stretch = both[0], both[1], changes[0], changes[1]
        sums[:] = 0
        for c in range(size):
            weight, change = parameters[step.weight + c], direction[step.weight + c]
            plain, weighted = kind(0), kind(0)
            for b in range(batch):
                away = seen[c, b] - mean[b]
                normal = away * scale[b]
                turned = (moved[c, b] - shift[b]) * scale[b] + away * stretch[b]
                plain += pull[c, b]
                weighted += pull[c, b] * normal + slope[c, b] * turned
                passed, pulled = slope[c, b] * weight, pull[c, b] * weight + slope[c, b] * change
                level[b] += passed
                tilt[b] += passed * normal
                lift[b] += pulled
                twist[b] += pulled * normal + passed * turned
            product[step.bias + c] += plain
            product[step.weight + c] += weighted
        for b in range(batch):
            level[b] *= share
            tilt[b] *= share
            lift[b] *= share
            twist[b] *= share
        for c in range(size):
            weight, change = parameters[step.weight + c], direction[step.weight + c]
            for b in range(batch):
                away = seen[c, b] - mean[b]
                normal = away * scale[b]
                turned = (moved[c, b] - shift[b]) * scale[b] + away * stretch[b]
                passed, pulled = slope[c, b] * weight, pull[c, b] * weight + slope[c, b] * change
                before = stretch[b] * (passed - level[b] - normal * tilt[b])
                more = before + scale[b] * (pulled - lift[b] - turned * tilt[b] - normal * twist[b])
                out[c, b] = more if step.opens else out[c, b] + more


@compiled
def _channels(arena: np.ndarray, start: int, value: Any, t: int, batch: int) -> np.ndarray:
    """Return what is at a position, (channels, B)."""
    return row(arena, start, value, 0, t, 0, value.channels * batch, batch).reshape(value.channels, batch)
