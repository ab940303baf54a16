"""The program inside the sandbox: it forks, and the child that it forks answers what is asked at once, mostly one question.

This process runs no code of a method and reads none of the data. The child reads the question into its own memory, leaves
for namespaces of its own, where it is process 1 and finds an empty folder, gives up what rights there are and what system
calls it does not need, and only then runs the method. With it, all that it has started ends, and all that it has written.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mdbench.errors import MdbenchError
from mdbench.methods.apart import close_devices, fork_apart, leave_all_others, set_dumpable
from mdbench.methods.letter import PARTS, read_question
from mdbench.methods.method import MethodError, read_method
from mdbench.methods.pages import into_large_pages
from mdbench.methods.rehearsal import rehearse
from mdbench.methods.syscalls import filter_program, refuse_system_calls
from mdbench.methods.trial import solve
from mdbench.methods.warned import MOST, kept_back
from mdbench.methods.wire import LENGTH, Limits, receive, send

#: Seconds between looks at how much memory is used.
_LOOK: Final = 0.05
#: Bytes of a text in a reply; of a traceback the end is kept.
_TEXT: Final = 8000


def main() -> None:
    """Serve questions until there are no more; the arguments are limits as JSON, and modules to import beforehand."""
    limits = Limits(**json.loads(sys.argv[1]))
    work = Path.cwd()
    tempfile.tempdir = str(work)  # some libraries ask for it when they are imported, and look whether it can be written
    for module in sys.argv[2:]:
        with contextlib.suppress(Exception):  # a method that needs it will say so
            importlib.import_module(module)
    rehearse()
    with contextlib.suppress(MdbenchError):  # which is said when it is tried out
        filter_program(os.uname().machine)
    set_dumpable(False)
    close_devices()
    _try_out(work, limits)
    address_space = _address_space() + limits.memory
    gc.collect()
    into_large_pages()
    gc.freeze()  # what was imported stays: the collector need not walk it, nor the memory be copied for that
    send(1, b"ready")
    while _wait_readable(0):
        reads, writes = os.pipe()
        child = fork_apart()
        if not child:
            os.close(reads)
            _answer(writes, work, limits, address_space)
        os.close(writes)
        ended, reply = _relay(child, reads, limits)
        os.close(reads)
        send(1, ended.encode(), reply)


def _try_out(work: Path, limits: Limits) -> None:
    """Do without a question what is done for each; where that cannot be, end with the reason as the last line of stderr."""
    child = fork_apart()
    if not child:
        code = 1
        try:
            leave_all_others(work, limits)
            refuse_system_calls()
            code = 0
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)


def _address_space() -> int:
    """Return the bytes of address space that this process has, most of it libraries."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _wait_readable(descriptor: int) -> bool:
    """Wait for a question; False where nobody is left to ask one."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return any(event & select.POLLIN for _, event in poll.poll())


def _relay(child: int, reads: int, limits: Limits) -> tuple[str, bytes]:
    """Take a child's reply, and end whatever it started.

    Returns
    -------
    How it ended: ``exit CODE``, ``signal NAME``, ``memory`` or ``size``, and what it wrote.
    """
    poll = select.poll()
    poll.register(reads, select.POLLIN)
    poll.register(0, 0)  # hang-up alone: whoever asked has gone
    reply, why, looked = bytearray(), "", time.monotonic()
    while not why:
        events = dict(poll.poll(_LOOK * 1000))
        if events.get(0, 0) & (select.POLLHUP | select.POLLERR):
            os._exit(1)  # and with process 1 all others
        if reads in events:
            part = os.read(reads, 1 << 16)
            reply += part
            if len(reply) > limits.reply:
                why = "size"
            if not part:
                break
        if not why and time.monotonic() - looked >= _LOOK:
            looked = time.monotonic()
            why = "memory" if _exceeded(limits.memory) else ""
        if not events and _gone(child) and not poll.poll(0):
            break
    # Some methods end by themselves a moment after their answer; what hangs on ends here.
    deadline = time.monotonic() + 1
    while not why and not _gone(child) and time.monotonic() < deadline:
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)  # when nobody is left of its namespace
    if why:
        return why, b""
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}", bytes(reply)
    return f"exit {os.waitstatus_to_exitcode(status)}", bytes(reply)


def _gone(child: int) -> bool:
    """Tell whether a child has ended, and leave its status to be fetched."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _exceeded(limit: int) -> bool:
    """Tell whether all processes but this one have more bytes of memory than that; what they share counts once."""
    others = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != "1"]
    nameless = _files_without_a_name(others)
    # What is resident counts as often as it is shared. That is never too little, and read in no time.
    return all(nameless + sum(map(measured, others)) > limit for measured in (_resident, _proportional))


