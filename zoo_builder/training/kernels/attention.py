"""Multi-head self-attention (Vaswani et al., NeurIPS 2017), between the linear layers that are around it.

The input has queries, keys and values of every position, 3 · heads · size channels; the output heads · size. What each query
makes of each key is a value of the tape's own, `kept`: heads · length channels at every position, the softmax of
``size^−½ q·k``. A causal one looks at no later keys, and what would be kept of these is never written.

Examples are innermost, so that all of this is done to all of a batch at once, number by number.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.functions import exponential
from zoo_builder.training.kernels.layout import row


@compiled
def forward(x: Any, y: Any, kept: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the output, and what is `kept`."""
    kind = arena.dtype.type
    size, length = y.channels // step.groups, x.width
    factor = kind(size**-0.5)
    edge = np.empty((2, batch), arena.dtype)
    top, mass = edge[0], edge[1]
    for g in range(step.groups):
        for i in range(length):
            keys = i + 1 if step.causal else length
            weights = _rows(arena, kept.at, kept, i, g * length, keys, batch)
            query = _rows(arena, x.at, x, i, g * size, size, batch)
            for j in range(keys):
                key = _rows(arena, x.at, x, j, y.channels + g * size, size, batch)
                weights[j] = 0
                _add_products(query, key, weights[j])
            top[:] = weights[0]
            for j in range(1, keys):
                some = weights[j]
                for b in range(batch):
                    top[b] = max(top[b], some[b])
            mass[:] = 0
            for j in range(keys):
                some = weights[j]
                for b in range(batch):
                    part = exponential(factor * (some[b] - top[b]))
                    some[b] = part
                    mass[b] += part
            for b in range(batch):
                mass[b] = kind(1) / mass[b]
            out = _rows(arena, y.at, y, i, g * size, size, batch)
            out[:] = 0
            for j in range(keys):
                some = weights[j]
                for b in range(batch):
                    some[b] *= mass[b]
                _add_scaled(some, _rows(arena, x.at, x, j, 2 * y.channels + g * size, size, batch), out)


