"""Multi-head self-attention (Vaswani et al., NeurIPS 2017), between the linear layers that are around it.

The input has queries, keys and values of every position, 3 · heads · size channels; the output heads · size. What each query
makes of each key is a value of the tape's own, `kept`: heads · length channels at every position, the softmax of
``size^−½ q·k``. Of a causal one, which looks at no later keys, it is a lower triangle; above it zeros are kept where tiles on
the diagonal reach, and elsewhere nothing is ever written or read.

A head's queries, keys, values and weights are matrices with a row a position, one an example.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.batched import ALL, LOWER, OF_LOWER, OF_UPPER, Matrix, add_product, tile_end
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.functions import exponential
from zoo_builder.training.kernels.layout import place


@compiled
def forward(x: Any, y: Any, kept: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the output, and what is `kept`."""
    kind = arena.dtype.type
    size, length, wide = y.channels // step.groups, x.width, y.channels
    factor = kind(size**-0.5)
    lower, of_lower, _ = _shapes(step)
    edge = np.empty((2, batch), arena.dtype)
    top, mass = edge[0], edge[1]
    for g in range(step.groups):
        query, key = _matrix(arena, x.at, x, g * size, batch), _matrix(arena, x.at, x, wide + g * size, batch)
        value = _matrix(arena, x.at, x, 2 * wide + g * size, batch)
        weights, out = _matrix(arena, kept.at, kept, g * length, batch), _matrix(arena, y.at, y, g * size, batch)
        _clear(weights, length, length, step.causal, batch)
        add_product(weights, query, _turned(key), length, size, length, lower, batch)
        for i in range(length):
            keys, some = _seen(i, length, step), _row(weights, i, length, batch)
            top[:] = some[0]
            for j in range(1, keys):
                for b in range(batch):
                    top[b] = max(top[b], some[j, b])
            mass[:] = 0
            for j in range(keys):
                for b in range(batch):
                    part = exponential(factor * (some[j, b] - top[b]))
                    some[j, b] = part
                    mass[b] += part
            for b in range(batch):
                mass[b] = kind(1) / mass[b]
            for j in range(keys):
                for b in range(batch):
                    some[j, b] *= mass[b]
            _clear_beyond(some, i, length, step)
        _clear(out, length, size, 0, batch)
        add_product(out, weights, value, length, length, size, of_lower, batch)


