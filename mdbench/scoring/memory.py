"""How much memory this process and all that it has started hold together."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

#: Seconds between looks.
LOOK: Final = 0.05


class PeakMemory:
    """Watches, while it stands around work, how much memory is held at most.

    Proportional set sizes are added up: what processes share counts once. Linux alone tells them; what a process does not let
    others see of its own counts with all that is resident.

    Attributes
    ----------
    bytes : the most that was seen; None where it cannot be seen.
    """

    def __init__(self) -> None:
        self.bytes: int | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            held = sum(map(_held, family(os.getpid())))
            if held:
                self.bytes = max(self.bytes or 0, held)
            if self._done.wait(LOOK):
                return


def family(process: int) -> list[int]:
    """Return a process and all that descend from it, by their numbers; itself alone where nobody tells."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            # Behind the command's name, which may hold anything: state, parent.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found


def _held(process: int) -> int:
    """Return the bytes of a process, its part of what it shares; 0 where it has ended, or nobody tells."""
    folder = Path("/proc", str(process))
    with suppress(OSError, ValueError, IndexError):
        lines = (folder / "smaps_rollup").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    with suppress(OSError, ValueError, IndexError):
        return int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
