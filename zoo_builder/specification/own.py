"""Functions of somebody's own, which a specification names by their import paths (``package.module:function``)."""

import importlib
import re
import sys
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from mdbench.errors import MdbenchError, nearest

#: What an import path looks like.
PATH: Final = re.compile(r"\w+(\.\w+)*:\w+")


def imported(path: str, what: str, purpose: str) -> Callable[..., Any]:
    """Import a function. This runs its module's code: see `zoo_builder.specification.trust`.

    Parameters
    ----------
    path : ``package.module:function``.
    what : what it is in a specification, for messages: ``"architecture"``.
    purpose : what it has to do: ``"makes networks"``.

    Raises
    ------
    MdbenchError
        The path leads nowhere, or to something that cannot be called; or the module raises.
    """
    module, _, attribute = path.partition(":")
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MdbenchError(f"{what} {path}: {error}; {_where(module, attribute, error)}{frames(error)}") from error
    except (Exception, SystemExit) as error:
        raise MdbenchError(f"{what} {path} cannot be imported: {told(error)}") from error
    if not hasattr(home, attribute):
        raise MdbenchError(
            f"{what} {path}: {getattr(home, '__file__', None) or module} has no attribute {attribute!r}"
            f"{nearest(attribute, vars(home))}; give the name of a function in it that {purpose}, or, where another "
            f"{module} is meant, write PYTHONPATH=FOLDER before the command, FOLDER being where that lies"
        )
    found: Any = getattr(home, attribute)
    if not callable(found):
        raise MdbenchError(f"{what} {path} is not a function that {purpose}")
    return found  # type: ignore[no-any-return]


def _where(module: str, attribute: str, error: ModuleNotFoundError) -> str:
    """Return what to do about a module that was not found."""
    if module.endswith(".py"):
        return f"a module is named without .py: {module.removesuffix('.py')}:{attribute}"
    home = (error.name or module).partition(".")[0]
    folders = ["in the folders of PYTHONPATH", *(["in the current folder"] if "" in sys.path else [])]
    return (
        f"{home} is looked for among what is installed, {' and '.join(folders)}: "
        f"write PYTHONPATH=FOLDER before the command, FOLDER being where {home} lies"
    )


def told(error: BaseException) -> str:
    """Return what code of somebody's own raised, and below it the lines of that code which were at work."""
    said = str(error)
    return f"{type(error).__name__}{': ' if said else ''}{said}{frames(error)}"


def frames(error: BaseException) -> str:
    """Return the lines of a traceback that are neither ours nor PyTorch's nor of importing, as Python prints them."""
    found = find_spec("torch")
    others = [Path(__file__).parents[1], Path(importlib.__file__ or "").parent]
    others += [Path(home) for home in (found.submodule_search_locations or () if found else ())]
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and not any(home in Path(frame.filename).parents for home in others)
    ]
    return "\n" + "".join(traceback.format_list(own)).rstrip() if own else ""
