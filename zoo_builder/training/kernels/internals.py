"""What the compiled loops use of Numba that it does not promise to keep: all of it, and only here."""

from typing import Any

import numba

from mdbench.errors import MdbenchError, reason

__all__ = ["BLAS", "CacheLocator", "CompileResultCacheImpl", "FunctionCache", "ensure_blas", "get_blas_kind", "keep"]

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise MdbenchError("compiled loops need Numba to compile: unset NUMBA_DISABLE_JIT")
try:
    from numba.core.caching import CompileResultCacheImpl, FunctionCache
    from numba.core.caching import _CacheLocator as CacheLocator
    from numba.np.linalg import _BLAS as BLAS
    from numba.np.linalg import ensure_blas, get_blas_kind

    _compiled: Any = numba.njit(lambda: None)
    _HAD = (  # what names must have, besides being there
        CacheLocator.ensure_cache_path,
        CompileResultCacheImpl.locator,
        FunctionCache._impl_class,
        BLAS.numba_xxgemm,
        _compiled._cache,
    )
except (ImportError, AttributeError) as error:
    raise MdbenchError(
        f"the compiled loops do not know Numba {numba.__version__} ({reason(error)}); "
        "they know 0.60 to 0.68: pip install 'numba>=0.60,<0.69'"
    ) from error


def keep(dispatcher: Any, cache: FunctionCache) -> None:
    """Have a compiled function kept in `cache`, where ``cache=True`` would take Numba's own."""
    dispatcher._cache = cache