@compiled
def backward(x: Any, y: Any, kept: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the input's gradient, or what it adds to it.

    With p the weights of a query and a_j the output's gradient times the values of key j, that of its products with the keys
    is ``p ∘ (a − p·a)``.
    """
    kind = arena.dtype.type
    size, length, wide = y.channels // step.groups, x.width, y.channels
    factor = kind(size**-0.5)
    lower, of_lower, of_upper = _shapes(step)
    if step.opens:
        arena[x.slope * batch : (x.slope + x.width * x.channels) * batch] = 0
    slopes, mean = _square(length, arena, batch), np.empty(batch, arena.dtype)
    for g in range(step.groups):
        query, to_query = _both(x, g * size, arena, batch)
        key, to_key = _both(x, wide + g * size, arena, batch)
        value, to_value = _both(x, 2 * wide + g * size, arena, batch)
        weights, slope = _matrix(arena, kept.at, kept, g * length, batch), _matrix(arena, y.slope, y, g * size, batch)
        _clear(slopes, length, length, step.causal, batch)
        add_product(slopes, slope, _turned(value), length, size, length, lower, batch)
        add_product(to_value, _turned(weights), slope, length, length, size, of_upper, batch)
        for i in range(length):
            keys, some, weight = _seen(i, length, step), _row(slopes, i, length, batch), _row(weights, i, length, batch)
            mean[:] = 0
            for j in range(keys):
                for b in range(batch):
                    mean[b] += weight[j, b] * some[j, b]
            for j in range(keys):
                for b in range(batch):
                    some[j, b] = factor * weight[j, b] * (some[j, b] - mean[b])
            _clear_beyond(some, i, length, step)
        add_product(to_query, slopes, key, length, length, size, of_lower, batch)
        add_product(to_key, _turned(slopes), query, length, length, size, of_upper, batch)


@compiled
def forward_along(x: Any, y: Any, kept: Any, step: Any, arena: np.ndarray, along: np.ndarray, batch: int) -> None:
    """Write the derivatives of the output, and of what is kept, along a direction."""
    kind = arena.dtype.type
    size, length, wide = y.channels // step.groups, x.width, y.channels
    factor = kind(size**-0.5)
    lower, of_lower, _ = _shapes(step)
    mean = np.empty(batch, arena.dtype)
    for g in range(step.groups):
        query, moved_query = _matrix(arena, x.at, x, g * size, batch), _matrix(along, x.at, x, g * size, batch)
        key, moved_key = (
            _matrix(arena, x.at, x, wide + g * size, batch),
            _matrix(along, x.at, x, wide + g * size, batch),
        )
        value = _matrix(arena, x.at, x, 2 * wide + g * size, batch)
        moved_value = _matrix(along, x.at, x, 2 * wide + g * size, batch)
        weights, changes = (
            _matrix(arena, kept.at, kept, g * length, batch),
            _matrix(along, kept.at, kept, g * length, batch),
        )
        out = _matrix(along, y.at, y, g * size, batch)
        _clear(changes, length, length, step.causal, batch)
        add_product(changes, moved_query, _turned(key), length, size, length, lower, batch)
        add_product(changes, query, _turned(moved_key), length, size, length, lower, batch)
        for i in range(length):
            keys, some, weight = (
                _seen(i, length, step),
                _row(changes, i, length, batch),
                _row(weights, i, length, batch),
            )
            mean[:] = 0
            for j in range(keys):
                for b in range(batch):
                    mean[b] += weight[j, b] * some[j, b]
            for j in range(keys):
                for b in range(batch):
                    some[j, b] = factor * weight[j, b] * (some[j, b] - mean[b])
            _clear_beyond(some, i, length, step)
        _clear(out, length, size, 0, batch)
        add_product(out, changes, value, length, length, size, of_lower, batch)
        add_product(out, weights, moved_value, length, length, size, of_lower, batch)


@compiled
def backward_along(x: Any, y: Any, kept: Any, step: Any, arena: np.ndarray, along: np.ndarray, batch: int) -> None:
    """Write the derivative of the input's gradient, or what it adds to it."""
    kind = arena.dtype.type
    size, length, wide = y.channels // step.groups, x.width, y.channels
    factor = kind(size**-0.5)
    lower, of_lower, of_upper = _shapes(step)
    if step.opens:
        along[x.slope * batch : (x.slope + x.width * x.channels) * batch] = 0
    slopes, pulls = _square(length, arena, batch), _square(length, arena, batch)
    both = np.empty((2, batch), arena.dtype)
    mean, turn = both[0], both[1]
    for g in range(step.groups):
        query, key = _matrix(arena, x.at, x, g * size, batch), _matrix(arena, x.at, x, wide + g * size, batch)
        value = _matrix(arena, x.at, x, 2 * wide + g * size, batch)
        moved_query, to_query = _both(x, g * size, along, batch)
        moved_key, to_key = _both(x, wide + g * size, along, batch)
        moved_value, to_value = _both(x, 2 * wide + g * size, along, batch)
        weights, changes = (
            _matrix(arena, kept.at, kept, g * length, batch),
            _matrix(along, kept.at, kept, g * length, batch),
        )
        slope, pull = _matrix(arena, y.slope, y, g * size, batch), _matrix(along, y.slope, y, g * size, batch)
        _clear(slopes, length, length, step.causal, batch)
        _clear(pulls, length, length, step.causal, batch)
        add_product(slopes, slope, _turned(value), length, size, length, lower, batch)
        add_product(pulls, pull, _turned(value), length, size, length, lower, batch)
        add_product(pulls, slope, _turned(moved_value), length, size, length, lower, batch)
        add_product(to_value, _turned(changes), slope, length, length, size, of_upper, batch)
        add_product(to_value, _turned(weights), pull, length, length, size, of_upper, batch)
        for i in range(length):
            keys, some, more = _seen(i, length, step), _row(slopes, i, length, batch), _row(pulls, i, length, batch)
            weight, change = _row(weights, i, length, batch), _row(changes, i, length, batch)
            both[:] = 0
            for j in range(keys):
                for b in range(batch):
                    mean[b] += weight[j, b] * some[j, b]
                    turn[b] += change[j, b] * some[j, b] + weight[j, b] * more[j, b]
            for j in range(keys):
                for b in range(batch):
                    away = some[j, b] - mean[b]
                    some[j, b] = factor * weight[j, b] * away
                    more[j, b] = factor * (change[j, b] * away + weight[j, b] * (more[j, b] - turn[b]))
            _clear_beyond(some, i, length, step)
            _clear_beyond(more, i, length, step)
        add_product(to_query, pulls, key, length, length, size, of_lower, batch)
        add_product(to_query, slopes, moved_key, length, length, size, of_lower, batch)
        add_product(to_key, _turned(pulls), query, length, length, size, of_upper, batch)
        add_product(to_key, _turned(slopes), moved_query, length, length, size, of_upper, batch)


@compiled
def _shapes(step: Any) -> tuple[int, int, int]:
    """Return what is multiplied: where weights come out, where they stand on the left, and where they do so transposed."""
    if step.causal:
        return LOWER, OF_LOWER, OF_UPPER
    return ALL, ALL, ALL


@compiled
def _seen(i: int, length: int, step: Any) -> int:
    """Return how many keys a query sees."""
    return i + 1 if step.causal else length


@compiled
def _matrix(arena: np.ndarray, start: int, value: Any, first: int, batch: int) -> Matrix:
    """Return channels from `first` on as a matrix, a row a position."""
    return arena, (start + place(value, 0, 0) + first) * batch, value.channels * batch, batch


@compiled
def _both(x: Any, first: int, arena: np.ndarray, batch: int) -> tuple[Matrix, Matrix]:
    """Return channels of the input as a matrix, and those of its gradient."""
    return _matrix(arena, x.at, x, first, batch), _matrix(arena, x.slope, x, first, batch)


@compiled
def _square(length: int, like: np.ndarray, batch: int) -> Matrix:
    """Return room for what is made of each query and key."""
    return np.empty(length * length * batch, like.dtype), 0, length * batch, batch


@compiled
def _turned(matrix: Matrix) -> Matrix:
    """Return the transposed matrix."""
    array, at, row, column = matrix
    return array, at, column, row


@compiled
def _row(matrix: Matrix, i: int, length: int, batch: int) -> np.ndarray:
    """Return a row of a matrix whose columns lie side by side, (length, B)."""
    array, at, row, _ = matrix
    return array[at + i * row : at + i * row + length * batch].reshape(length, batch)


@compiled
def _clear(matrix: Matrix, rows: int, columns: int, causal: int, batch: int) -> None:
    """Write zeros; in a lower triangle, as far as its tiles reach."""
    for i in range(rows):
        _row(matrix, i, tile_end(i, columns) if causal else columns, batch)[:] = 0


@compiled
def _clear_beyond(some: np.ndarray, i: int, length: int, step: Any) -> None:
    """Write zeros for keys that a query does not see, as far as its tile reaches."""
    if step.causal:
        some[i + 1 : tile_end(i, length)] = 0
