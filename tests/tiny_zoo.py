"""The smallest zoos that can be built, for tests of the builder: random data, networks of two or three units, one epoch."""

import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mdbench.tables.zoo import Zoo
from zoo_builder.building.builder import build
from zoo_builder.building.store import Store

#: What has to be the same to the last bit, however often a build was interrupted and wherever it ran.
TABLES = ("zoo.json", "configurations.parquet", "checkpoints.parquet")
TRAIN, TEST, FEATURES, CLASSES = 48, 30, 6, 3


def write_data(path: Path, seed: int = 0) -> Path:
    """Write a data set of three blurred classes as .npz."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, examples in (("train", TRAIN), ("test", TEST)):
        labels = np.arange(examples) % CLASSES
        arrays[f"{part}_labels"] = labels
        arrays[f"{part}_inputs"] = (rng.normal(size=(examples, FEATURES)) + labels[:, None]).astype(np.float32)
    np.savez(path, **arrays)
    return path


def spec_text(
    data: Path,
    *,
    name: str = "tiny",
    head: str = "",
    architecture: str = 'name = "mlp"\ndepth = 1',
    training: str = "epochs = 1",
    seeds: str = "[0, 1]",
    **axes: list[float],
) -> str:
    """Return a specification: 2 data fractions × 2 widths × 2 batch sizes × 2 seeds in 4 units, unless told otherwise."""
    axes = axes or {"data_fraction": [50, 100], "width": [2, 3], "batch_size": [4, 8]}
    lines = [
        head,
        f'name = "{name}"',
        f"seeds = {seeds}",
        "[dataset]",
        f'name = "{data}"',
        "[architecture]",
        architecture,
    ]
    lines += ["[training]", training]
    for knob, values in axes.items():
        lines += ["[[axes]]", f'knob = "{knob}"', f"values = {values}"]
    return "\n".join(lines) + "\n"


def write_spec(folder: Path, file: str = "spec.toml", **changes: object) -> Path:
    """Write a specification and, unless it is there, its data set; return the specification's path."""
    data = folder / "data.npz"
    if not data.exists():
        write_data(data)
    path = folder / file
    path.write_text(spec_text(data, **changes))
    return path


class Here(Executor):
    """Does everything at once, in this process."""

    def submit(self, function, /, *arguments, **options):
        future = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


@contextmanager
def here() -> Iterator[Executor]:
    """Open the executor that works in this process."""
    yield Here()


def build_here(spec: Path, folder: Path, progress: Callable[[object], None] = lambda _: None) -> Zoo:
    """Build in this process."""
    return build(spec, folder, here, trust_code=True, progress=progress)


def tables(folder: Path) -> dict[str, bytes]:
    """Return the bytes of a zoo's tables."""
    return {name: (folder / name).read_bytes() for name in TABLES}


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what is in a folder: name → inode, time of the last change, content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder: name → content."""
    return {name: content for name, (_, _, content) in everything(folder).items()}


def assert_sound(folder: Path, *, finished: bool = True) -> None:
    """Assert that every unit in a folder is whole and, where its build is finished, that nothing else is left in it."""
    store = Store(folder)
    units = folder / "units"
    there = sorted(path.name for path in units.iterdir()) if units.is_dir() else []
    for key in there:
        if not key.startswith("."):
            store.check(key)
    if finished:
        assert there == sorted(store.manifest().units)
        assert [path.name for path in folder.glob(".*")] == [".lock"]


class Faults:
    """Counts the calls by which a folder is changed, in this process, and does something at the one with a given number.

    Counted are opening, writing (half of the content is written before), fsync, making and renaming of files and folders
    below `root`; not those by which things are removed, which is how errors are cleaned up. One that lasts lets folders
    be opened, which cleaning up has to.
    """

    def __init__(self, root: Path, act: Callable[[str], None], at: int | None = None, *, lasting: bool = False) -> None:
        self.root, self.act, self.at, self.lasting = str(root), act, at, lasting
        self.calls: list[str] = []
        self._handles: set[int] = set()

    def tick(self, call: str) -> bool:
        """Note a call; return whether it is one to act at."""
        self.calls.append(call)
        now = len(self.calls)
        return self.at is not None and (now == self.at or (self.lasting and now > self.at and call != "open"))

    def _ours(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)

    @contextmanager
    def watching(self) -> Iterator["Faults"]:
        """Count, and act, within."""
        real = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "mkdir", "open", "write")}
        real_open = io.open
        faults = self

        def around(name: str):
            def call(first, *arguments, **options):
                ours = first in faults._handles if name in ("fsync", "write") else faults._ours(first)
                if ours and faults.tick(name):
                    half = len(arguments[0]) // 2 if name == "write" else 0
                    if half:
                        real[name](first, arguments[0][:half])
                    faults.act(name)
                    if half:
                        return half + real[name](first, arguments[0][half:])
                done = real[name](first, *arguments, **options)
                if name == "open" and ours:
                    faults._handles.add(done)
                return done

            return call

        class File(io.FileIO):
            def write(self, content):
                half = 0
                if faults.tick("write"):
                    half = super().write(bytes(content)[: len(content) // 2])
                    faults.act("write")
                return half + super().write(bytes(content)[half:])

        def open_file(path, mode="r", *arguments, **options):
            if not faults._ours(path) or not set(mode) & set("wxa+"):
                return real_open(path, mode, *arguments, **options)
            if faults.tick("create"):
                faults.act("create")
            file = File(path, mode.replace("b", ""))
            faults._handles.add(file.fileno())
            return file

        for name in real:
            setattr(os, name, around(name))
        io.open = open_file
        try:
            yield self
        finally:
            for name, function in real.items():
                setattr(os, name, function)
            io.open = real_open


def failing(number: int) -> Callable[[str], None]:
    """Return what raises an error of the operating system."""

    def act(call: str) -> None:
        raise OSError(number, os.strerror(number))

    return act


def processes(session: int) -> dict[int, str]:
    """Return the processes of a session that still run, with their command lines."""
    running = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if int(of) == session and state != "Z":
            running[int(path.name)] = command
    return running


def eventually(true: Callable[[], bool], what: str) -> None:
    """Wait until something is so; fail after minutes, which is for tests that would hang otherwise."""
    for _ in range(30_000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError(f"this did not happen: {what}")
