"""What a method's file imports: packages, and files beside it."""

import ast
import inspect
import site
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from mdbench.extras import OPTIONAL
from mdbench.paths import PACKAGE
from mdbench.version import PACKAGES

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
    """Return what an answer depends on of what a method's module imports, at its top or when it is asked.

    The source of files beside it, and of others that no package installed, and of what these import; and the versions of
    installed packages, but for those that every answer is kept with (`mdbench.version`).
    """
    folders = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    own = Path(str(module.__file__)).resolve()

    def installed(path: Path) -> bool:
        return any(folder in path.parents for folder in folders)

    def counts(path: Path) -> bool:
        # Of an installed package of methods, what lies beside is the method's own.
        foreign = installed(path) and not (installed(own) and own.parent in path.parents)
        return path.suffix == ".py" and path.is_file() and not foreign and PACKAGE not in path.parents and path != own

    seen: dict[Path, bytes] = {}
    packages: set[str] = set()
    waiting: list[tuple[Path, ModuleType | None]] = [(own, module)]
    while waiting:
        path, home = waiting.pop()
        found = [*_homes(home), *_named(path, own.parent)]
        packages |= {name.partition(".")[0] for name in imported_names(path.read_bytes())}
        for place, other in found:
            if place not in seen and counts(place):
                seen[place] = place.read_bytes()
                waiting.append((place, other))
    return b"".join(source for _, source in sorted(seen.items())) + _versions(packages)


def _homes(module: ModuleType | None) -> Iterator[tuple[Path, ModuleType]]:
    """Yield the modules that are in a module, or that things in it come from, with their files."""
    for thing in vars(module).values() if module else ():
        home = thing if inspect.ismodule(thing) else sys.modules.get(getattr(thing, "__module__", None) or "")
        if home is not None and not _is_python_s(home.__name__) and getattr(home, "__file__", None):
            yield Path(str(home.__file__)).resolve(), home


def _named(path: Path, beside: Path) -> Iterator[tuple[Path, ModuleType | None]]:
    """Yield the files of the modules that a source names in its imports, and what is loaded of them."""
    try:
        statements = list(ast.walk(syntax_tree(path.read_bytes())))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for one in statements:
        if isinstance(one, ast.Import):
            level, names = 0, [alias.name for alias in one.names]
        elif isinstance(one, ast.ImportFrom):
            level, base = one.level, f"{one.module}." if one.module else ""
            names = [base[:-1], *(f"{base}{alias.name}" for alias in one.names)]
        else:
            continue
        for name in names:
            if not level and _is_python_s(name):
                continue
            loaded = sys.modules.get(name) if name and not level else None
            if loaded is not None and getattr(loaded, "__file__", None):
                yield Path(str(loaded.__file__)).resolve(), loaded
                continue
            for folder in (
                [path.parents[level - 1]] if 0 < level <= len(path.parents) else [beside, *map(Path, sys.path)]
            ):
                place = folder.joinpath(*name.split("."))
                there = [one for one in (place.with_name(f"{place.name}.py"), place / "__init__.py") if one.is_file()]
                yield from ((one.resolve(), None) for one in there)
                if there:
                    break


def _is_python_s(module: str) -> bool:
    """Tell whether a module is of Python's own library."""
    return module.partition(".")[0] in sys.stdlib_module_names


def _versions(packages: Iterable[str]) -> bytes:
    """Return the versions of installed packages, but for those that every answer is kept with."""
    from importlib.metadata import PackageNotFoundError, version  # takes long to import

    lines = []
    for name in sorted(packages):
        if _is_installed(name) and name not in ("sklearn", *PACKAGES):
            with suppress(PackageNotFoundError):
                lines.append(f"{name}=={version(name)}\n")
    return "".join(lines).encode()
