"""A set of namespaces for one question, inside the sandbox: processes, files, network and user that nobody else has."""

import ctypes
import os
from pathlib import Path
from typing import Final

from mdbench.methods.wire import Limits

# linux/sched.h
_MOUNTS, _NAMES, _IPC, _USER, _PROCESSES, _NETWORK = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
# linux/mount.h
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC, _REMOUNT, _NO_TIMES, _BIND, _FEW_TIMES = (
    *(1, 2, 4, 8, 32),
    *(1 << 10 | 1 << 11, 1 << 12, 1 << 21),
)
_FEW_TIMES_SAID: Final = 1 << 12  # by statvfs(2), whose other flags have the same numbers
_SET_DUMPABLE: Final = 4  # linux/prctl.h
_CAPABILITIES: Final = 0x20080522  # version 3, linux/capability.h

_libc = ctypes.CDLL(None, use_errno=True)


def set_dumpable(dumpable: bool) -> None:
    """Say whether processes of this one's user may look into it."""
    _libc.prctl(_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def close_devices() -> None:
    """Have nothing be written beside the devices, which can be written to all the same.

    When a file was last touched outlasts a question.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    for device in ("null", "zero", "full", "random", "urandom", "tty", "pts"):
        path = f"/dev/{device}"
        if os.path.ismount(path):
            said = os.statvfs(path).f_flag
            kept = said & (_NO_SUID | _NO_DEVICES | _NO_EXEC | _NO_TIMES)
            kept |= _FEW_TIMES if said & _FEW_TIMES_SAID else 0
            flags = _REMOUNT | _BIND | _READ_ONLY | kept
            _done(_libc.mount(None, path.encode(), None, flags, None), f"{path}, not to be written beside")


def fork_apart() -> int:
    """Fork a process that is number 1 of a namespace of processes of its own: with it, all others there end.

    Returns
    -------
    As `os.fork`.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _done(_libc.unshare(_PROCESSES), "a namespace of processes")
        child = os.fork()
        if child:
            _done(_libc.setns(own, _PROCESSES), "back from a namespace of processes")
        return child
    finally:
        os.close(own)


def leave_all_others(work: Path, limits: Limits) -> None:
    """Move this process, number 1 of its namespace, into namespaces of its own, with a new and empty working folder.

    Parameters
    ----------
    work : the working folder, the only one that can be written.
    limits : of which the size of the working folder and the user are set here.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    _done(_libc.unshare(_MOUNTS | _NAMES | _IPC | _NETWORK), "namespaces of its own")
    # Of the kernel's own files those about processes alone: the others tell what happens elsewhere.
    _mount("proc", "/proc", "subset=pid", _NO_SUID | _NO_DEVICES | _NO_EXEC)
    _mount("tmpfs", str(work), f"size={limits.disk},mode=0777", _NO_SUID | _NO_DEVICES)
    os.chdir(work)
    set_dumpable(True)
    if _users() == 1:
        # Whoever started the sandbox was not root: there is one user, who becomes somebody else in a namespace of that.
        _done(_libc.unshare(_USER), "a namespace of users")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{limits.uid} 0 1"), ("gid_map", f"{limits.uid} 0 1")):
            _write(f"/proc/self/{name}", text)
    else:
        os.setgroups([])
        os.setresgid(limits.uid, limits.uid, limits.uid)
        os.setresuid(limits.uid, limits.uid, limits.uid)
    _done(_libc.capset((ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()), "no rights")
    set_dumpable(True)


def _users() -> int:
    """Return how many users there are in this process's namespace of them."""
    return int(Path("/proc/self/uid_map").read_text().split()[2])


def _mount(kind: str, where: str, options: str, flags: int) -> None:
    _done(_libc.mount(kind.encode(), where.encode(), kind.encode(), flags, options.encode()), f"{kind} on {where}")


def _write(file: str, text: str) -> None:
    opened = os.open(file, os.O_WRONLY)
    try:
        os.write(opened, text.encode())
    finally:
        os.close(opened)


def _done(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: {what}")
