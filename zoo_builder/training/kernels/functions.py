"""Exponential, error function and hyperbolic tangent: vectorised in single precision, those of the C library in double.

What the compiler knows of them by name it calls number by number, which takes ten to fifty times as long as the polynomials
here: of Cephes (Moshier) for the exponential, of Eigen (rational minimax) for the others. Each is within 4e-7 of the truth,
the exponential in relation to it.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import overload

from zoo_builder.training.kernels.compilation import compiled

#: Sums in these functions are to be taken in the order in which they stand.
_AS_IT_STANDS: Final[Any] = {"fastmath": {"contract"}, "error_model": "numpy"}

#: What makes the last bits of a number of single precision count integers.
_MAGIC: Final = np.float32(1.5 * 2**23)
_BIAS, _FRACTION = np.int32(127), np.int32(23)
_LEAST: Final = np.float32(-87)
_LOG2_E: Final = np.float32(1.44269504088896341)
#: ln 2 in two parts, the first of few bits.
_LN2: Final = (np.float32(0.693359375), np.float32(-2.12194440e-4))
_EXPONENTIAL: Final = tuple(
    np.float32(c) for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
_EXPONENTIAL_FIRST: Final = np.float32(1.9875691500e-4)

_ERF_MOST: Final = np.float32(4)
_ERF_ABOVE_FIRST: Final = np.float32(-2.72614225801306e-10)
_ERF_ABOVE: Final = tuple(
    np.float32(c)
    for c in (
        2.77068142495902e-08,
        -2.10102402082508e-06,
        -5.69250639462346e-05,
        -7.34990630326855e-04,
        -2.95459980854025e-03,
        -1.60960333262415e-02,
    )
)
_ERF_BELOW_FIRST: Final = np.float32(-1.45660718464996e-05)
_ERF_BELOW: Final = tuple(
    np.float32(c) for c in (-2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02)
)

_TANH_MOST: Final = np.float32(7.9)
_TANH_ABOVE_FIRST: Final = np.float32(-2.76076847742355e-16)
_TANH_ABOVE: Final = tuple(
    np.float32(c)
    for c in (
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    )
)
_TANH_BELOW_FIRST: Final = np.float32(1.19825839466702e-06)
_TANH_BELOW: Final = tuple(np.float32(c) for c in (1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03))

#: 2 artanh(x) / x as a series in x².
_ODD_FIRST: Final = np.float32(2 / 15)
_ODD: Final = tuple(np.float32(2 / n) for n in (13, 11, 9, 7, 5, 3, 1))


def exponential(x: Any) -> Any:
    """Return eˣ of a number that is not above zero."""
    raise NotImplementedError


@overload(exponential, jit_options=_AS_IT_STANDS)
def _exponential(x: Any) -> Callable[[Any], Any]:
    if x == types.float32:

        def single(x: Any) -> Any:
            x = _LEAST if x < _LEAST else x
            counted = x * _LOG2_E + _MAGIC
            whole = counted - _MAGIC
            rest = x - whole * _LN2[0] - whole * _LN2[1]
            series = _EXPONENTIAL_FIRST
            for c in _EXPONENTIAL:
                series = series * rest + c
            series = series * rest * rest + rest + np.float32(1)
            power = (np.float32(counted).view(np.int32) + _BIAS) << _FRACTION
            return series * np.int32(power).view(np.float32)

        return single

    def double(x: Any) -> Any:
        return math.exp(x)

    return double


def erf(x: Any) -> Any:
    """Return the error function."""
    raise NotImplementedError


@overload(erf, jit_options=_AS_IT_STANDS)
def _erf(x: Any) -> Callable[[Any], Any]:
    if x == types.float32:

        def single(x: Any) -> Any:
            x = -_ERF_MOST if x < -_ERF_MOST else (_ERF_MOST if x > _ERF_MOST else x)
            square, above, below = x * x, _ERF_ABOVE_FIRST, _ERF_BELOW_FIRST
            for c in _ERF_ABOVE:
                above = above * square + c
            for c in _ERF_BELOW:
                below = below * square + c
            return x * above / below

        return single

    def double(x: Any) -> Any:
        return math.erf(x)

    return double


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    raise NotImplementedError


@overload(tanh, jit_options=_AS_IT_STANDS)
def _tanh(x: Any) -> Callable[[Any], Any]:
    if x == types.float32:

        def single(x: Any) -> Any:
            x = -_TANH_MOST if x < -_TANH_MOST else (_TANH_MOST if x > _TANH_MOST else x)
            square, above, below = x * x, _TANH_ABOVE_FIRST, _TANH_BELOW_FIRST
            for c in _TANH_ABOVE:
                above = above * square + c
            for c in _TANH_BELOW:
                below = below * square + c
            return x * above / below

        return single

    def double(x: Any) -> Any:
        return math.tanh(x)

    return double


def logarithm(x: Any) -> Any:
    """Return ln(1 + x) of a number from 0 to 1."""
    raise NotImplementedError


@overload(logarithm, jit_options=_AS_IT_STANDS)
def _logarithm(x: Any) -> Callable[[Any], Any]:
    if x == types.float32:

        def single(x: Any) -> Any:
            # 2 artanh(s) with s = x / (2 + x) up to a third, whose ninth odd power is below rounding.
            s = x / (np.float32(2) + x)
            square, series = s * s, _ODD_FIRST
            for c in _ODD:
                series = series * square + c
            return s * series

        return single

    def double(x: Any) -> Any:
        return math.log1p(x)

    return double


@compiled
def sigmoid(x: float, one: float) -> float:
    """Return 1 / (1 + e⁻ˣ); `one` is 1 in the number's precision."""
    part = exponential(-abs(x))
    share: float = (one if x >= 0 else part) / (one + part)
    return share
