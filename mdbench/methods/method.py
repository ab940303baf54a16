"""What a method is, and loading one from a file or by name.

A method is a Python object with ``fit(models, labels, task)`` and ``predict(models)``, or a class that makes one; a
scikit-learn estimator or pipeline is one as it stands. Beside it, as attributes or as names in its file, may stand

``name``       what to call it; the file's name without ``.py`` where it is not given
``columns``    the columns it wants, or a mapping task → columns where it does not answer every task alike; ``"a|b"`` is
               a, or b in cases whose zoos have no a; ``"a|"`` is a, or nothing
``track``      ``"inductive"`` (the default) or ``"transductive"``: it uses the test table as a batch
``zero_shot``  ``True`` where it is not trained at all; it then needs no ``fit``
"""

import copy
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

from mdbench.errors import MdbenchError, nearest
from mdbench.extras import OPTIONAL, missing
from mdbench.methods.imports import beside, imported_source
from mdbench.methods.interrupts import pressed
from mdbench.paths import PACKAGE
from mdbench.tables import TASKS, check_visible, find_task

Track = Literal["inductive", "transductive"]
TRACKS: Final = ("inductive", "transductive")
ENTRY_POINTS: Final = "mdbench.methods"


class MethodError(MdbenchError):
    """A method cannot be loaded, or broke a rule when it was asked.

    Attributes
    ----------
    traceback : the method's own frames of the traceback; empty where it raised nothing.
    """

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


