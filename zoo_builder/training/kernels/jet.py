"""Activations of jets, whose derivatives they carry on (Griewank and Walther, Evaluating derivatives, 2008, chapter 13).

With x the sum of a linear layer and its bias, ``(f∘x)' = f'(x) x'`` and ``(f∘x)'' = f''(x) x'² + f'(x) x''``. The bias stands
here, for derivatives have none. `zoo_builder.training.kernels.coordinates` says how a jet lies.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels import activation
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.coordinates import directions
from zoo_builder.training.kernels.layout import TANH, row


@compiled
def forward(
    x: Any, y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, scratch: np.ndarray, batch: int
) -> None:
    """Write the output, and add the bias to the input."""
    many = directions(step.along)
    partner = 1 + step.order * many
    first, second = scratch[0, :batch], scratch[1, :batch]
    for c in range(x.channels):
        bias = parameters[step.bias + c]
        inner, value = _part(x, x.at, 0, c, arena, batch), _part(y, y.at, 0, c, arena, batch)
        _shift(inner, bias)
        activation.values(step.function, inner, value)
        _slopes(step.function, inner, value, first)
        if step.order == 2:
            _bends(step.function, inner, value, second)
        for i in range(1, 1 + many):
            slope, out = _part(x, x.at, i, c, arena, batch), _part(y, y.at, i, c, arena, batch)
            for b in range(batch):
                out[b] = first[b] * slope[b]
            if step.order == 2:
                bend, out = _part(x, x.at, i + many, c, arena, batch), _part(y, y.at, i + many, c, arena, batch)
                for b in range(batch):
                    out[b] = first[b] * bend[b] + second[b] * slope[b] * slope[b]
        if partner < x.width:
            inner = _part(x, x.at, partner, c, arena, batch)
            _shift(inner, bias)
            activation.values(step.function, inner, _part(y, y.at, partner, c, arena, batch))


@compiled
def backward(
    x: Any, y: Any, step: Any, gradient: np.ndarray, arena: np.ndarray, scratch: np.ndarray, batch: int
) -> None:
    """Write the bias's gradient and the input's, which nothing else uses."""
    many = directions(step.along)
    partner = 1 + step.order * many
    first, second, third, two = scratch[0, :batch], scratch[1, :batch], scratch[2, :batch], arena.dtype.type(2)
    for c in range(x.channels):
        inner, value = _part(x, x.at, 0, c, arena, batch), _part(y, y.at, 0, c, arena, batch)
        pull, back = _part(y, y.slope, 0, c, arena, batch), _part(x, x.slope, 0, c, arena, batch)
        _slopes(step.function, inner, value, first)
        _bends(step.function, inner, value, second)
        if step.order == 2:
            _thirds(step.function, inner, value, third)
        for b in range(batch):
            back[b] = first[b] * pull[b]
        for i in range(1, 1 + many):
            slope, pull = _part(x, x.at, i, c, arena, batch), _part(y, y.slope, i, c, arena, batch)
            out = _part(x, x.slope, i, c, arena, batch)
            for b in range(batch):
                out[b] = first[b] * pull[b]
                back[b] += second[b] * slope[b] * pull[b]
            if step.order == 2:
                bend, turn = _part(x, x.at, i + many, c, arena, batch), _part(y, y.slope, i + many, c, arena, batch)
                last = _part(x, x.slope, i + many, c, arena, batch)
                for b in range(batch):
                    bent = second[b] * turn[b]
                    back[b] += third[b] * slope[b] * slope[b] * turn[b] + bend[b] * bent
                    out[b] += two * slope[b] * bent
                    last[b] = first[b] * turn[b]
        gradient[step.bias + c] = back.sum()
        if partner < x.width:
            inner, value = _part(x, x.at, partner, c, arena, batch), _part(y, y.at, partner, c, arena, batch)
            pull, back = _part(y, y.slope, partner, c, arena, batch), _part(x, x.slope, partner, c, arena, batch)
            _slopes(step.function, inner, value, first)
            for b in range(batch):
                back[b] = first[b] * pull[b]
            gradient[step.bias + c] += back.sum()


@compiled
def _part(value: Any, start: int, where: int, c: int, arena: np.ndarray, batch: int) -> np.ndarray:
    """Return a channel of a part of a jet, (B,)."""
    return row(arena, start, value, 0, where, c, batch, batch)


@compiled
def _shift(x: np.ndarray, bias: float) -> None:
    for b in range(len(x)):
        x[b] += bias


@compiled
def _slopes(function: int, x: np.ndarray, value: np.ndarray, out: np.ndarray) -> None:
    """Write first derivatives; those of tanh follow from its values, which are there."""
    if function == TANH:
        one = out.dtype.type(1)
        for b in range(len(out)):
            out[b] = one - value[b] * value[b]
    else:
        activation.slopes(function, x, out)


@compiled
def _bends(function: int, x: np.ndarray, value: np.ndarray, out: np.ndarray) -> None:
    """Write second derivatives."""
    if function == TANH:
        one, two = out.dtype.type(1), out.dtype.type(2)
        for b in range(len(out)):
            out[b] = -two * value[b] * (one - value[b] * value[b])
    else:
        activation.bends(function, x, out)


@compiled
def _thirds(function: int, x: np.ndarray, value: np.ndarray, out: np.ndarray) -> None:
    """Write third derivatives."""
    if function == TANH:
        one, two, six = out.dtype.type(1), out.dtype.type(2), out.dtype.type(6)
        for b in range(len(out)):
            square = value[b] * value[b]
            out[b] = (one - square) * (six * square - two)
    else:
        activation.thirds(function, x, out)
