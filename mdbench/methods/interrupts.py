"""Ctrl-C, told from a `KeyboardInterrupt` that a method raises by itself."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def pressed() -> Iterator[list[int]]:
    """Stand around a method's code; the list that is yielded is not empty once Ctrl-C was pressed meanwhile.

    In workers, which ignore Ctrl-C, and outside of the main thread, which alone hears of it, the list stays empty:
    whatever is raised there is the method's own.
    """
    heard: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield heard
        return

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        if signal.getsignal(signal.SIGINT) is hear:  # `before` may want to hear of it no more
            signal.signal(signal.SIGINT, before)