@dataclass(frozen=True, eq=False)
class Method:
    """A method that can be asked.

    Attributes
    ----------
    name : what results call it.
    columns : task → the columns it wants, see `alternatives`; every task it answers is a key. None: every task, with the
        default columns.
    track : whether it sees test rows one by one or as a batch.
    zero_shot : whether it is not trained at all.
    prototype : the object or class that stands in the file; never fitted itself.
    file : where it was read from; None for an object handed over in Python.
    source_sha256 : digest of its file and of what it imports from beside it, or from elsewhere but installed packages; None
        without a file.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]] | None
    track: Track
    zero_shot: bool
    prototype: Any
    file: Path | None = None
    source_sha256: str | None = None

    def answers(self, task: str) -> bool:
        """Tell whether the method is meant for a task."""
        return self.columns is None or task in self.columns

    def fresh(self) -> Any:
        """Return an untrained copy of the method."""
        if inspect.isclass(self.prototype):
            return self.prototype()
        if hasattr(self.prototype, "get_params"):
            from sklearn.base import clone

            return clone(self.prototype)
        return copy.deepcopy(self.prototype)


def as_method(thing: Any) -> Method:
    """Read what a method says of itself.

    Parameters
    ----------
    thing : the object or class.

    Raises
    ------
    MethodError
        It has no ``predict`` (or no ``fit``, and is not zero-shot), a wrong track, or asks for a forbidden column.
    """
    own = getattr(thing, "__name__", type(thing).__name__)
    try:
        return _described(thing, {}, own)
    except MethodError as error:
        raise MethodError(f"method {own}: {error}") from error


def _described(thing: Any, home: Mapping[str, Any], name: str) -> Method:
    """Return what a method says of itself; what is wrong is said without its name.

    Parameters
    ----------
    thing : the object or class.
    home : names that stand beside it in its file; they are used where the object has no such attribute.
    name : what to call it where it does not say.
    """

    def says(attribute: str, otherwise: object) -> Any:
        return getattr(thing, attribute, home.get(attribute, otherwise))

    title = says("name", name)
    if not isinstance(title, str) or not title.strip() or len(title) > 80 or not title.isprintable():
        raise MethodError("its name must be a printable text of at most 80 characters")
    track, zero_shot = says("track", "inductive"), says("zero_shot", False)
    if track not in TRACKS:
        raise MethodError(f"track {track!r} does not exist; there are {' and '.join(TRACKS)}")
    if not callable(getattr(thing, "predict", None)):
        raise MethodError("it has no predict(models)")
    if not zero_shot and not callable(getattr(thing, "fit", None)):
        raise MethodError("it has no fit(models, labels, task), and does not say zero_shot = True")
    return Method(title, _columns(says("columns", None), track), track, bool(zero_shot), thing)


def alternatives(column: str) -> tuple[str, ...]:
    """Return the columns that a method would have, as it declares them in one text, the one that it prefers first.

    The last one is an empty text where it can do without.
    """
    return tuple(column.split("|"))


def _columns(declared: Any, track: Track) -> dict[str, tuple[str, ...]] | None:
    if declared is None:
        return None
    by_task = declared if isinstance(declared, Mapping) else dict.fromkeys(TASKS, declared)
    columns = {}
    for task, names in by_task.items():
        listed = isinstance(names, list | tuple) and all(isinstance(column, str) for column in names)
        if not listed or not isinstance(task, str):
            raise MethodError("columns must be a list of column names, or a mapping task → such a list")
        try:
            every = [one for column in names for one in alternatives(column.removesuffix("|"))]
            check_visible(every, transductive=track == "transductive")
            columns[find_task(task).name] = tuple(dict.fromkeys(names))
        except MdbenchError as error:
            raise MethodError(str(error)) from error
    return columns


@cache
def named_methods() -> dict[str, Path]:
    """Return the methods known by name: the modules of every package registered under ``mdbench.methods``.

    Returns
    -------
    Name → file. Nothing is imported.
    """
    files = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        package = importlib.util.find_spec(entry.value)
        for folder in (package and package.submodule_search_locations) or []:
            for file in sorted(Path(folder).glob("[!_]*.py")):
                files[file.stem] = file
    return files


def find_method(name_or_path: str) -> Path:
    """Return the file of a method, given its name or its file.

    Raises
    ------
    MethodError
        There is none.
    """
    known = named_methods()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    if path.suffix == ".py" and path.is_file():
        return path.resolve()
    if path.suffix == ".py" or path.exists():
        raise MethodError(f"{name_or_path}: no such Python file")
    near = nearest(name_or_path, known)
    raise MethodError(f"method {name_or_path!r} does not exist; give a file, or one of {', '.join(known)}{near}")


def load_method(file: Path) -> Method:
    """Run a method file and return the method in it.

    This executes the file: callers who do not trust it do so in a process of its own.

    Parameters
    ----------
    file : a Python file with one method: the object or class called ``method``, or the only one in it.

    Raises
    ------
    MethodError
        The file cannot be run, has no method or several, or the method breaks a rule.
    """
    try:
        source = file.read_bytes()
    except OSError as error:
        raise MethodError(f"{file}: {error.strerror or error}") from error
    with beside(file):
        method, module = read_method(file, source)
    return replace(method, source_sha256=hashlib.sha256(source + imported_source(module)).hexdigest())


def loaded_method(thing: Any) -> Method:
    """Return a method, given its name, its file, or itself; raises as `find_method`, `load_method` and `as_method` do."""
    return load_method(find_method(str(thing))) if isinstance(thing, str | Path) else as_method(thing)


def read_method(file: Path, source: bytes) -> tuple[Method, ModuleType]:
    """Run the source of a method file and return the method in it, without the digest, and its module; see `load_method`."""
    module = _run(file, source)
    try:
        method = _described(_find_in(module), vars(module), file.stem)
    except MethodError as error:
        raise MethodError(f"{file.name}: {error}") from error
    return replace(method, file=file), module


def _run(file: Path, source: bytes) -> ModuleType:
    module = ModuleType(f"mdbench_method_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    with pressed() as ctrl_c:
        try:
            # Not by Python's importer: what runs is then what the digest says, never a compiled file of a second ago.
            exec(compile(source, str(file), "exec"), vars(module))  # noqa: S102 - running it is what this is for
        except SyntaxError as error:
            raise MethodError(f"{error.filename or file}, line {error.lineno}: syntax error: {error.msg}") from error
        except BaseException as error:
            if ctrl_c:
                raise
            raise MethodError(f"{file.name} cannot be loaded: {describe(error)}", own_frames(error, file)) from error
    return module


def _find_in(module: ModuleType) -> Any:
    if hasattr(module, "method"):
        return module.method
    zero_shot = getattr(module, "zero_shot", False)

    def is_method(thing: object) -> bool:
        if inspect.ismodule(thing) or not callable(getattr(thing, "predict", None)):
            return False
        if inspect.isclass(thing) and thing.__module__ != module.__name__:
            return False
        return callable(getattr(thing, "fit", None)) or getattr(thing, "zero_shot", zero_shot) is True

    found = {name: thing for name, thing in vars(module).items() if not name.startswith("_") and is_method(thing)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise MethodError(f"there are several methods ({', '.join(found)}); call the one that is meant `method`")
    raise MethodError("there is no method: nothing with fit(models, labels, task) and predict(models)")


def describe(error: BaseException) -> str:
    """Return an exception as one line; where an extra installs what is missing, with the way to get it."""
    if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
        return f"{type(error).__name__}: {missing(error.name, OPTIONAL[error.name])}"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def own_frames(error: BaseException, file: Path | None) -> str:
    """Return the traceback of an exception, cut to the method's own frames.

    Parameters
    ----------
    error : what a method raised.
    file : the method's file: frames from there downwards are kept. None keeps all frames that are not mdbench's.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if file:
        first = next((i for i, frame in enumerate(frames) if Path(frame.filename) == file), len(frames))
        own = frames[first:]
    else:
        own = [frame for frame in frames if PACKAGE not in Path(frame.filename).resolve().parents]
    return "".join([*traceback.format_list(own), *traceback.format_exception_only(error)]).rstrip()
