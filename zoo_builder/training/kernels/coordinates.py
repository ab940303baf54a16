"""Points of an equation as jets: of the coordinates themselves, or of random Fourier features of them.

A jet is a value whose positions, side by side, are the value itself, its first derivatives along some coordinates, its second
ones, and where conditions are periodic the value a period further. A linear layer without a bias treats them all alike.
"""

from typing import Any, Final

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row

_COORDINATES: Final = 2
_TURN: Final = 2 * np.pi


@compiled
def forward(x: Any, y: Any, step: Any, buffers: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the jet of points. Nothing that is trained stands before it, so that there is no way back."""
    many, partner = directions(step.along), 1 + step.order * directions(step.along)
    _values(x, y, step, buffers, arena, batch, 0)
    if partner < y.width:
        _values(x, y, step, buffers, arena, batch, partner)
    at = 1
    for c in range(_COORDINATES):
        if step.along >> c & 1:
            if step.groups:
                _wave_slopes(y, step, buffers, arena, batch, c, at, many)
            else:
                for order in range(step.order):
                    _at(y, arena, at + order * many, batch)[:] = 0
                _at(y, arena, at, batch)[c * batch : (c + 1) * batch] = 1
            at += 1


@compiled
def directions(along: int) -> int:
    """Return how many coordinates derivatives are along."""
    many = 0
    for c in range(_COORDINATES):
        many += along >> c & 1
    return many


@compiled
def _at(y: Any, arena: np.ndarray, where: int, batch: int) -> np.ndarray:
    """Return a part of a jet, all channels."""
    return row(arena, y.at, y, 0, where, 0, y.channels * batch, batch)


@compiled
def _values(x: Any, y: Any, step: Any, buffers: np.ndarray, arena: np.ndarray, batch: int, where: int) -> None:
    """Write coordinates, or sin(2πFᵀx) and behind them cos(2πFᵀx), of the points or of those a period further."""
    first = _COORDINATES if where else 0
    points = row(arena, x.at, x, 0, 0, first, _COORDINATES * batch, batch)
    out = _at(y, arena, where, batch)
    if not step.groups:
        out[:] = points
        return
    for k in range(step.groups):
        sines, cosines = (
            out[k * batch : (k + 1) * batch],
            out[(step.groups + k) * batch : (step.groups + k + 1) * batch],
        )
        for b in range(batch):
            angle = 0.0
            for c in range(_COORDINATES):
                angle += buffers[step.mean + c * step.groups + k] * points[c * batch + b]
            sines[b], cosines[b] = np.sin(_TURN * angle), np.cos(_TURN * angle)


@compiled
def _wave_slopes(
    y: Any, step: Any, buffers: np.ndarray, arena: np.ndarray, batch: int, c: int, at: int, many: int
) -> None:
    """Write the derivatives of Fourier features along coordinate c: ``sin' = r cos``, ``cos' = −r sin``, ``f'' = −r² f``."""
    kind, half = arena.dtype.type, step.groups * batch
    value, first = _at(y, arena, 0, batch), _at(y, arena, at, batch)
    for k in range(step.groups):
        rate = kind(_TURN * buffers[step.mean + c * step.groups + k])
        for j in range(k * batch, (k + 1) * batch):
            first[j], first[half + j] = rate * value[half + j], -rate * value[j]
        if step.order == 2:
            second = _at(y, arena, at + many, batch)
            for j in range(k * batch, (k + 1) * batch):
                second[j], second[half + j] = -rate * rate * value[j], -rate * rate * value[half + j]
