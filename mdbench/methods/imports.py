"""What a method's file imports: packages, and files beside it."""

import ast
import inspect
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from mdbench.extras import OPTIONAL
from mdbench.paths import PACKAGE

_PARSING = threading.Lock()


def syntax_tree(source: str | bytes) -> ast.Module:
    """Return what a Python source says, as `ast.parse` does and raises, one thread at a time.

    Threads that parse at once share one count of how deep they are, and some of them end with a SystemError (seen with
    CPython 3.11.7; python/cpython#106905).
    """
    with _PARSING:
        return ast.parse(source)


def imported_names(source: str | bytes) -> frozenset[str]:
    """Return the names of the modules that a Python source imports, anywhere in it; none where it cannot be read."""
    try:
        statements = list(ast.walk(syntax_tree(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # running it will say so
        return frozenset()
    named = {alias.name for one in statements if isinstance(one, ast.Import) for alias in one.names}
    return frozenset(
        named | {one.module or "" for one in statements if isinstance(one, ast.ImportFrom) and not one.level}
    )


def installed_imports(source: str | bytes) -> frozenset[str]:
    """Return the modules of installed packages that a Python source imports: what may be loaded before any of it runs.

    Neither Python's own modules, which are fast or loaded already, nor anything that lies beside the source.
    """
    return frozenset(name for name in imported_names(source) if _is_installed(name.partition(".")[0]))


@cache
def _is_installed(package: str) -> bool:
    """Tell whether a package lies where packages are installed, and is neither Python's nor one of ours."""
    if package in sys.stdlib_module_names or package in ("", "mdbench", "baselines", "zoo_builder", "leaderboard"):
        return False
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return PathFinder.find_spec(package, [*site.getsitepackages(), *user]) is not None


def optional_imports(source: str) -> list[str]:
    """Return the packages that a Python source imports and that only an extra of mdbench installs."""
    packages = _packages(source)
    return [package for package in OPTIONAL if package in packages]


def _packages(source: str | bytes) -> set[str]:
    return {name.partition(".")[0] for name in imported_names(source)}


@contextmanager
def beside(file: Path | None) -> Iterator[None]:
    """Stand around a method's code: it may import what lies beside its file, by its bare name.

    The folder is searched last, wherever `sys.path` has it, so that nothing there hides an installed module.

    Parameters
    ----------
    file : the method's file; None for an object handed over in Python, for which nothing changes.
    """
    if file is None:
        yield
        return
    finder = _Beside(file.resolve())
    folder = finder.file.parent
    taken = [(place, path) for place, path in enumerate(sys.path) if Path(path).resolve() == folder]
    for _, path in taken:
        sys.path.remove(path)
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for place, path in taken:
            sys.path.insert(place, path)


class _Beside:
    """Finds modules in a method's folder, but never a method in the place of a library that is not installed."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is; importlib calls this when nobody else has found it."""
        if path is not None:  # within a package, which knows its own folders
            return None
        spec = PathFinder.find_spec(name, [str(self.file.parent)], target)
        if spec and spec.origin and spec.submodule_search_locations is None:
            found = Path(spec.origin)
            # Whoever imports its own name means a library.
            if found == self.file or (found.suffix == ".py" and name in _packages(found.read_bytes())):
                return None
        return spec


def imported_source(module: ModuleType) -> bytes:
    """Return the source of what a method's module has imported: files beside it, and others that no package installed."""
    folders = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    own = Path(str(module.__file__)).resolve().parent

    def installed(path: Path) -> bool:
        return any(folder in path.parents for folder in folders)

    def counts(path: Path) -> bool:
        # Of an installed package of methods, what lies beside is the method's own.
        foreign = installed(path) and not (installed(own) and own in path.parents)
        return path.suffix == ".py" and path.is_file() and not foreign and PACKAGE not in path.parents

    seen: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        for thing in vars(waiting.pop()).values():
            home = thing if inspect.ismodule(thing) else sys.modules.get(getattr(thing, "__module__", None) or "")
            file = getattr(home, "__file__", None)
            if home is None or not file or file in seen or home is module:
                continue
            path = Path(file).resolve()
            if counts(path):
                seen[file] = path.read_bytes()
                waiting.append(home)
    return b"".join(source for _, source in sorted(seen.items()))
