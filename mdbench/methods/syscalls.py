"""Which system calls a method may not make: what the kernel keeps between processes that are to know nothing of each other.

A filter is a program for the kernel's packet filter (seccomp(2)), which looks at the kind of machine, at a call's number and,
for a few calls, at an argument. It needs no library. Processes that a method starts inherit it, and nothing takes it away.
"""

import ctypes
import os
import struct
from functools import cache
from typing import Final, NamedTuple

from mdbench.errors import MdbenchError


class _Machine(NamedTuple):
    """What the kernel calls a kind of machine (linux/audit.h), and at which place of `REFUSED` its numbers stand."""

    audit: int
    place: int


_MACHINES: Final = {"x86_64": _Machine(0xC000003E, 0), "aarch64": _Machine(0xC00000B7, 1)}
#: System call → its numbers on x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h); None where there is none.
REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    # Keyrings.
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # Memory, semaphores and messages that are nobody's: System V, POSIX.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_open": (240, 180), "mq_unlink": (241, 181), "mq_timedsend": (242, 182), "mq_timedreceive": (243, 183),
    "mq_notify": (244, 184), "mq_getsetattr": (245, 185),
    # Other processes.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # Files that all questions see: who locks, watches or has read them.
    "flock": (73, 32), "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262), "mincore": (27, 232), "cachestat": (451, 451), "open_by_handle_at": (304, 265),
    "preadv2": (327, 286),  # which can ask to read only what somebody has read before
    # Waking whoever waits at a file that all see, by the later calls; see _FUTEX.
    "futex_wake": (454, 454), "futex_requeue": (456, 456),
    # What looks into the kernel, or has it compute.
    "perf_event_open": (298, 241), "bpf": (321, 280), "userfaultfd": (323, 282), "syslog": (103, 116),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # Namespaces and mounts.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
}  # fmt: skip
_CLONE: Final = (56, 220)
_CLONE3: Final = 435
_FCNTL: Final = (72, 25)
_SOCKET: Final = (41, 198)
_FUTEX: Final = (202, 98)
#: Later calls, of which this list knows nothing, are not there; nor are those of x32, whose numbers are larger.
_NEWEST: Final = 462
#: Flags of clone that ask for namespaces: cgroup, uts, ipc, user, pid, net, mounts.
_NAMESPACES: Final = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
#: Commands of fcntl that tell who opens, locks or writes a file: F_GETLK, F_OFD_GETLK, F_SETLEASE, F_NOTIFY, F_SET_RW_HINT.
_TELLING: Final = (5, 36, 1024, 1026, 1036)
#: Families of sockets that end where a namespace does: AF_UNIX, AF_INET, AF_INET6. Others lead to the machine below this one
#: (AF_VSOCK), or into the kernel.
_OWN: Final = (1, 2, 10)
#: A futex of one process, and commands of others that wake who waits, wherever the same file is seen: FUTEX_WAKE,
#: FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_WAKE_BITSET, FUTEX_CMP_REQUEUE_PI. Threads that are joined wait so.
_PRIVATE: Final = 128
_WAKING: Final = (1, 3, 4, 5, 10, 12)

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000  # linux/seccomp.h
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _FROM, _ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_NUMBER_AT, _MACHINE_AT, _FIRST_AT, _SECOND_AT = 0, 4, 16, 24  # in struct seccomp_data
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h


class _Program(ctypes.Structure):
    """``struct sock_fprog``, linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


_libc = ctypes.CDLL(None, use_errno=True)


@cache
def filter_program(machine: str) -> bytes:
    """Return the filter for a kind of machine, an array of ``struct sock_filter``.

    Parameters
    ----------
    machine : as `os.uname` names it.

    Raises
    ------
    MdbenchError
        The numbers of its system calls are not known here.
    """
    if machine not in _MACHINES:
        raise MdbenchError(
            f"the sandbox knows the system calls of {' and '.join(_MACHINES)}, and this machine is a {machine}; "
            "--no-sandbox runs methods without isolation, which is for code that you trust"
        )
    audit, place = _MACHINES[machine]
    numbers = [both[place] for both in REFUSED.values()]
    # Jumps are to the returns at the end, by their names: (code, operand, where true, where false).
    steps: list[tuple[int, int, str, str]] = [
        (_LOAD, _MACHINE_AT, "", ""),
        (_EQUAL, audit, "", "kill"),
        (_LOAD, _NUMBER_AT, "", ""),
        (_FROM, _NEWEST + 1, "absent", ""),
        (_EQUAL, _CLONE3, "absent", ""),  # its flags lie in memory; libraries then use clone
        *((_EQUAL, number, "refuse", "") for number in numbers if number is not None),
        (_EQUAL, _CLONE[place], "clone", ""),
        (_EQUAL, _SOCKET[place], "socket", ""),
        (_EQUAL, _FUTEX[place], "futex", ""),
        (_EQUAL, _FCNTL[place], "fcntl", "allow"),
    ]
    ends = [
        ("clone", (_LOAD, _FIRST_AT, "", "")),
        ("", (_ANY, _NAMESPACES, "refuse", "allow")),
        ("socket", (_LOAD, _FIRST_AT, "", "")),
        *(("", (_EQUAL, family, "allow", "")) for family in _OWN[:-1]),
        ("", (_EQUAL, _OWN[-1], "allow", "refuse")),
        ("futex", (_LOAD, _SECOND_AT, "", "")),
        ("", (_ANY, _PRIVATE, "allow", "")),
        *(("", (_EQUAL, command, "refuse", "")) for command in _WAKING[:-1]),
        ("", (_EQUAL, _WAKING[-1], "refuse", "allow")),
        ("fcntl", (_LOAD, _SECOND_AT, "", "")),
        *(("", (_EQUAL, command, "refuse", "")) for command in _TELLING),
        ("allow", (_RETURN, _ALLOW, "", "")),
        ("refuse", (_RETURN, _ERRNO | _EPERM, "", "")),
        ("absent", (_RETURN, _ERRNO | _ENOSYS, "", "")),
        ("kill", (_RETURN, _KILL, "", "")),
    ]
    places = {name: len(steps) + at for at, (name, _) in enumerate(ends) if name}
    steps += [step for _, step in ends]

    def jump(at: int, to: str) -> int:
        return places[to] - at - 1 if to else 0

    return b"".join(
        struct.pack("=HBBI", code, jump(at, true), jump(at, false), operand)
        for at, (code, operand, true, false) in enumerate(steps)
    )


def refuse_system_calls() -> None:
    """Put the filter on this process and all that it starts, for good.

    Raises
    ------
    OSError
        The kernel has no filters.
    """
    steps = filter_program(os.uname().machine)
    program = _Program(len(steps) // 8, steps)
    for told in ((_NO_NEW_PRIVILEGES, 1, 0), (_SECCOMP, _FILTER, ctypes.byref(program))):
        if _libc.prctl(*told, 0, 0):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")
