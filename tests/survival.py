"""Commands that are killed: what each changes, and what a reader finds afterwards, which is the old state or the new one.

Each runs in a process of its own, forked from one that has imported all there is; `tests/test_survival.py` kills each at a few
instants, ``python benchmarks/kills.py`` at many.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.append(str(Path(__file__).resolve().parent))

import tiny_zoo
import toy
import typer
from dishonest import CONSTANT, METHOD, NAME, SLUG, describe, honest, read, small_exam

from leaderboard.entry.checks import check, read_entries
from leaderboard.entry.exam import Exam
from leaderboard.sealing.seal import seal
from leaderboard.sealing.sealed import Labels, Part
from leaderboard.sealing.sealed_score import unlock
from leaderboard.submitting.submission import submit
from leaderboard.verifying import maintenance
from leaderboard.verifying.ledger import LEDGER, Ledger
from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from zoo_builder.publishing.download import fetch
from zoo_builder.publishing.publication import CARD, UNFINISHED, publish

#: Seconds that a command has to end while another one waits.
WAITED = 2.0
#: The small exam of the last world that was made, which is that of all its copies: posing it takes longer than a command.
EXAM: list[Exam] = []
HOW = {"workers": 1, "sandbox": False, "timeout": 60}
CONTEXT = multiprocessing.get_context("forkserver")
#: The server that forks finds this file by it; what is on `sys.path` here it is not told. No entry is empty: that would be the
#: current folder.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes
    ----------
    act : what it does in a folder that `prepared` made.
    found : what a reader finds there; raises where that is half of anything.
    """

    act: Callable[[Path], object]
    found: Callable[[Path], object]


@contextmanager
def at_home(world: Path):
    """In a world of its own: its zoos, and the small exam."""
    (exam,) = EXAM
    posed = patch.object(Exam, "of", classmethod(lambda cls, selections: exam))
    with patch.dict(os.environ, {"MDBENCH_HOME": str(world / "home")}), posed:
        yield exam


def prepared(world: Path) -> None:
    """Make a world: entries, of which one is on the board and one would take its place; zoos; a build, and one published."""
    end_server()
    CONTEXT.set_forkserver_preload(["survival"])
    EXAM[:] = [small_exam(world / "home")]
    with at_home(world) as exam:
        entries = world / "entries"
        honest(entries, exam)
        _verify(entries, SLUG)
        new = honest(entries, exam, f"{NAME} 2", METHOD + "# better\n", supersedes=SLUG)
        (new / "entry.json").write_text(json.dumps(read(new) | {"name": NAME, "slug": f"{SLUG}-2"}))
        describe(new)
        honest(entries, exam, "Another", CONSTANT)
    (world / "method.py").write_text(METHOD + "# mine\n")
    (world / "first").mkdir()
    tiny_zoo.build_here(tiny_zoo.write_spec(world / "first", training="epochs = 1"), world / "first" / "zoo")
    publish([world / "first" / "zoo"], world / "published", trust_code=True)
    toy.zoo(seed=0).save(world / "imported")
    for name in ("hidden", "known"):
        _grid(name).save(world / "home" / "zoos" / name)


def end_server() -> None:
    """End the process that others are forked from: there is one, and it has imported what whoever began it needs."""
    forkserver._forkserver._stop()


def _grid(name: str) -> Any:
    table = toy.table(seed=len(name))
    few = (2, 6, 16, 45, 128) if name == "known" else (3, 8, 32)
    table = table[table["width"].isin(few) & table["data_fraction"].isin((10, 30, 50, 70, 100))]
    zoo = toy.zoo()
    return type(zoo).from_table(name, "a toy", table, zoo.moves, zoo.provenance)


def _verify(entries: Path, slug: str, *allowed: str) -> None:
    maintenance.verify(
        [slug], every=False, entries=entries, rerun=False, recorded=True, sealed=None, key=None, allowed=allowed, **HOW
    )


