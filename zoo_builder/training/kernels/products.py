"""Matrix products: the BLAS that SciPy brings, called from compiled loops."""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba.extending import overload

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.internals import BLAS, ensure_blas, get_blas_kind

#: Up to so many multiply–adds OpenBLAS multiplies without copying its operands first.
_SMALL: Final = 1_000_000
#: Columns of a matrix product whose operands the nearest cache holds.
_COLUMNS: Final = 64
#: A matrix with more numbers is cut into pieces, so that every product is small.
_LARGE: Final = 20_000
#: Rows of a piece, and columns that it is multiplied by at once.
_ROWS: Final = 128
_FEW: Final = 32


def multiply(
    m: int,
    n: int,
    k: int,
    a: Any,
    lda: int,
    turned_a: bool,
    b: Any,
    ldb: int,
    turned_b: bool,
    c: Any,
    ldc: int,
    keep: bool,
) -> None:
    """``c = a b``, or ``c += a b`` if `keep`: row-major (m, n) = (m, k)(k, n), transposed in memory where turned."""
    raise NotImplementedError


@overload(multiply)
def _by_blas(
    m: Any,
    n: Any,
    k: Any,
    a: Any,
    lda: Any,
    turned_a: Any,
    b: Any,
    ldb: Any,
    turned_b: Any,
    c: Any,
    ldc: Any,
    keep: Any,
) -> Callable[..., None]:
    """Call the BLAS that SciPy brings, as Numba's own linear algebra does."""
    ensure_blas()
    gemm = BLAS().numba_xxgemm(a.dtype)
    kind = ord(get_blas_kind(a.dtype, "multiply"))
    nothing, one = np.zeros(1, str(a.dtype)), np.ones(1, str(a.dtype))
    plain, turned = ord("n"), ord("t")

    def multiply(
        m: Any,
        n: Any,
        k: Any,
        a: Any,
        lda: Any,
        turned_a: Any,
        b: Any,
        ldb: Any,
        turned_b: Any,
        c: Any,
        ldc: Any,
        keep: Any,
    ) -> None:
        # BLAS reads what is row-major as transposed: cᵀ = bᵀ aᵀ.
        first, second = turned if turned_b else plain, turned if turned_a else plain
        before = one if keep else nothing
        gemm(kind, first, second, n, m, k, one.ctypes, b.ctypes, ldb, a.ctypes, lda, before.ctypes, c.ctypes, ldc)

    return multiply


@compiled
def is_cut(height: int, width: int, positions: int, batch: int) -> bool:
    """Tell whether a matrix that multiplies a batch at some positions is cut: a large one, but for one large product."""
    return height * width > _LARGE and (positions > 1 or batch <= _COLUMNS)


@compiled
def pieces(height: int, width: int, batch: int, cut: bool) -> tuple[int, int]:
    """Return rows and columns of a matrix's pieces; those at its end may have fewer."""
    if not cut:
        return height, width
    rows = min(height, _ROWS)
    beside = math.ceil(width * rows * min(batch, _FEW) / _SMALL)
    return rows, math.ceil(width / beside)


@compiled
def examples_at_once(height: int, width: int, batch: int, cut: bool) -> tuple[int, int]:
    """Return how many examples a matrix or its pieces multiply at once, and over how many their gradient sums."""
    if cut:
        return min(batch, _FEW), min(batch, _FEW)
    if height * width > _LARGE:
        return batch, batch
    small = _SMALL // (height * width)
    return min(small, _COLUMNS, batch), min(small, batch)
