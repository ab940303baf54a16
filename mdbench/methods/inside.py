"""The program inside the sandbox: it forks, and the child that it forks answers one question.

This process runs no code of a method and reads none of the data, so that no child finds what an earlier one was told: not in
its memory, which the child reads the question into itself, nor in its files, nor in its processes, which end with the child.
It is process 1 of its namespace, from which nothing within can take signals away, and cannot be traced.
"""

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import resource
import select
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any, Final

from mdbench.methods.wire import LENGTH, Limits, receive, send

_SET_DUMPABLE: Final = 4  # prctl, linux/prctl.h
#: Numbers of system calls that Python does not know, by kind of machine.
_SCHED_GETATTR: Final = {"x86_64": 315, "aarch64": 275}
_IOPRIO_GET: Final = {"x86_64": 252, "aarch64": 31}
#: Seconds between looks at how much memory is used.
_LOOK: Final = 0.05
#: Bytes of a text in a reply; of a traceback the end is kept.
_TEXT: Final = 8000


def main() -> None:
    """Serve questions until there are no more; the arguments are limits as JSON, and modules to import beforehand."""
    limits = Limits(**json.loads(sys.argv[1]))
    work = Path.cwd()
    _drop_root(limits.uid)
    for module in ("mdbench.methods.trial", "pyarrow", *sys.argv[2:]):
        with contextlib.suppress(Exception):  # a method that needs it will say so
            importlib.import_module(module)
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    address_space = _address_space() + limits.memory
    gc.freeze()  # what was imported stays: the collector need not walk it, nor the memory be copied for that
    untouched = _state(work)
    send(1, b"ready")
    while _wait_readable(0):
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            os.close(reads)
            _answer(writes, limits, address_space)
        os.close(writes)
        ended, reply = _relay(child, reads, limits)
        os.close(reads)
        clean = _clean(work) and _state(work) == untouched
        send(1, ended.encode(), b"clean" if clean else b"dirty", reply)


def _drop_root(uid: int) -> None:
    """Give up root, which no limit on processes binds; whoever started as somebody else stays that."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


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
    reply, why = bytearray(), ""
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
        if not why and _memory() > limits.memory:
            why = "memory"
        if not events and _gone(child) and not poll.poll(0):
            break  # it left the pipe to a process of its own
    # Some methods end by themselves a moment after their answer; what hangs on ends here.
    deadline = time.monotonic() + 1
    while not why and not _gone(child) and time.monotonic() < deadline:
        time.sleep(0.001)
    status: int | None = None
    # All others: a signal to -1 reaches every process of the namespace at once, those just forked included.
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    while True:
        try:
            one, said = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if one == child:
            status = said
    if why or status is None:
        return why, b""
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}", bytes(reply)
    return f"exit {os.waitstatus_to_exitcode(status)}", bytes(reply)


def _gone(child: int) -> bool:
    """Tell whether a child has ended, and leave its status to be fetched."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _memory() -> int:
    """Return the bytes of memory of all processes but this one; what they share counts once where that can be seen."""
    page = resource.getpagesize()
    others = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != "1"]

    def resident(process: str) -> int:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(Path("/proc", process, "statm").read_text().split()[1]) * page
        return 0

    def proportional(process: str) -> int:
        try:
            lines = Path("/proc", process, "smaps_rollup").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        except (OSError, ValueError, StopIteration):
            return resident(process)

    return sum(map(proportional, others)) + _files_without_a_name(others) + _system_v_memory()


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


def _system_v_memory() -> int:
    """Return the bytes of System V's shared memory in this namespace, attached by anybody or not."""
    head, *segments = Path("/proc/sysvipc/shm").read_text().splitlines()
    place = head.split().index("rss")
    return sum(int(segment.split()[place]) for segment in segments)


def _state(work: Path) -> object:
    """Return what a child can change of this process and of the working folder: it must be for the next as it was."""
    about = work.stat()
    attributes = ctypes.create_string_buffer(56)
    ctypes.CDLL(None).syscall(_SCHED_GETATTR.get(os.uname().machine, -1), 0, attributes, 56, 0)
    return (
        [resource.getrlimit(kind) for kind in range(16)],
        os.sched_getaffinity(0),
        attributes.raw,  # policy, niceness, clamps
        ctypes.CDLL(None).syscall(_IOPRIO_GET.get(os.uname().machine, -1), 1, 0),
        (about.st_mode, about.st_uid, about.st_gid),
        os.listxattr(work),
    )


def _clean(work: Path) -> bool:
    """Empty the working folder, and tell whether nothing is left of a question, there or in System V's shared objects."""
    try:
        for path in work.iterdir():
            _remove(path)
        return all(len(path.read_text().splitlines()) <= 1 for path in Path("/proc/sysvipc").iterdir())
    except (OSError, RecursionError):
        return False


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    path.chmod(0o700)  # before it is looked into: it may have been closed to its owner
    for one in path.iterdir():
        _remove(one)
    path.rmdir()


# --- In the child ------------------------------------------------------------------------------------------------------


def _answer(writes: int, limits: Limits, address_space: int) -> None:
    """Read a question, close everything that leads outside but the reply's pipe, and only then run the method."""
    code = 1
    try:
        order, train, test = receive(0, 3, limit=1 << 32)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.closerange(3, writes)
        os.closerange(writes + 1, 1 << 20)
        ctypes.CDLL(None).prctl(
            _SET_DUMPABLE, 1, 0, 0, 0
        )  # a process that may look at itself; it has nothing but its own
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
        head, body = _reply(json.loads(order), train, test)
        with os.fdopen(writes, "wb") as file:
            file.write(LENGTH.pack(len(head)) + head + body)
        code = 0
    finally:
        os._exit(code)


def _reply(order: dict[str, Any], train: bytes, test: bytes) -> tuple[bytes, bytes]:
    """Return what is said of a question: JSON, and the verdicts, one byte a row; then probabilities, four bytes each."""
    from mdbench.methods.method import MethodError, read_method
    from mdbench.methods.trial import solve

    try:
        file, source = Path.cwd() / order["file"], order["source"].encode()
        file.write_bytes(source)
        method, _ = read_method(file, source)
        if "task" not in order:
            said = {
                "name": method.name,
                "columns": method.columns,
                "track": method.track,
                "zero_shot": method.zero_shot,
            }
            return _json(said), b""
        reply = solve(method, _question(order, train, test))
    except MethodError as error:
        return _json({"error": str(error)[:_TEXT], "traceback": error.traceback[-_TEXT:]}), b""
    given = reply.probabilities
    head = {
        "fit_seconds": reply.fit_seconds,
        "predict_seconds": reply.predict_seconds,
        "probabilities": given is not None,
    }
    return _json(head), reply.said.tobytes() + (b"" if given is None else given.astype("<f4").tobytes())


def _json(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()


def _question(order: dict[str, Any], train: bytes, test: bytes) -> Any:
    import numpy as np
    import pyarrow as pa

    from mdbench.methods.trial import Question
    from mdbench.tables import find_task

    learned, asked = (pa.ipc.open_stream(io.BytesIO(content)).read_all() for content in (train, test))
    columns = tuple(order["columns"])

    def matrix(table: pa.Table) -> np.ndarray:
        return np.array([table[column].to_numpy() for column in columns]).reshape(len(columns), len(table)).T

    labels = np.array(learned["label"].to_pylist(), dtype=object)
    task = find_task(order["task"]).among(order["moves"])
    assert task is not None  # for these are its own moves
    return Question(task, columns, matrix(learned), labels, matrix(asked), order["seed"])


if __name__ == "__main__":
    main()