def _submit(world: Path) -> None:
    submit(
        world / "method.py", name="Mine", authors=["Ada Lovelace"], entries=world / "entries", **{**HOW, "workers": 0}
    )


def _supersede(world: Path) -> None:
    _verify(world / "entries", f"{SLUG}-2", f"{SLUG}-2")


def _entries(world: Path) -> object:
    """Every entry that can be read, checked whole, and what the ledger says."""
    entries = world / "entries"
    with at_home(world) as exam:
        found = {slug: check(entries / slug, exam).entry.method.sha256 for slug in read_entries(entries)}
        assert {path.name for path in entries.glob("[!.]*/")} == set(found), "what is there is whole"
    history = Ledger.read(entries / LEDGER)
    states = {slug: history.state(slug) for slug in found}
    return found, {slug: (state.status, state.verdict and state.verdict.outcome) for slug, state in states.items()}


def _sealed(world: Path) -> object:
    """Whether there is a seal, whose parts then belong together."""
    out = world / "seal"
    if not out.exists():
        return None
    assert isinstance(unlock(out / "labels.fernet", out / "key", Part.read(out / "public")), Labels)
    return sorted(path.name for path in out.iterdir())


def _imported(world: Path) -> object:
    return load_zoo(world / "imported").digest


def _tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("[!.]*"))
        if path.is_file()
    }


def _published(world: Path) -> object:
    """The dataset's files; where its card says that it is not finished, that alone."""
    tree = _tree(world / "published")
    return "unfinished" if (world / "published" / CARD).read_text() == UNFINISHED else tree


def _fetched(world: Path) -> object:
    """What has arrived under its name, which is as it was sent; the index comes last."""
    sent, there = _tree(world / "published"), _tree(world / "fetched")
    assert there.items() <= sent.items()
    return there if "checkpoints/tiny/index.json" in there else None


COMMANDS = {
    "submit": Command(_submit, _entries),
    "verify": Command(lambda world: _verify(world / "entries", "another"), _entries),
    "supersede": Command(_supersede, _entries),
    "remove": Command(lambda world: maintenance.remove(SLUG, "for a test", world / "entries"), _entries),
    "seal": Command(lambda world: seal("hidden", world / "seal", "winter", "known"), _sealed),
    "import": Command(lambda world: toy.zoo(seed=1).save(world / "imported"), _imported),
    "publish": Command(
        lambda world: publish([world / "first" / "zoo"], world / "published", version="1.1.0", trust_code=True),
        _published,
    ),
    "fetch": Command(lambda world: fetch(world / "published", world / "fetched"), _fetched),
}


def _child(
    name: str, world: Path, exam: Exam, at: int | None, number: int | None, waits: bool, pipe: Connection
) -> None:
    """Do what a command does; at a call be killed, wait, or have an error of the operating system from then on."""

    def wait(call: str) -> None:
        pipe.send(call)
        pipe.recv()

    EXAM[:] = [exam]
    die = lambda call: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    act = tiny_zoo.failing(number) if number else wait if waits else die
    faults = tiny_zoo.Faults(world, act, at, lasting=number is not None)
    said = ""
    with at_home(world), Path(os.devnull).open("w") as nothing, patch.object(sys, "stdout", nothing):
        pipe.send("begun")
        with faults.watching():
            try:
                COMMANDS[name].act(world)
            except (MdbenchError, typer.Exit) as error:
                said = str(error) or "it exits"
    pipe.send((len(faults.calls), said))


@dataclass(frozen=True)
class Ended:
    """How a command ended: killed or not, after how many changes of folders, and the error that it gave."""

    killed: bool
    calls: int = 0
    said: str = ""