def _resident(process: str) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc", process, "statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def _proportional(process: str) -> int:
    try:
        lines = Path("/proc", process, "smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, ValueError, StopIteration):
        return _resident(process)


def _files_without_a_name(processes: list[str]) -> int:
    """Return the bytes of open files that no folder has: they are memory, of no process's own."""
    found: dict[tuple[int, int], int] = {}
    for process in processes:
        with contextlib.suppress(OSError):  # it has gone, or does not let anybody look: its descendants' limits remain
            for entry in os.scandir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    about = entry.stat()
                    if stat.S_ISREG(about.st_mode) and not about.st_nlink:
                        found[about.st_dev, about.st_ino] = about.st_blocks * 512
    return sum(found.values())


# --- In the child ------------------------------------------------------------------------------------------------------


def _answer(writes: int, work: Path, limits: Limits, address_space: int) -> None:
    """Read a question, close everything that leads outside but the reply's pipe, and only then run the method."""
    code = 1
    try:
        (order,) = receive(0, 1, limit=1 << 32)
        told = json.loads(order)
        numbers = receive(0, PARTS * len(told["questions"]), limit=1 << 32)
        leave_all_others(work, limits)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.closerange(3, writes)
        os.closerange(writes + 1, 1 << 20)
        for kind, limit in (
            (resource.RLIMIT_AS, address_space),
            (resource.RLIMIT_CPU, int(limits.seconds) + 1),
            (resource.RLIMIT_FSIZE, limits.disk),
            (resource.RLIMIT_NOFILE, limits.files),
            (resource.RLIMIT_NPROC, limits.processes),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
        ):
            resource.setrlimit(kind, (limit, limit))
        refuse_system_calls()
        head, body = _reply(told, numbers)
        with os.fdopen(writes, "wb") as file:
            file.write(LENGTH.pack(len(head)) + head + body)
        code = 0
    finally:
        os._exit(code)


def _reply(told: dict[str, Any], numbers: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return what is said of each question: JSON, and verdicts, one byte a row, with probabilities, four bytes each."""
    try:
        file, source = Path.cwd() / told["file"], told["source"].encode()
        file.write_bytes(source)
        with kept_back() as loading:
            method, _ = read_method(file, source)
        if not told["questions"]:
            said = {
                "name": method.name,
                "columns": method.columns,
                "track": method.track,
                "zero_shot": method.zero_shot,
                "warned": loading[:MOST],
            }
            return _json(said), b""
        heads, bodies = [], []
        with kept_back() as warned:
            letters = [numbers[PARTS * at : PARTS * (at + 1)] for at in range(len(told["questions"]))]
            replies = [solve(method, read_question(*one)) for one in zip(told["questions"], letters, strict=True)]
        for reply in replies:
            given = reply.probabilities
            heads.append(
                {
                    "fit_seconds": reply.fit_seconds,
                    "predict_seconds": reply.predict_seconds,
                    "probabilities": given is not None,
                }
            )
            bodies.append(reply.said.tobytes() + (b"" if given is None else given.astype("<f4").tobytes()))
    except MethodError as error:
        return _json({"error": str(error)[:_TEXT], "traceback": error.traceback[-_TEXT:]}), b""
    return _json({"replies": heads, "warned": warned[:MOST]}), b"".join(bodies)


def _json(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()


if __name__ == "__main__":
    main()
