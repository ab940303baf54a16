"""Functions of somebody's own, which a specification names by their import paths (``package.module:function``)."""

import importlib
import re
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from mdbench.errors import MdbenchError

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
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        home = module.partition(".")[0]
        raise MdbenchError(
            f"{what} {path}: {error}; {home} is looked for among what is installed and in the folders of PYTHONPATH: "
            f"write PYTHONPATH=FOLDER before the command, FOLDER being where {home} lies{frames(error)}"
        ) from error
    except (Exception, SystemExit) as error:
        raise MdbenchError(f"{what} {path} cannot be imported: {told(error)}") from error
    if not callable(found):
        raise MdbenchError(f"{what} {path} is not a function that {purpose}")
    return found  # type: ignore[no-any-return]


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
