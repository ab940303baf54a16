"""Activations other than ReLU: smooth functions of each number, with their first two derivatives."""

from typing import Any, Final

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.functions import erf, exponential, logarithm, sigmoid, tanh
from zoo_builder.training.kernels.layout import GELU, GELU_BY_TANH, SILU, SOFTPLUS, TANH, row

#: √½, 1 / √(2π), √(2/π), and the cubic part of the GELU in its form with a tanh (Hendrycks and Gimpel, 2016).
_ROOT, _DENSITY, _SCALE, _CUBIC = 0.5**0.5, (2 * np.pi) ** -0.5, (2 / np.pi) ** 0.5, 0.044715
#: Above it, PyTorch's softplus is its argument.
_LINEAR: Final = 20.0


@compiled
def forward(x: Any, y: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """Write the output."""
    n = x.channels * batch
    for h in range(x.height):
        for w in range(x.width):
            values(step.function, row(arena, x.at, x, h, w, 0, n, batch), row(arena, y.at, y, h, w, 0, n, batch))


@compiled
def backward(x: Any, y: Any, step: Any, arena: np.ndarray, scratch: np.ndarray, batch: int) -> None:
    """Write the input's gradient, or what it adds to it."""
    if x.slope < 0:
        return
    n, most = x.channels * batch, scratch.shape[1]
    for h in range(x.height):
        for w in range(x.width):
            seen, slope = row(arena, x.at, x, h, w, 0, n, batch), row(arena, y.slope, y, h, w, 0, n, batch)
            out = row(arena, x.slope, x, h, w, 0, n, batch)
            for first in range(0, n, most):
                share = scratch[0, : min(most, n - first)]
                slopes(step.function, seen[first:], share)
                _pass_on(slope[first:], share, out[first:], step.opens)


@compiled
def forward_along(
    x: Any, y: Any, step: Any, arena: np.ndarray, along: np.ndarray, scratch: np.ndarray, batch: int
) -> None:
    """Write the output's derivative along a direction."""
    n, most = x.channels * batch, scratch.shape[1]
    for h in range(x.height):
        for w in range(x.width):
            seen, moved = row(arena, x.at, x, h, w, 0, n, batch), row(along, x.at, x, h, w, 0, n, batch)
            out = row(along, y.at, y, h, w, 0, n, batch)
            for first in range(0, n, most):
                share = scratch[0, : min(most, n - first)]
                slopes(step.function, seen[first:], share)
                _pass_on(moved[first:], share, out[first:], 1)


@compiled
def backward_along(
    x: Any, y: Any, step: Any, arena: np.ndarray, along: np.ndarray, scratch: np.ndarray, batch: int
) -> None:
    """Write the derivative of the input's gradient, or what it adds to it."""
    if x.slope < 0:
        return
    n, most = x.channels * batch, scratch.shape[1]
    for h in range(x.height):
        for w in range(x.width):
            seen, moved = row(arena, x.at, x, h, w, 0, n, batch), row(along, x.at, x, h, w, 0, n, batch)
            slope, pull = row(arena, y.slope, y, h, w, 0, n, batch), row(along, y.slope, y, h, w, 0, n, batch)
            out = row(along, x.slope, x, h, w, 0, n, batch)
            for first in range(0, n, most):
                share, bend = scratch[0, : min(most, n - first)], scratch[1, : min(most, n - first)]
                slopes(step.function, seen[first:], share)
                bends(step.function, seen[first:], bend)
                _pass_on(pull[first:], share, out[first:], step.opens)
                for j in range(len(bend)):
                    bend[j] *= moved[first + j]
                _pass_on(slope[first:], bend, out[first:], 0)


@compiled
def _pass_on(slope: np.ndarray, share: np.ndarray, out: np.ndarray, opens: int) -> None:
    if opens:
        for j in range(len(share)):
            out[j] = slope[j] * share[j]
    else:
        for j in range(len(share)):
            out[j] += slope[j] * share[j]


@compiled
def values(function: int, x: np.ndarray, out: np.ndarray) -> None:
    """Write the function's values."""
    kind = out.dtype.type
    one, half = kind(1), kind(0.5)
    if function == GELU:
        root = kind(_ROOT)
        for j in range(len(out)):
            out[j] = half * x[j] * (one + erf(x[j] * root))
    elif function == GELU_BY_TANH:
        scale, cubic = kind(_SCALE), kind(_CUBIC)
        for j in range(len(out)):
            z = x[j]
            out[j] = half * z * (one + tanh(scale * (z + cubic * z * z * z)))
    elif function == TANH:
        for j in range(len(out)):
            out[j] = tanh(x[j])
    elif function == SILU:
        for j in range(len(out)):
            out[j] = x[j] * sigmoid(x[j], one)
    elif function == SOFTPLUS:
        zero, linear = kind(0), kind(_LINEAR)
        for j in range(len(out)):
            z = x[j]
            soft = (zero if z < 0 else z) + logarithm(exponential(-abs(z)))
            out[j] = z if z > linear else soft
    else:
        for j in range(len(out)):
            out[j] = sigmoid(x[j], one)


@compiled
def slopes(function: int, x: np.ndarray, out: np.ndarray) -> None:
    """Write first derivatives."""
    kind = out.dtype.type
    one, half, three = kind(1), kind(0.5), kind(3)
    if function == GELU:
        root, density = kind(_ROOT), kind(_DENSITY)
        for j in range(len(out)):
            z = x[j]
            out[j] = half * (one + erf(z * root)) + z * density * exponential(-half * z * z)
    elif function == GELU_BY_TANH:
        scale, cubic = kind(_SCALE), kind(_CUBIC)
        for j in range(len(out)):
            z = x[j]
            t = tanh(scale * (z + cubic * z * z * z))
            out[j] = half * (one + t) + half * z * (one - t * t) * scale * (one + three * cubic * z * z)
    elif function == TANH:
        for j in range(len(out)):
            t = tanh(x[j])
            out[j] = one - t * t
    elif function == SILU:
        for j in range(len(out)):
            share = sigmoid(x[j], one)
            out[j] = share + x[j] * share * (one - share)
    elif function == SOFTPLUS:
        linear = kind(_LINEAR)
        for j in range(len(out)):
            share = sigmoid(x[j], one)
            out[j] = one if x[j] > linear else share
    else:
        for j in range(len(out)):
            share = sigmoid(x[j], one)
            out[j] = share * (one - share)


@compiled
def bends(function: int, x: np.ndarray, out: np.ndarray) -> None:
    """Write second derivatives."""
    kind = out.dtype.type
    zero, one, half, two, three = kind(0), kind(1), kind(0.5), kind(2), kind(3)
    if function == GELU:
        density = kind(_DENSITY)
        for j in range(len(out)):
            square = x[j] * x[j]
            out[j] = density * exponential(-half * square) * (two - square)
    elif function == GELU_BY_TANH:
        scale, cubic = kind(_SCALE), kind(_CUBIC)
        for j in range(len(out)):
            z = x[j]
            t = tanh(scale * (z + cubic * z * z * z))
            inner, rest = scale * (one + three * cubic * z * z), one - t * t
            out[j] = rest * (inner + z * (three * scale * cubic * z - t * inner * inner))
    elif function == TANH:
        for j in range(len(out)):
            t = tanh(x[j])
            out[j] = -two * t * (one - t * t)
    elif function == SILU:
        for j in range(len(out)):
            share = sigmoid(x[j], one)
            out[j] = share * (one - share) * (two + x[j] * (one - two * share))
    elif function == SOFTPLUS:
        linear = kind(_LINEAR)
        for j in range(len(out)):
            share = sigmoid(x[j], one)
            out[j] = zero if x[j] > linear else share * (one - share)
    else:
        for j in range(len(out)):
            share = sigmoid(x[j], one)
            out[j] = share * (one - share) * (one - two * share)


@compiled
def thirds(function: int, x: np.ndarray, out: np.ndarray) -> None:
    """Write third derivatives, of those that jets have: GELU, tanh, SiLU and softplus."""
    kind = out.dtype.type
    zero, one, half, two, three, six = kind(0), kind(1), kind(0.5), kind(2), kind(3), kind(6)
    if function == GELU:
        density, four = kind(_DENSITY), kind(4)
        for j in range(len(out)):
            square = x[j] * x[j]
            out[j] = density * exponential(-half * square) * x[j] * (square - four)
    elif function == TANH:
        for j in range(len(out)):
            t = tanh(x[j])
            out[j] = (one - t * t) * (six * t * t - two)
    elif function == SILU:
        for j in range(len(out)):
            share = sigmoid(x[j], one)
            rest, tilt = share * (one - share), one - two * share
            out[j] = rest * (three * tilt + x[j] * (one - six * rest))
    else:
        linear = kind(_LINEAR)
        for j in range(len(out)):
            share = sigmoid(x[j], one)
            out[j] = zero if x[j] > linear else share * (one - share) * (one - two * share)
