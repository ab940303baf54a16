"""A sandbox that runs: a process under bubblewrap, to which questions are put one at a time."""

import json
import select
import subprocess
import threading
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Final

from mdbench.errors import MdbenchError, reason
from mdbench.methods.confinement import PACKAGES, confinement, interpreter
from mdbench.methods.wire import Limits, receive, send

#: Users of those who run as root: numbers that Debian and systemd leave free.
_UIDS: Final = range(65520, 65534)
#: Seconds for starting, and for taking back an answer, beside the method's own.
_START: Final = 120.0
_GRACE: Final = 5.0


class _Users:
    """Users that nobody has: each sandbox of root runs as one of its own, for the kernel counts processes by user."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._lock = threading.Lock()

    def take(self) -> int:
        with self._lock:
            free = [uid for uid in _UIDS if uid not in self._taken]
            uid = free[0] if free else _UIDS[-1]
            self._taken.add(uid)
            return uid

    def give_back(self, uid: int) -> None:
        with self._lock:
            self._taken.discard(uid)


_USERS: Final = _Users()


class BrokenBoxError(Exception):
    """A sandbox ended, or was ended, before it answered."""


class Box:
    """A sandbox that runs.

    Parameters
    ----------
    preloaded : modules that are imported before the first question.
    limits : what a method may use.

    Raises
    ------
    MdbenchError
        There is no bubblewrap, or it cannot make a sandbox here.
    """

    def __init__(self, preloaded: Iterable[str], limits: Limits) -> None:
        self.preloaded = frozenset(preloaded)
        limits = replace(limits, uid=_USERS.take())
        program = f"import sys; sys.path.insert(0, {PACKAGES!r}); from mdbench.methods.inside import main; main()"
        self._limits = limits
        self._process = subprocess.Popen(
            [
                *confinement(),
                interpreter(),
                "-P",
                "-s",
                "-c",
                program,
                json.dumps(asdict(limits)),
                *self.preloaded,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._ready = False

    def ask(self, order: dict[str, Any], numbers: Iterable[bytes] = (), *, seconds: float) -> tuple[str, bytes]:
        """Put questions to one process.

        Parameters
        ----------
        order, numbers : what `mdbench.methods.inside` reads.
        seconds : that the answer may take.

        Returns
        -------
        How the process that was asked ended, and what it wrote: see `mdbench.methods.inside`.

        Raises
        ------
        TimeoutError
            It took longer. The sandbox is then gone.
        BrokenBoxError
            The sandbox ended without an answer.
        MdbenchError
            It never began.
        """
        self._begin()
        try:
            send(self._in, json.dumps(order).encode(), *numbers)
            ended, reply = self._receive(2, seconds)
        except (BrokenPipeError, EOFError, ValueError) as error:
            self.close()
            raise BrokenBoxError(reason(error)) from error
        return ended.decode("ascii", "replace"), reply

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def close(self) -> None:
        """End the sandbox and everything in it."""
        if self.closed:
            return
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()
        try:  # process 1 inside ends when nobody is left to ask it
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _USERS.give_back(self._limits.uid)

    @property
    def _in(self) -> int:
        assert self._process.stdin
        return self._process.stdin.fileno()

    def _begin(self) -> None:
        if self._ready:
            return
        try:
            self._receive(1, _START)
        except (EOFError, ValueError, TimeoutError) as error:
            said = self._process.stderr.read().decode(errors="replace").strip() if self._process.stderr else ""
            self.close()
            raise MdbenchError(
                f"the sandbox cannot be made here: {said.splitlines()[-1] if said else reason(error)}; bubblewrap needs "
                "the kernel's user namespaces, or root; --no-sandbox runs methods without isolation, which is for code that "
                "you trust"
            ) from error
        self._ready = True

    def _receive(self, parts: int, seconds: float) -> list[bytes]:
        """Read what process 1 says, which is ours and brief: once it has begun to speak, it does not stop half-way."""
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(seconds * 1000):
            self.close()
            raise TimeoutError
        return receive(descriptor, parts, limit=self._limits.reply)
