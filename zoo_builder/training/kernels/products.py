"""Matrix products: the BLAS that SciPy brings, called from compiled loops."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba.extending import overload

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.internals import BLAS, ensure_blas, get_blas_kind

#: Columns of a matrix product whose operands the nearest cache holds.
COLUMNS: Final = 64
#: Up to so many multiply–adds OpenBLAS multiplies without copying its operands first.
_SMALL: Final = 1_000_000
#: Fewer examples than this are not worth a product of their own.
_FEWEST: Final = 32


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
def portion(size: int, batch: int, most: int) -> int:
    """Return how many examples to multiply at once: a few from the nearest cache, or all where no product is small."""
    small = _SMALL // size
    return batch if small < _FEWEST else min(small, most, batch)
