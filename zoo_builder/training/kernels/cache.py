"""Where compiled loops are kept: where Numba keeps functions, in a folder named after all that they are made of.

What Numba keeps of a function it checks against that function's own file alone, not against the files of what it calls. A
folder here is of one state of this room's sources, one Numba and one processor; another state is kept in another folder.

What runs always comes from there: `zoo_builder.training.kernels.apart` says why.
"""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import llvmlite
import numba
from llvmlite.binding import get_host_cpu_name

from zoo_builder.training.kernels.apart import compiled_apart
from zoo_builder.training.kernels.internals import CacheLocator, CompileResultCacheImpl, FunctionCache

#: How many folders stay, those used last: of an older state, or of other machines that share the place.
_STAY: Final = 8
_FOLDER: Final = re.compile(r"loops-[0-9a-f]{16}")


def _digest() -> str:
    """Return the digest of all that loops are made of; which instructions the processor has, Numba checks itself."""
    sources = [
        (file.name, sha256(file.read_bytes()).hexdigest())
        for file in sorted(files(__package__).iterdir(), key=lambda file: file.name)
        if file.name.endswith(".py")
    ]
    made_of = (numba.__version__, llvmlite.__version__, get_host_cpu_name(), sources)
    return sha256(repr(made_of).encode()).hexdigest()[:16]


#: As everything was when it was imported.
_DIGEST: Final = _digest()


def _changed() -> bool:
    try:
        return _digest() != _DIGEST
    except OSError:  # the sources are gone
        return True


def _tidy(place: Path) -> None:
    """Remove the folders that were used longest ago. Who still runs from one compiles anew."""
    with suppress(OSError):  # others tidy, too
        found = [path for path in place.iterdir() if _FOLDER.fullmatch(path.name)]
        for path in sorted(found, key=lambda path: path.stat().st_mtime)[:-_STAY]:
            shutil.rmtree(path, ignore_errors=True)


class _Locator(CacheLocator):
    """A folder in the place that Numba found."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def get_cache_path(self) -> str:
        return str(Path(self._found.get_cache_path()) / f"loops-{_DIGEST}")

    def get_source_stamp(self) -> Any:
        return self._found.get_source_stamp()

    def get_disambiguator(self) -> str:
        return str(self._found.get_disambiguator())

    def ensure_cache_path(self) -> None:
        path = Path(self.get_cache_path())
        fresh = not path.exists()
        super().ensure_cache_path()  # type: ignore[no-untyped-call]
        if fresh:
            _tidy(path.parent)


class _Places(CompileResultCacheImpl):
    @property
    def locator(self) -> _Locator:
        return _Locator(super().locator)


class Cache(FunctionCache):
    """What is kept of one function.

    Raises
    ------
    RuntimeError
        Numba found no place that can be written.
    """

    _impl_class = _Places

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._named = function.__module__, function.__qualname__
        with suppress(OSError):  # not there yet
            os.utime(self.cache_path)  # used now

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what is kept for the types of arguments, after another process has compiled it where nothing is.

        None where that cannot be: this process then compiles by itself.
        """
        found = self._kept(sig, target_context)
        if found is None and compiled_apart(*self._named, sig):
            found = self._kept(sig, target_context)
        return found

    def _kept(self, sig: Any, target_context: Any) -> Any:
        # Processes that save one function for different types at once may give both the same file.
        found = super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        return found if found is None or found.signature.args == tuple(sig) else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, unless a source has changed since: it would be of neither state."""
        if not _changed():
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
