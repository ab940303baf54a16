"""What bubblewrap is told: what a sandbox shows, what it hides, and what it takes away."""

import importlib.util
import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
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
    *("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/share/zoneinfo"),
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"),
)
#: What lies beside labels: in a zoo, in entries, beside a sealed zoo.
_TELLING: Final = frozenset(
    {"zoo.json", "cases.parquet", "splits.parquet", "entry.json", "ledger.jsonl", "labels.fernet", "key"}
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
    shown, links = _shown()
    paths = (*shown, *links, f"{PACKAGES}/x", f"{WORK}/x")
    for folder in dict.fromkeys(parent for path in paths for parent in _parents(path)):
        command += ["--dir", folder]
    for name in shown:
        command += ["--symlink", str(Path(name).readlink())] if Path(name).is_symlink() else ["--ro-bind", name]
        command.append(name)
    for link, target in links.items():
        command += ["--symlink", target, link]
    for package, source in _packages().items():
        command += ["--ro-bind", str(source), f"{PACKAGES}/{package}"]
    for hidden in _hidden(shown):
        command += ["--tmpfs", hidden, "--remount-ro", hidden]
    return [*command, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/"]


def interpreter() -> str:
    """Return the path of this Python's program, without links among its folders: with ``..``, a link leads elsewhere."""
    path = Path(sys.executable)
    return str(path.parent.resolve() / path.name)


def _shown() -> tuple[list[str], dict[str, str]]:
    """Return what is seen inside, outermost first: the system, and what this Python needs; and links, link → target.

    Raises
    ------
    MdbenchError
        A checkout, tables, or a key lie within.
    """
    paths = [path for path in _SYSTEM if Path(path).exists()]
    links: dict[str, str] = {}
    program = Path(interpreter())
    while program.is_symlink():
        target = program.parent / program.readlink()
        target = target.parent.resolve() / target.name
        links[str(program)] = str(target)
        program = target
    home = Path(sys.base_prefix).resolve()
    libraries = [home / "lib"] if (home / "conda-meta").is_dir() else sorted((home / "lib").glob("*.so*"))
    settings = Path(interpreter()).parent.parent / "pyvenv.cfg"
    needed = [program, *libraries, *map(Path, _libraries()), *([settings] if settings.is_file() else [])]
    for path in sorted({str(one) if one.is_symlink() else str(one.resolve()) for one in needed}):
        if not any(Path(path).is_relative_to(seen) for seen in paths):
            paths.append(path)
    _look_through(tuple(str(Path(one).resolve()) for one in _libraries()))
    own = {link: target for link, target in links.items() if not any(Path(link).is_relative_to(one) for one in paths)}
    return paths, own


def _libraries() -> list[str]:
    """Return the folders that this Python imports from: its own library, and those of installed packages."""
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [path for path in dict.fromkeys([*named, *site.getsitepackages()]) if path and Path(path).is_dir()]


@cache
def _look_through(folders: tuple[str, ...]) -> None:
    """Make sure that in folders that are to be seen nothing lies that nobody is to see, but for installed packages of ours.

    Raises
    ------
    MdbenchError
        A checkout, tables, or a key lie there.
    """
    ours = ("mdbench", "leaderboard", "zoo_builder")  # what of them is to be hidden is, see `_hidden`
    for top in folders:
        for folder, below, names in os.walk(top):
            if folder == top:
                below[:] = [name for name in below if name not in ours]
            telling = sorted(_TELLING & set(names)) or ([".git"] if ".git" in below or ".git" in names else [])
            if telling:
                raise MdbenchError(
                    f"{folder} would be seen in the sandbox, for this Python imports from {top}, and {telling[0]} lies in "
                    "it: move the checkout, the tables or the key elsewhere"
                )


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
    installed = [*site.getsitepackages([sys.prefix, sys.base_prefix]), *_libraries()]
    hidden = [f"{PACKAGES}/mdbench/data"]
    for name, within in (("mdbench", "data"), ("leaderboard", ""), ("zoo_builder", "")):
        spec = importlib.util.find_spec(name)
        copies = [Path(spec.origin).parent] if spec and spec.origin else []
        copies += [Path(packages, name) for packages in installed]
        folders = dict.fromkeys(copy.resolve() / within for copy in copies)
        hidden += [str(one) for one in folders if one.is_dir() and any(one.is_relative_to(path) for path in shown)]
    return hidden