def run(
    name: str,
    world: Path,
    *,
    at: int | None = None,
    number: int | None = None,
    until: Callable[[], object] | None = None,
) -> Ended:
    """Run a command in a world.

    Parameters
    ----------
    name : the command.
    world : of `prepared`.
    at : the call, of those that change folders, at which it is killed, half of what it writes being written.
    number : an error of the operating system, which every such call from `at` on has in the kill's stead.
    until : called when the command begins; when this returns, the command is killed wherever it is.
    """
    ours, theirs = CONTEXT.Pipe()
    process, said = _start(name, world, at, number, False, theirs), []
    with suppress(EOFError):
        said.append(ours.recv())
        if until is not None:
            until()
            process.kill()
        said.append(ours.recv())
    process.join()
    if process.exitcode == -signal.SIGKILL:
        return Ended(True)
    assert process.exitcode == 0, f"{name} ended with {process.exitcode}"
    return Ended(False, *said[1])


def _start(name: str, world: Path, at: int | None, number: int | None, waits: bool, theirs: Connection) -> BaseProcess:
    process = CONTEXT.Process(target=_child, args=(name, world, *EXAM, at, number, waits, theirs))
    process.start()
    theirs.close()
    return process


def run_within(name: str, other: str, world: Path, at: int) -> tuple[Ended, Ended]:
    """Run a command, and another while it waits at a call that changes a folder: to its end, or until it waits for the first.

    Parameters
    ----------
    name, other, world : the commands; of `prepared`.
    at : the call of the first.
    """
    pipes, processes = [], []
    for which, call in ((name, at), (other, None)):
        ours, theirs = CONTEXT.Pipe()
        processes.append(_start(which, world, call, None, True, theirs))
        pipes.append(ours)
        assert ours.recv() == "begun"
        if call:
            assert isinstance(ours.recv(), str), "it waits"
    pipes[1].poll(WAITED)
    pipes[0].send("go on")
    ended = [Ended(False, *pipe.recv()) for pipe in pipes]
    for process in processes:
        process.join()
    return ended[0], ended[1]


class Trial:
    """A command, its old and its new state, and copies of the world that it is run in.

    Parameters
    ----------
    name, world, scratch : the command; of `prepared`; a folder for copies.
    """

    def __init__(self, name: str, world: Path, scratch: Path) -> None:
        self.name, self.world, self.scratch = name, world, scratch
        self._count = 0
        clean = self.copy()
        self.old = COMMANDS[name].found(clean)
        self.calls = run(name, clean).calls
        self.new = COMMANDS[name].found(clean)
        assert self.old != self.new
        shutil.rmtree(clean)

    def copy(self) -> Path:
        """Return another copy of the world."""
        self._count += 1
        to = self.scratch / f"{self.name}-{self._count}"
        shutil.copytree(self.world, to, symlinks=True)
        return to

    def survived(self, world: Path) -> str:
        """See that a world is in the old state or the new one, and that the same command again leads to the new one."""
        found = COMMANDS[self.name].found(world)
        which = "old" if found == self.old else "new" if found == self.new else found
        assert which in ("old", "new") or (self.name, which) == ("publish", "unfinished"), (self.name, found)
        run(self.name, world)
        assert COMMANDS[self.name].found(world) == self.new, self.name
        shutil.rmtree(world)
        return str(which)

    def killed_at(self, at: int) -> str:
        """Kill it at a call that changes a folder; return the state it left."""
        world = self.copy()
        assert run(self.name, world, at=at).killed
        return self.survived(world)

    def killed_when(self, until: Callable[[], object]) -> str:
        """Kill it wherever it is when `until` returns; return the state it left."""
        world = self.copy()
        run(self.name, world, until=until)
        return self.survived(world)

    def twice_at(self, at: int) -> None:
        """Run it while it is at a call; one at least does what it is for, the other too or says why not."""
        world = self.copy()
        ended = run_within(self.name, self.name, world, at)
        assert not all(one.said for one in ended), ended
        assert self.survived(world) == "new", ended

    def full_from(self, at: int, number: int) -> str:
        """Have the disk full from a call on; return the state it left."""
        world = self.copy()
        ended = run(self.name, world, at=at, number=number)
        assert not ended.killed
        state = COMMANDS[self.name].found(world)
        assert ended.said or state == self.new, "what is not done is said"
        return self.survived(world)
