"""The process that worker processes are forked from.

Importing scikit-learn takes seconds; doing so once, in a process that workers are then forked from, and while the main
process reads its tables, is half of a short evaluation's time. This module itself imports next to nothing.
"""

import ast
import os
import sys
from collections.abc import Iterable
from multiprocessing import forkserver, get_all_start_methods, get_context
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Final

#: Packages that are slow to import; the workers' parent starts with those that a method file names already in memory.
SLOW: Final = ("scipy", "sklearn", "xgboost")
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def worker_context(files: Iterable[Path]) -> BaseContext:
    """Return the context that worker processes are started in, and start their parent now.

    Parameters
    ----------
    files : the method files that will be run; nothing of them is executed here.
    """
    for variable in THREADS:  # one thread a worker, one worker a core
        os.environ.setdefault(variable, "1")
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = _Context()
    slow = sorted({name for file in files for name in slow_imports(file)})
    context.set_forkserver_preload(["mdbench.workers", *slow])
    forkserver.ensure_running()
    return context


class _Process(ForkServerProcess):
    """A worker that does not import the program that started it.

    Python would run the main script once more in every worker: for nothing, and for ever where that script is a terminal's
    input, or evaluates without a ``__main__`` guard.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - the name and the type are multiprocessing's
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return ForkServerProcess._Popen(process_obj)
        finally:
            sys.modules["__main__"] = main


class _Context(ForkServerContext):
    Process = _Process


def slow_imports(file: Path) -> set[str]:
    """Return the slow modules that a file imports by name; nothing where it is not readable Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in names if name.split(".")[0] in SLOW}
