"""Group normalization (Wu and He, ECCV 2018): each example by itself, a group of channels at all positions together.

Layer normalization (Ba, Kiros and Hinton, 2016) of vectors is that of one group. Mean and inverse standard deviation, one
each a group and example, are a value of the tape's own: 2 · groups channels. Their derivatives along a direction are kept
likewise.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row


@compiled
def forward(x: Any, y: Any, kept: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the output, and what is `kept`."""
    kind = arena.dtype.type
    size = x.channels // step.groups
    share = kind(1 / (size * x.height * x.width))
    center, inverse = _kept(kept, step, arena, batch)
    for g in range(step.groups):
        first, mean, scale = g * size, center[g], inverse[g]
        mean[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                for c in range(size):
                    for b in range(batch):
                        mean[b] += seen[c, b]
        for b in range(batch):
            mean[b] *= share
        scale[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                for c in range(size):
                    for b in range(batch):
                        away = seen[c, b] - mean[b]
                        scale[b] += away * away
        for b in range(batch):
            scale[b] = kind(1) / np.sqrt(scale[b] * share + kind(step.epsilon))
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                out = _channels(arena, y.at, y, h, w, first, size, batch)
                for c in range(size):
                    weight, bias = parameters[step.weight + first + c], parameters[step.bias + first + c]
                    for b in range(batch):
                        out[c, b] = (seen[c, b] - mean[b]) * scale[b] * weight + bias


@compiled
def backward(
    x: Any,
    y: Any,
    kept: Any,
    step: Any,
    parameters: np.ndarray,
    gradient: np.ndarray,
    arena: np.ndarray,
    batch: int,
) -> None:
    """Write the parameters' gradient, and the input's or what it adds to it.

    With x̂ the normalized input and g the output's gradient times the weights, it is ``(g − mean g − x̂ mean(g x̂)) / σ``.
    """
    kind = arena.dtype.type
    size = x.channels // step.groups
    share = kind(1 / (size * x.height * x.width))
    center, inverse = _kept(kept, step, arena, batch)
    sums = np.empty((2, batch), arena.dtype)
    level, tilt = sums[0], sums[1]
    gradient[step.weight : step.weight + x.channels] = 0
    gradient[step.bias : step.bias + x.channels] = 0
    for g in range(step.groups):
        first, mean, scale = g * size, center[g], inverse[g]
        sums[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                slope = _channels(arena, y.slope, y, h, w, first, size, batch)
                for c in range(size):
                    weight = parameters[step.weight + first + c]
                    plain, weighted = kind(0), kind(0)
                    for b in range(batch):
                        passed, normal = slope[c, b], (seen[c, b] - mean[b]) * scale[b]
                        plain += passed
                        weighted += passed * normal
                        level[b] += passed * weight
                        tilt[b] += passed * weight * normal
                    gradient[step.bias + first + c] += plain
                    gradient[step.weight + first + c] += weighted
        if x.slope < 0:
            continue
        for b in range(batch):
            level[b] *= share
            tilt[b] *= share
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                slope = _channels(arena, y.slope, y, h, w, first, size, batch)
                out = _channels(arena, x.slope, x, h, w, first, size, batch)
                for c in range(size):
                    weight = parameters[step.weight + first + c]
                    if step.opens:
                        for b in range(batch):
                            normal = (seen[c, b] - mean[b]) * scale[b]
                            out[c, b] = scale[b] * (slope[c, b] * weight - level[b] - normal * tilt[b])
                    else:
                        for b in range(batch):
                            normal = (seen[c, b] - mean[b]) * scale[b]
                            out[c, b] += scale[b] * (slope[c, b] * weight - level[b] - normal * tilt[b])


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
    """Write the derivatives of the output, and of what is kept, along a direction."""
    kind = arena.dtype.type
    size = x.channels // step.groups
    share = kind(1 / (size * x.height * x.width))
    center, inverse = _kept(kept, step, arena, batch)
    shifted, stretched = _kept(kept, step, along, batch)
    for g in range(step.groups):
        first, mean, scale = g * size, center[g], inverse[g]
        shift, stretch = shifted[g], stretched[g]
        shift[:] = 0
        stretch[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                moved = _channels(along, x.at, x, h, w, first, size, batch)
                for c in range(size):
                    for b in range(batch):
                        shift[b] += moved[c, b]
                        stretch[b] += moved[c, b] * (seen[c, b] - mean[b])
        for b in range(batch):
            shift[b] *= share
            stretch[b] *= -share * scale[b] * scale[b] * scale[b]
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                moved = _channels(along, x.at, x, h, w, first, size, batch)
                out = _channels(along, y.at, y, h, w, first, size, batch)
                for c in range(size):
                    weight = parameters[step.weight + first + c]
                    change, lift = direction[step.weight + first + c], direction[step.bias + first + c]
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
    """Add to a product, and write the derivative of the input's gradient or what it adds to it."""
    kind = arena.dtype.type
    size = x.channels // step.groups
    share = kind(1 / (size * x.height * x.width))
    center, inverse = _kept(kept, step, arena, batch)
    shifted, stretched = _kept(kept, step, along, batch)
    sums = np.empty((4, batch), arena.dtype)
    level, tilt, lift, twist = sums[0], sums[1], sums[2], sums[3]
    for g in range(step.groups):
        first, mean, scale = g * size, center[g], inverse[g]
        shift, stretch = shifted[g], stretched[g]
        sums[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                moved = _channels(along, x.at, x, h, w, first, size, batch)
                slope = _channels(arena, y.slope, y, h, w, first, size, batch)
                pull = _channels(along, y.slope, y, h, w, first, size, batch)
                for c in range(size):
                    weight, change = parameters[step.weight + first + c], direction[step.weight + first + c]
                    plain, weighted = kind(0), kind(0)
                    for b in range(batch):
                        away = seen[c, b] - mean[b]
                        normal = away * scale[b]
                        turned = (moved[c, b] - shift[b]) * scale[b] + away * stretch[b]
                        passed, pulled = slope[c, b] * weight, pull[c, b] * weight + slope[c, b] * change
                        plain += pull[c, b]
                        weighted += pull[c, b] * normal + slope[c, b] * turned
                        level[b] += passed
                        tilt[b] += passed * normal
                        lift[b] += pulled
                        twist[b] += pulled * normal + passed * turned
                    product[step.bias + first + c] += plain
                    product[step.weight + first + c] += weighted
        if x.slope < 0:
            continue
        for b in range(batch):
            level[b] *= share
            tilt[b] *= share
            lift[b] *= share
            twist[b] *= share
        for h in range(x.height):
            for w in range(x.width):
                seen = _channels(arena, x.at, x, h, w, first, size, batch)
                moved = _channels(along, x.at, x, h, w, first, size, batch)
                slope = _channels(arena, y.slope, y, h, w, first, size, batch)
                pull = _channels(along, y.slope, y, h, w, first, size, batch)
                out = _channels(along, x.slope, x, h, w, first, size, batch)
                for c in range(size):
                    weight, change = parameters[step.weight + first + c], direction[step.weight + first + c]
                    for b in range(batch):
                        away = seen[c, b] - mean[b]
                        normal = away * scale[b]
                        turned = (moved[c, b] - shift[b]) * scale[b] + away * stretch[b]
                        passed, pulled = slope[c, b] * weight, pull[c, b] * weight + slope[c, b] * change
                        before = stretch[b] * (passed - level[b] - normal * tilt[b])
                        more = before + scale[b] * (pulled - lift[b] - turned * tilt[b] - normal * twist[b])
                        out[c, b] = more if step.opens else out[c, b] + more


@compiled
def _channels(
    arena: np.ndarray, start: int, value: Any, h: int, w: int, first: int, size: int, batch: int
) -> np.ndarray:
    """Return some channels at a position, (size, B)."""
    return row(arena, start, value, h, w, first, size * batch, batch).reshape(size, batch)


@compiled
def _kept(kept: Any, step: Any, arena: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means and inverse standard deviations, (groups, B) each, or their derivatives."""
    both = arena[kept.at * batch : (kept.at + 2 * step.groups) * batch].reshape(2, step.groups, batch)
    return both[0], both[1]
