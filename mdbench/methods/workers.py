"""Methods in processes of their own, so that a method that hangs, exits or crashes takes nothing else with it.

`Workers` and `Here` do the same two things, load a method and ask it a case; `Here` does them in this process.
"""

import gc
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from mdbench.cases import CaseRows
from mdbench.methods.method import Method, MethodError, load_method
from mdbench.methods.nursery import import_libraries, worker_context
from mdbench.methods.replies import Answer
from mdbench.methods.trial import Control, ask, given_columns
from mdbench.methods.warned import kept_back

if TYPE_CHECKING:
    from pebble import ProcessFuture

T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """A method to be asked a case.

    Attributes
    ----------
    method, rows : which method, and which case.
    secret, control : see `mdbench.methods.trial.questions`.
    """

    method: Method
    rows: CaseRows
    secret: str = ""
    control: Control | None = None


class Runner(Protocol):
    """Something that asks methods."""

    def load(self, files: Iterable[Path]) -> Iterator[tuple[Path, Method | MethodError]]:
        """Load method files."""

    def ask(self, orders: Iterable[Order]) -> Iterator[tuple[Order, Answer | MethodError]]:
        """Ask methods cases; answers come as they are ready."""


class Here:
    """Runs methods in this process: no isolation, no time limit."""

    def load(self, files: Iterable[Path]) -> Iterator[tuple[Path, Method | MethodError]]:
        """Load method files, one after the other."""
        for file in files:
            try:
                yield file, load_method(file)
            except MethodError as error:
                yield file, error

    def ask(self, orders: Iterable[Order]) -> Iterator[tuple[Order, Answer | MethodError]]:
        """Ask methods cases, one after the other."""
        for order in orders:
            try:
                yield order, ask(order.method, order.rows, order.secret, order.control)
            except MethodError as error:
                yield order, error


class Workers:
    """Runs method files in worker processes, one thread each.

    Parameters
    ----------
    count : worker processes.
    timeout : seconds a method may take for one case.
    files : the method files, as far as they are known: what they import is loaded once for all workers.
    """

    def __init__(self, count: int, timeout: float, files: Iterable[Path] = ()) -> None:
        from pebble import ProcessPool

        self._timeout = timeout
        context = worker_context(methods=files)
        self._pool = ProcessPool(max_workers=count, context=context, initializer=_start_worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._pool.close()  # type: ignore[no-untyped-call]
        else:
            self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def load(self, files: Iterable[Path]) -> Iterator[tuple[Path, Method | MethodError]]:
        """Load method files; what comes back has no prototype."""
        waiting = {self._pool.schedule(_load, args=[file], timeout=self._timeout): file for file in files}
        for future in as_completed(waiting):
            yield waiting[cast("ProcessFuture[Any]", future)], self._outcome(future)

    def ask(self, orders: Iterable[Order]) -> Iterator[tuple[Order, Answer | MethodError]]:
        """Ask methods cases, several at a time; a worker hears of no more than the method is to see."""
        waiting = {}
        for order in orders:
            try:
                rows = order.rows.told(given_columns(order.method, order.rows))
            except MethodError as error:
                yield order, error
            else:
                args = [order.method.file, rows, order.secret, order.control]
                waiting[self._pool.schedule(_ask, args=args, timeout=self._timeout)] = order
        for future in as_completed(waiting):
            yield waiting[cast("ProcessFuture[Any]", future)], self._outcome(future)

    def _outcome(self, future: "Future[T | MethodError]") -> T | MethodError:
        from pebble import ProcessExpired

        try:
            return future.result()
        except TimeoutError:
            return MethodError(f"it took longer than {self._timeout:g} s (--timeout)")
        except ProcessExpired as error:
            return MethodError(f"it ended its process (exit code {error.exitcode})")


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # what a method prints is no part of what the command prints
    # What was imported before the fork stays: the collector need not walk it, nor the memory be copied for that.
    gc.freeze()


import_libraries()  # for the nursery imports this module; all workers then have it


def _load(file: Path) -> Method | MethodError:
    try:
        return replace(load_method(file), prototype=None)
    except MethodError as error:
        return MethodError(str(error), error.traceback)


def _ask(file: Path, rows: CaseRows, secret: str, control: Control | None) -> Answer | MethodError:
    try:
        return ask(_method(file), rows, secret, control)
    except MethodError as error:
        return MethodError(str(error), error.traceback)


@cache
def _method(file: Path) -> Method:
    with kept_back():  # it was loaded before, and what it warns of said then
        return load_method(file)