@compiled
def backward(x: Any, y: Any, kept: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the input's gradient, or what it adds to it.

    With p the weights of a query and a_j the output's gradient times the values of key j, that of its products with the keys
    is ``p ∘ (a − p·a)``.
    """
    kind = arena.dtype.type
    size, length, wide = y.channels // step.groups, x.width, y.channels
    factor = kind(size**-0.5)
    if step.opens:
        arena[x.slope * batch : (x.slope + x.width * x.channels) * batch] = 0
    slopes, mean = np.empty((length, batch), arena.dtype), np.empty(batch, arena.dtype)
    for g in range(step.groups):
        for i in range(length):
            keys = i + 1 if step.causal else length
            weights = _rows(arena, kept.at, kept, i, g * length, keys, batch)
            query, to_query = _both(x, i, g * size, size, arena, batch)
            slope = _rows(arena, y.slope, y, i, g * size, size, batch)
            mean[:] = 0
            for j in range(keys):
                value, to_value = _both(x, j, 2 * wide + g * size, size, arena, batch)
                some, weight = slopes[j], weights[j]
                some[:] = 0
                _add_products(slope, value, some)
                _add_scaled(weight, slope, to_value)
                for b in range(batch):
                    mean[b] += weight[b] * some[b]
            for j in range(keys):
                key, to_key = _both(x, j, wide + g * size, size, arena, batch)
                some, weight = slopes[j], weights[j]
                for b in range(batch):
                    some[b] = factor * weight[b] * (some[b] - mean[b])
                _add_scaled(some, key, to_query)
                _add_scaled(some, query, to_key)


@compiled
def forward_along(x: Any, y: Any, kept: Any, step: Any, arena: np.ndarray, along: np.ndarray, batch: int) -> None:
    """Write the derivatives of the output, and of what is kept, along a direction."""
    kind = arena.dtype.type
    size, length, wide = y.channels // step.groups, x.width, y.channels
    factor = kind(size**-0.5)
    mean = np.empty(batch, arena.dtype)
    for g in range(step.groups):
        for i in range(length):
            keys = i + 1 if step.causal else length
            weights = _rows(arena, kept.at, kept, i, g * length, keys, batch)
            changes = _rows(along, kept.at, kept, i, g * length, keys, batch)
            query = _rows(arena, x.at, x, i, g * size, size, batch)
            moved = _rows(along, x.at, x, i, g * size, size, batch)
            mean[:] = 0
            for j in range(keys):
                some, weight = changes[j], weights[j]
                some[:] = 0
                _add_products(moved, _rows(arena, x.at, x, j, wide + g * size, size, batch), some)
                _add_products(query, _rows(along, x.at, x, j, wide + g * size, size, batch), some)
                for b in range(batch):
                    mean[b] += weight[b] * some[b]
            out = _rows(along, y.at, y, i, g * size, size, batch)
            out[:] = 0
            for j in range(keys):
                some, weight = changes[j], weights[j]
                for b in range(batch):
                    some[b] = factor * weight[b] * (some[b] - mean[b])
                _add_scaled(some, _rows(arena, x.at, x, j, 2 * wide + g * size, size, batch), out)
                _add_scaled(weight, _rows(along, x.at, x, j, 2 * wide + g * size, size, batch), out)


@compiled
def backward_along(x: Any, y: Any, kept: Any, step: Any, arena: np.ndarray, along: np.ndarray, batch: int) -> None:
    """Write the derivative of the input's gradient, or what it adds to it."""
    kind = arena.dtype.type
    size, length, wide = y.channels // step.groups, x.width, y.channels
    factor = kind(size**-0.5)
    if step.opens:
        along[x.slope * batch : (x.slope + x.width * x.channels) * batch] = 0
    slopes, pulls = np.empty((length, batch), arena.dtype), np.empty((length, batch), arena.dtype)
    both = np.empty((2, batch), arena.dtype)
    mean, turn = both[0], both[1]
    for g in range(step.groups):
        for i in range(length):
            keys = i + 1 if step.causal else length
            weights = _rows(arena, kept.at, kept, i, g * length, keys, batch)
            changes = _rows(along, kept.at, kept, i, g * length, keys, batch)
            query = _rows(arena, x.at, x, i, g * size, size, batch)
            moved, to_query = _both(x, i, g * size, size, along, batch)
            slope = _rows(arena, y.slope, y, i, g * size, size, batch)
            pull = _rows(along, y.slope, y, i, g * size, size, batch)
            both[:] = 0
            for j in range(keys):
                value = _rows(arena, x.at, x, j, 2 * wide + g * size, size, batch)
                shifted, to_value = _both(x, j, 2 * wide + g * size, size, along, batch)
                some, more, weight, change = slopes[j], pulls[j], weights[j], changes[j]
                some[:] = 0
                more[:] = 0
                _add_products(slope, value, some)
                _add_products(pull, value, more)
                _add_products(slope, shifted, more)
                _add_scaled(change, slope, to_value)
                _add_scaled(weight, pull, to_value)
                for b in range(batch):
                    mean[b] += weight[b] * some[b]
                    turn[b] += change[b] * some[b] + weight[b] * more[b]
            for j in range(keys):
                key = _rows(arena, x.at, x, j, wide + g * size, size, batch)
                shifted, to_key = _both(x, j, wide + g * size, size, along, batch)
                some, more, weight, change = slopes[j], pulls[j], weights[j], changes[j]
                for b in range(batch):
                    away = some[b] - mean[b]
                    some[b] = factor * weight[b] * away
                    more[b] = factor * (change[b] * away + weight[b] * (more[b] - turn[b]))
                _add_scaled(more, key, to_query)
                _add_scaled(some, shifted, to_query)
                _add_scaled(more, query, to_key)
                _add_scaled(some, moved, to_key)


@compiled
def _rows(arena: np.ndarray, start: int, value: Any, t: int, first: int, many: int, batch: int) -> np.ndarray:
    """Return some channels at a position, (many, B)."""
    return row(arena, start, value, 0, t, first, many * batch, batch).reshape(many, batch)


@compiled
def _both(x: Any, t: int, first: int, many: int, arena: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return some channels of the input at a position, and of its gradient."""
    return _rows(arena, x.at, x, t, first, many, batch), _rows(arena, x.slope, x, t, first, many, batch)


@compiled
def _add_products(one: np.ndarray, other: np.ndarray, out: np.ndarray) -> None:
    """Add to each example the inner product of its columns: (many, B) twice, (B,); four rows at once."""
    many, batch = one.shape
    whole = many // 4 * 4
    for c in range(0, whole, 4):
        a, b, d, e = one[c], one[c + 1], one[c + 2], one[c + 3]
        p, q, r, s = other[c], other[c + 1], other[c + 2], other[c + 3]
        for n in range(batch):
            out[n] += (a[n] * p[n] + b[n] * q[n]) + (d[n] * r[n] + e[n] * s[n])
    for c in range(whole, many):
        a, p = one[c], other[c]
        for n in range(batch):
            out[n] += a[n] * p[n]


@compiled
def _add_scaled(scale: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """Add columns, each times its example's number: (B,), (many, B) twice."""
    many, batch = rows.shape
    for c in range(many):
        some, put = rows[c], out[c]
        for b in range(batch):
            put[b] += scale[b] * some[b]
