"""How loops are compiled: once on a machine, for they are kept."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

from mdbench.errors import MdbenchError, reason
from zoo_builder.training.kernels.cache import Cache
from zoo_builder.training.kernels.internals import keep

F = TypeVar("F", bound=Callable[..., Any])

#: Sums may be taken in any order, which lets them be vectorised. NaN and infinity keep their meaning: divergence must show.
_REASSOCIATED = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: F) -> F:
    """Have a function compiled for the types that it is first called with, or taken from where it was kept.

    Raises
    ------
    MdbenchError
        There is no folder to keep it in.
    """
    dispatcher: Any = njit(nogil=True, error_model="numpy", fastmath=_REASSOCIATED)(function)
    try:
        keep(dispatcher, Cache(function))
    except RuntimeError as error:
        raise MdbenchError(
            f"compiled loops have no place to be kept ({reason(error)}); "
            "set NUMBA_CACHE_DIR to a folder that can be written"
        ) from error
    return cast(F, dispatcher)
