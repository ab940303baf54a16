"""Where units are trained: on this machine, or on a Dask cluster. Both are a `concurrent.futures.Executor`."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any

from mdbench.errors import MdbenchError
from mdbench.extras import install_line
from mdbench.methods import worker_context

#: Opens an executor; closing it ends its workers.
OpenExecutor = Callable[[], AbstractContextManager[Executor]]

#: How often in a row workers may die, with no unit finished in between, before the work is given up.
_DEATHS = 5

_dealt: str | None = None


def device_here(kind: str) -> str:
    """Return the device that this worker trains on: the one that it was dealt, or the first of a kind.

    Parameters
    ----------
    kind : ``cpu`` or ``cuda``. On a cluster each worker sees the devices that its job has.
    """
    return _dealt or kind


def devices(wanted: str) -> list[str]:
    """Return the devices that a word stands for.

    Parameters
    ----------
    wanted : ``auto`` (every CUDA device, or the CPU), ``cpu``, ``cuda`` (every one), ``cuda:1``, or several by commas.

    Raises
    ------
    MdbenchError
        There is no such device here.
    """
    import torch

    found = [f"cuda:{at}" for at in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if wanted == "auto":
        return found or ["cpu"]
    chosen = [name for word in wanted.split(",") for name in (found if word == "cuda" else [word])]
    strange = [name for name in chosen if name not in ("cpu", *found)]
    if strange or not chosen:
        raise MdbenchError(f"device {wanted!r} is not here; there are: {', '.join(['cpu', *found])}")
    return chosen


def local(workers: int, devices: Sequence[str], preloaded: str = "zoo_builder.building.work") -> OpenExecutor:
    """Return what opens processes on this machine, one thread each, the devices dealt out among them.

    Workers have the module `preloaded` from the start.
    """

    @contextmanager
    def open_executor() -> Iterator[Executor]:
        with _deaf():
            context = worker_context((preloaded,))
        deal: Any = context.Queue()
        for at in range(workers):
            deal.put(devices[at % len(devices)])
        before = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(deal,))
        try:
            yield pool
        except BaseException:
            # What a worker has not finished is not kept anyway: nobody waits for it.
            for child in set(multiprocessing.active_children()) - before:
                child.kill()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    return open_executor


def dask(address: str) -> OpenExecutor:
    """Return what opens a Dask cluster at an address, for instance ``tcp://host:8786``.

    Its workers must see the same files under the same paths and have mdbench installed.

    Raises
    ------
    MdbenchError
        Dask is not installed; nobody answers at the address.
    """
    try:
        from distributed import Client, KilledWorker
    except ModuleNotFoundError:
        raise MdbenchError(f"--dask needs Dask: {install_line('dask')}") from None

    @contextmanager
    def open_executor() -> Iterator[Executor]:
        try:
            client: Any = Client(address, timeout="10s")  # type: ignore[no-untyped-call]
        except (OSError, ValueError, TimeoutError) as error:
            raise MdbenchError(f"no Dask scheduler answers at {address}: {error}") from error
        with client:
            executor = client.get_executor(pure=False)
            try:
                yield executor
            except KilledWorker as error:
                raise BrokenExecutor(str(error)) from error
            except CancelledError as error:
                raise MdbenchError(
                    f"the Dask scheduler at {address} went away; finished units are kept. Start it again, and the same "
                    "command goes on from there"
                ) from error
            finally:
                executor.shutdown(wait=False)

    return open_executor


def carry_out(
    open_executor: OpenExecutor,
    do: Callable[[Any], object],
    orders: Mapping[str, Any],
    has: Callable[[str], bool],
    *,
    found: int = 0,
) -> Iterator[str]:
    """Have units of work done, and yield the key of each as it is; workers that die are replaced.

    Parameters
    ----------
    open_executor : opens the workers.
    do : what a worker does with an order: it puts the unit where `has` finds it.
    orders : key → order.
    has : whether a unit is there.
    found : units that were there before, for the message.

    Raises
    ------
    MdbenchError
        Workers die again and again; or what `do` raises.
    """
    left, deaths = dict(orders), 0
    while left:
        before = len(left)
        try:
            with open_executor() as executor:
                futures = {executor.submit(do, order): key for key, order in left.items()}
                for future in as_completed(futures):
                    future.result()
                    key = futures.pop(future)
                    del left[key]
                    yield key
        except BrokenExecutor as error:
            for key in [key for key in left if has(key)]:  # finished, and not yet told of
                del left[key]
                yield key
            deaths = 1 if len(left) < before else deaths + 1
            if deaths == _DEATHS:
                units = found + len(orders)
                raise MdbenchError(
                    f"worker processes ended {deaths} times in a row, perhaps for want of memory; fewer --workers need less. "
                    f"{units - len(left)} of {units} units are kept, and the same command goes on from there"
                ) from error


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started meanwhile never hear of Ctrl-C: the nursery would, while it imports, and complain."""
    resource_tracker.ensure_running()  # it is started with the nursery otherwise, and makes the ears open again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(deal: Any) -> None:
    global _dealt  # noqa: PLW0603 - one worker, one device
    # Ctrl-C reaches the whole process group; the main process alone decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        _dealt = deal.get(timeout=60)
    except queue.Empty:
        os._exit(1)


def _follow_parent() -> None:
    """End this worker when the main process is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
