"""What bubblewrap is told: what a sandbox shows, what it hides, and what it takes away."""

import importlib.util
import os
import shutil
import site
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mdbench.errors import MdbenchError

#: The only folder that can be written inside.
WORK: Final = "/sandbox/work"
#: Where our own packages are seen inside.
PACKAGES: Final = "/sandbox/packages"
#: Packages of this distribution that a method may import; of mdbench without its tables.
_OURS: Final = ("mdbench", "baselines")
#: Of the system, as far as they are there.
_SYSTEM: Final = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
)


def find_bubblewrap() -> str:
    """Return the program that makes sandboxes.

    Raises
    ------
    MdbenchError
        It is not installed.
    """
    found = shutil.which("bwrap")
    if found is None:
        raise MdbenchError(
            "the sandbox needs bubblewrap, which is not here (Debian, Ubuntu: apt install bubblewrap; Linux only); "
            "--no-sandbox runs methods without isolation, which is for code that you trust"
        )
    return found


def confinement() -> list[str]:
    """Return the command line of bubblewrap, without the program to run inside."""
    root = os.geteuid() == 0
    command = [
        find_bubblewrap(),
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    # Process 1 runs code of ours alone. It makes namespaces for each question, becomes somebody else in them, looks at how
    # much memory they take, and ends them. Whoever is not root is that in a namespace of users, which has nobody else.
    command += [] if root else ["--unshare-user", "--uid", "0", "--gid", "0"]
    command += ["--cap-drop", "ALL"]
    rights = ("SYS_ADMIN", "SYS_PTRACE", "KILL", *(("SETUID", "SETGID") if root else ("SETFCAP",)))
    command += [word for name in rights for word in ("--cap-add", f"CAP_{name}")]
    command += ["--as-pid-1", "--new-session", "--hostname", "sandbox", "--clearenv", "--chdir", WORK]
    for name, value in {
        "PATH": "/usr/bin:/bin",
        "HOME": WORK,
        "TMPDIR": WORK,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    }.items():
        command += ["--setenv", name, value]
    shown = _shown()
    for folder in dict.fromkeys(parent for path in (*shown, f"{PACKAGES}/x", f"{WORK}/x") for parent in _parents(path)):
        command += ["--dir", folder]
    for name in shown:
        command += ["--symlink", str(Path(name).readlink())] if Path(name).is_symlink() else ["--ro-bind", name]
        command.append(name)
    for package, source in _packages().items():
        command += ["--ro-bind", str(source), f"{PACKAGES}/{package}"]
    for hidden in _hidden(shown):
        command += ["--tmpfs", hidden, "--remount-ro", hidden]
    return [*command, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/"]


def _shown() -> list[str]:
    """Return what is seen inside: the system's programs and libraries, and this Python with its packages; outermost first."""
    paths = [path for path in _SYSTEM if Path(path).exists()]
    pythons = {sys.prefix, sys.base_prefix, *site.getsitepackages(), str(Path(sys.executable).resolve().parent.parent)}
    for path in sorted(str(Path(python)) for python in pythons):
        if Path(path).is_dir() and not any(Path(path).is_relative_to(seen) for seen in paths):
            paths.append(path)
    return paths


def _parents(path: str) -> list[str]:
    """Return the folders above a path, outermost first, without the root."""
    return [str(parent) for parent in reversed(Path(path).parents)][1:]


def _packages() -> dict[str, Path]:
    """Return our own packages that a method may import, name → folder."""
    found = {name: importlib.util.find_spec(name) for name in _OURS}
    return {name: Path(spec.origin).resolve().parent for name, spec in found.items() if spec and spec.origin}


def _hidden(shown: Sequence[str]) -> list[str]:
    """Return the folders of what is seen inside that are to be empty there: tables, zoos, entries.

    Of every copy: one may be installed while another, such as a checkout's, is at work.
    """
    installed = site.getsitepackages([sys.prefix, sys.base_prefix])
    hidden = [f"{PACKAGES}/mdbench/data"]
    for name, within in (("mdbench", "data"), ("leaderboard", ""), ("zoo_builder", "")):
        spec = importlib.util.find_spec(name)
        copies = [Path(spec.origin).parent] if spec and spec.origin else []
        copies += [Path(packages, name) for packages in installed]
        folders = dict.fromkeys(copy.resolve() / within for copy in copies)
        hidden += [str(one) for one in folders if one.is_dir() and any(one.is_relative_to(path) for path in shown)]
    return hidden
