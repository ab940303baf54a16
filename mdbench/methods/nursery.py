"""The process that worker processes are forked from.

Importing what methods need takes seconds. It happens once, in a process that workers are then forked from, while the main
process still reads its command line and its tables: half of a short evaluation's time. This module itself imports next to
nothing.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, get_all_start_methods, get_context, resource_tracker
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Final

#: What workers have in memory from the start, beside what their methods import.
PRELOADED: Final = ("mdbench.methods.workers",)
#: The environment variable by which the nursery is told which methods there will be.
_METHODS: Final = "MDBENCH_NURSERY_METHODS"
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Which memory Arrow reads tables into: its own pool takes 30 MB more, in every process, than tables of this size need.
_POOL: Final = "ARROW_DEFAULT_MEMORY_POOL"


class _Process(ForkServerProcess):
    """A worker that does not import the program that started it.

    Python would run the main script once more in every worker: for nothing, and for ever where that script is a
    terminal's input, or evaluates without a ``__main__`` guard.
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


def worker_context(preloaded: Sequence[str] = PRELOADED, methods: Iterable[str | Path] = ()) -> BaseContext:
    """Return the context that worker processes are started in; the nursery starts now, if it has not yet.

    Parameters
    ----------
    preloaded : modules that the nursery imports, for its workers to have from the start.
    methods : names of methods, or their files; what is neither is passed over. The libraries that they import are imported
        too, once for all workers; of the methods themselves, nothing runs.
    """
    for variable in THREADS:  # one thread a worker, one worker a core
        os.environ.setdefault(variable, "1")
    os.environ.setdefault(_POOL, "system")
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = _Context()
    context.set_forkserver_preload(list(preloaded))
    os.environ[_METHODS] = json.dumps([*map(str, methods)])
    try:
        resource_tracker.ensure_running()  # it lifts what is held back
        with _without_current_folder(), _ctrl_c_held_back():
            forkserver.ensure_running()
    finally:
        del os.environ[_METHODS]
    return context


def import_libraries() -> None:
    """Import what the methods import that the nursery was told of, once, and nowhere else: only libraries, by their names."""
    names = json.loads(os.environ.pop(_METHODS, "[]"))
    if not names:
        return
    from mdbench.methods.imports import imported_names, installed_imports
    from mdbench.methods.method import named_methods

    known = named_methods()
    files = dict.fromkeys(known.get(name, Path(name)) for name in names if name in known or name.endswith(".py"))
    for file in [*files]:
        with suppress(OSError):  # whoever loads it says so
            source = file.read_bytes()
            files |= {known[name]: None for name in known if f"baselines.{name}" in imported_names(source)}
    for file in files:
        with suppress(OSError):
            for module in sorted(installed_imports(file.read_bytes())):
                with suppress(Exception):  # a method that needs it will say so
                    importlib.import_module(module)


def end_nursery() -> None:
    """End the process that workers are forked from, which may have some to fork that nobody waits for any more."""
    nursery = getattr(forkserver, "_forkserver", None)  # Python has no public way
    process = getattr(nursery, "_forkserver_pid", None)
    if process is not None:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Keep Ctrl-C from a process that starts meanwhile, for good, and from this one until it has started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_current_folder() -> Iterator[None]:
    """Keep a Python that starts meanwhile from searching the current folder, whose ``random.py`` would hide Python's."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
