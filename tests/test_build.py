"""Building: the same zoo, however often it was interrupted, and no other zoo than the one that was asked for."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tiny_zoo
from tiny_zoo import (
    Here,
    assert_sound,
    build_here,
    contents,
    eventually,
    everything,
    processes,
    spec_text,
    tables,
    write_data,
    write_spec,
)

from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from zoo_builder.building import executors
from zoo_builder.building.builder import build, makespan, status
from zoo_builder.building.store import Store
from zoo_builder.building.work import Order, do

#: Imports PyTorch once and then forks builds, as many as are asked for: `mdbench zoo build` from the reading of its words on.
#: Workers are forked, too, instead of being taken from a nursery, which would import PyTorch anew for each build.
HOST = """
import json, multiprocessing, os, signal, sys
import tiny_zoo
from mdbench.cli import main
from zoo_builder import cli, report
from zoo_builder.building import executors

def run(words, log, die_at):
    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(handle, number)
    sys.argv = ["mdbench", *words]
    faults = tiny_zoo.Faults(os.path.dirname(log), lambda call: os.kill(os.getpid(), signal.SIGKILL), die_at)
    if die_at is None:
        executors.worker_context = lambda preloaded: multiprocessing.get_context("fork")
    else:
        executors.local = lambda *_: tiny_zoo.here
    try:
        if die_at is None:
            main()
        else:
            with faults.watching():
                main()
    except SystemExit as ended:
        os.close(handle)
        if die_at == 0:
            with open(log + ".calls", "w") as file:
                file.write(str(len(faults.calls)))
        os._exit(ended.code or 0)

spec, folder = sys.argv[1:]
tiny_zoo.build_here(tiny_zoo.Path(spec), tiny_zoo.Path(folder))  # so that everything is compiled and loaded
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
    else:
        run(**asked)
"""


class Host:
    """Starts builds that cost no import."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self._process, self._folder = process, folder

    def ask(self, **what: object) -> int:
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, spec: Path, out: Path, die_at: int | None = None) -> int:
        """Start a build, and return its process, which leads a session of its own."""
        words = ["zoo", "build", str(spec), "--out", str(out), "--device", "cpu", "--workers", "2"]
        return self.ask(words=words, log=str(self._folder / "log"), die_at=die_at)

    def wait(self, process: int) -> int:
        """Return how a build ended: its exit code, or minus the signal that ended it."""
        return self.ask(wait=process)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A host of builds. It and everything that it started are ended at the end."""
    folder = tmp_path_factory.mktemp("host")
    environment = os.environ | {
        "PYTHONPATH": str(Path(tiny_zoo.__file__).parent),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",  # PyTorch does not survive a fork once it knows of a GPU
        "MDBENCH_HOME": str(folder / "home"),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, write_spec(folder), folder / "first"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield Host(process, folder)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_a_build_killed_at_random_instants_goes_on_to_the_same_zoo(tmp_path, host):
    """Killed at least 20 times, with its workers or alone, in which case they end themselves."""
    spec = write_spec(tmp_path, training="epochs = 8", width=[2, 3, 4], batch_size=[4, 8], data_fraction=[50, 100])
    build_here(spec, tmp_path / "whole")
    durations = []
    for attempt in range(2):
        begun = time.monotonic()
        assert host.wait(host.start(spec, tmp_path / f"uninterrupted-{attempt}")) == 0
        durations.append(time.monotonic() - begun)
        assert tables(tmp_path / f"uninterrupted-{attempt}") == tables(tmp_path / "whole")

    rng = np.random.default_rng(0)
    kills, found = {"group": 0, "main": 0}, []
    for round_ in range(40):
        folder = tmp_path / f"killed-{round_}"
        for _ in range(4):
            process = host.start(spec, folder)
            time.sleep(rng.uniform(0, max(durations)))
            which = "group" if rng.random() < 0.7 else "main"
            if which == "group":
                # Before it leads a group of its own, it is alone anyway.
                (os.killpg if process in processes(process) else os.kill)(process, signal.SIGKILL)
            else:
                os.kill(process, signal.SIGKILL)
            kills[which] += host.wait(process) == -signal.SIGKILL
            eventually(lambda of=process: not processes(of), "all processes of a killed build end")
            assert_sound(folder, finished=False)
            found.append(len(list((folder / "units").glob("[!.]*"))))
            if found[-1] == 6 and round_ % 3:
                break  # kills while the tables are written are wanted, too, but not too many of them
        assert host.wait(host.start(spec, folder)) == 0
        assert tables(folder) == tables(tmp_path / "whole")
        assert_sound(folder)
        if sum(kills.values()) >= 20 and min(kills.values()) >= 5:
            break

    assert sum(kills.values()) >= 20
    assert min(kills.values()) >= 5


def test_a_build_killed_at_any_call_goes_on_to_the_same_zoo(tmp_path, host):
    """Killed at each call by which it changes anything on the disk; content is half written then."""
    spec = write_spec(tmp_path, seeds="[5]", architecture='name = "mlp"\ndepth = 1\nwidth = 2', data_fraction=[50, 100])
    build_here(spec, tmp_path / "whole")
    log = host._folder / "log"
    root = host._folder / "any-call"
    root.mkdir()
    assert host.wait(host.start(spec, root / "counted", die_at=0)) == 0
    calls = int(log.with_name("log.calls").read_text())
    assert calls > 40
    for at in range(1, calls + 1):
        folder = root / f"killed-{at}"
        assert host.wait(host.start(spec, folder, die_at=at)) == -signal.SIGKILL
        assert_sound(folder, finished=False)
        assert host.wait(host.start(spec, folder, die_at=0)) == 0
        assert tables(folder) == tables(tmp_path / "whole")
        assert_sound(folder)
    assert host.wait(host.start(spec, root / "counted-too-far", die_at=calls + 1)) == 0


def test_a_finished_build_trains_nothing_again(tmp_path):
    spec = write_spec(tmp_path)
    build_here(spec, tmp_path / "zoo")
    before = everything(tmp_path / "zoo")
    reports = []
    zoo = build_here(spec, tmp_path / "zoo", reports.append)
    after = everything(tmp_path / "zoo")
    assert {name: content for name, (_, _, content) in after.items()} == {
        name: content for name, (_, _, content) in before.items()
    }
    # Not only is their content the same: the files of units are those that were there.
    assert after.items() >= {name: one for name, one in before.items() if name.startswith("units/")}.items()
    assert [(one.models_done, one.found, one.work_fresh) for one in reports] == [(16, 16, 0)]
    assert zoo.digest == load_zoo(tmp_path / "zoo").digest


def test_what_the_order_of_finishing_was_does_not_matter(tmp_path):
    spec = write_spec(tmp_path)

    class Backwards(Here):
        def __init__(self):
            self.waiting = []

        def submit(self, function, /, *arguments):
            self.waiting.append((function, arguments))
            if len(self.waiting) < 4:
                future = Future()
                self.waiting[-1] += (future,)
                return future
            last = super().submit(function, *arguments)
            for task, given, future in reversed(self.waiting[:-1]):
                future.set_result(task(*given))
            return last

    @contextmanager
    def backwards():
        yield Backwards()

    build_here(spec, tmp_path / "forwards")
    build(spec, tmp_path / "backwards", backwards)
    assert tables(tmp_path / "forwards") == tables(tmp_path / "backwards")


def test_progress_is_told_from_nothing_to_everything(tmp_path):
    spec, reports = write_spec(tmp_path), []
    build(spec, tmp_path / "zoo", lambda: ThreadPoolExecutor(1), progress=reports.append)
    assert [(one.models, one.models_done, one.found) for one in reports] == [
        (16, done, 0) for done in (0, 4, 8, 12, 16)
    ]
    assert [one.work_done for one in reports] == sorted(one.work_done for one in reports)
    assert reports[0].work_done == 0
    assert reports[-1].work_done == reports[-1].work == reports[-1].work_fresh

    shutil.rmtree(next((tmp_path / "zoo" / "units").iterdir()))
    again = []
    build_here(spec, tmp_path / "zoo", again.append)
    assert [(one.models_done, one.found) for one in again] == [(12, 12), (16, 12)]
    assert 0 < again[-1].work_fresh < again[-1].work


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "begun"])
@pytest.mark.parametrize(
    "changes",
    [{"width": [2, 4], "batch_size": [4, 8]}, {"training": "epochs = 2"}, {"seeds": "[0, 2]"}, {"name": "other"}],
    ids=["axis", "training", "seeds", "name"],
)
def test_another_specification_is_refused_and_nothing_changed(tmp_path, changes, finished):
    folder = tmp_path / "zoo"
    build_here(write_spec(tmp_path), folder)
    if not finished:
        shutil.rmtree(next((folder / "units").iterdir()))
    before = everything(folder)
    with pytest.raises(MdbenchError) as told:
        build_here(write_spec(tmp_path, "other.toml", **changes), folder)
    assert str(told.value) == (
        f"{folder} holds another specification, kept as {folder / 'spec.toml'}; nothing was changed. "
        "Build into another folder, or move this one away"
    )
    assert everything(folder) == before


def test_other_data_under_the_same_name_are_refused_and_nothing_changed(tmp_path):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    build_here(spec, folder)
    before = everything(folder)
    write_data(tmp_path / "data.npz", seed=1)
    with pytest.raises(MdbenchError, match=f"{folder} holds other data under the same name; nothing was changed"):
        build_here(spec, folder)
    assert everything(folder) == before
    build_here(spec, tmp_path / "new")  # whatever this process has read before
    assert tables(tmp_path / "new") != tables(folder)


def test_a_worker_that_finds_other_data_trains_nothing(tmp_path):
    """A Dask worker on another machine, or one that has kept the data of an earlier build."""
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    orders = []

    class Noting(Here):
        def submit(self, function, order):
            orders.append(order)
            return super().submit(function, order)

    @contextmanager
    def noting():
        yield Noting()

    build(spec, folder, noting)
    assert {type(order) for order in orders} == {Order}
    shutil.rmtree(folder / "units")
    write_data(tmp_path / "data.npz", seed=1)
    assert do(orders[0]) == str(folder / "units" / orders[0].unit.key)  # it has the right data in memory still
    stale = Order(orders[1].folder, orders[1].spec, "0" * 64, "cpu", orders[1].unit)
    with pytest.raises(
        MdbenchError, match=r"the worker on .* finds other data under '.*data\.npz' than the build began"
    ):
        do(stale)
    assert not Store(folder).has(orders[1].unit.key)


def test_another_title_and_other_comments_are_the_same_zoo(tmp_path):
    """The last text given is kept, and the zoo is what a new build of that text would be."""
    folder = tmp_path / "zoo"
    build_here(write_spec(tmp_path), folder)
    before = everything(folder)
    commented = write_spec(tmp_path, "commented.toml", head="# Why this zoo\ntitle = 'Tiny'")
    zoo = build_here(commented, folder)
    after = everything(folder)
    assert after.items() >= {name: one for name, one in before.items() if name.startswith("units/")}.items()
    assert (folder / "spec.toml").read_bytes() == commented.read_bytes()
    assert zoo.title == load_zoo(folder).title == "Tiny"
    build_here(commented, tmp_path / "new")
    assert tables(folder) == tables(tmp_path / "new")
    provenance = json.loads((folder / "zoo.json").read_text())["provenance"]
    assert provenance["inputs"] == [{"path": "spec.toml", "sha256": _sha256(commented)}]
    assert status(folder).name == "tiny"


def _sha256(path: Path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def test_two_builds_in_one_folder_are_one_too_many(tmp_path):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    refused = []

    def another(_: object) -> None:
        with pytest.raises(MdbenchError) as told:
            build_here(spec, folder)
        refused.append(str(told.value))

    build_here(spec, folder, another)
    assert set(refused) == {f"another build is at work in {folder}; wait for it, or stop it"}
    assert_sound(folder)


def test_a_specification_that_is_wrong_leaves_no_folder(tmp_path):
    spec = write_spec(tmp_path)
    spec.write_text(spec_text(tmp_path / "nowhere.npz"))
    with pytest.raises(MdbenchError, match=r"nowhere\.npz"):
        build_here(spec, tmp_path / "zoo")
    write_spec(tmp_path, architecture='name = "cnn2d"')
    with pytest.raises(MdbenchError, match="architecture cnn2d wants inputs of shape"):
        build_here(spec, tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


class _Dying(Here):
    """Workers that die, and take with them what they were at, whenever `dies` says so."""

    def __init__(self, dies):
        self.dies = dies

    def submit(self, function, /, *arguments):
        if self.dies():
            arguments, function = (), _die
        return super().submit(function, *arguments)


def _die() -> None:
    raise BrokenExecutor("a process was terminated abruptly")


def test_workers_that_always_die_end_the_build_and_what_is_there_is_kept(tmp_path):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    opened = []

    @contextmanager
    def dying():
        opened.append(0)

        def dies() -> bool:
            opened[-1] += 1
            return len(opened) > 1 or opened[-1] > 2

        yield _Dying(dies)

    with pytest.raises(MdbenchError) as told:
        build(spec, folder, dying)
    assert str(told.value) == (
        "worker processes ended 5 times in a row, perhaps for want of memory; fewer --workers need less. "
        "2 of 4 units are kept, and the same command goes on from there"
    )
    assert len(opened) == 5
    assert_sound(folder, finished=False)
    kept = everything(folder / "units")
    build_here(spec, folder)
    build_here(spec, tmp_path / "whole")
    assert tables(folder) == tables(tmp_path / "whole")
    assert everything(folder / "units").items() >= kept.items()


def test_workers_may_die_as_often_as_they_like_where_the_build_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "_DEATHS", 2)
    spec, folder, opened = write_spec(tmp_path), tmp_path / "zoo", []

    @contextmanager
    def dying():
        opened.append(0)

        def dies() -> bool:
            opened[-1] += 1
            return opened[-1] > 1

        yield _Dying(dies)

    build(spec, folder, dying)
    assert len(opened) == 4
    build_here(spec, tmp_path / "whole")
    assert tables(folder) == tables(tmp_path / "whole")


def test_status_follows_a_build(tmp_path):
    spec, folder, seen = write_spec(tmp_path), tmp_path / "zoo", []
    with pytest.raises(MdbenchError, match=f"{folder} is not the folder of a build: it has no build"):
        status(folder)

    class Looking(Here):
        def submit(self, function, /, *arguments):
            seen.append(status(folder))
            return super().submit(function, *arguments)

    @contextmanager
    def looking():
        yield Looking()

    build(spec, folder, looking)
    seen.append(status(folder))
    assert [(one.models, one.models_done, one.units, one.units_done) for one in seen] == [
        (16, done, 4, done // 4) for done in (0, 4, 8, 12, 16)
    ]
    assert [one.tables for one in seen] == [False] * 4 + [True]
    assert {one.name for one in seen} == {"tiny"}
    assert {one.diverged for one in seen} == {0}
    assert seen[0].seconds == 0 < seen[-1].seconds
    assert seen[-1].bytes == sum(map(len, contents(folder).values()))


def test_status_lives_with_files_that_come_and_go(tmp_path, monkeypatch):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    build_here(spec, folder)
    whole = status(folder).bytes
    walked = os.walk

    def walk(top):
        yield from walked(top)
        yield str(top / "gone"), [], ["nothing"]

    monkeypatch.setattr(os, "walk", walk)
    assert status(folder).bytes == whole


def test_the_last_of_some_workers_ends():
    assert makespan([5, 4, 3, 3, 3], 2) == 10  # 5 + 3, 4 + 3 + 3
    assert makespan([5, 4, 3], 1) == 12
    assert makespan([5, 4, 3], 9) == 5


def test_of_a_link_what_it_points_to_is_built_or_it_is_refused(tmp_path):
    spec = write_spec(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    links = {name: tmp_path / f"to-{name}" for name in ("empty", "other", "file", "nothing")}
    for name, link in links.items():
        link.symlink_to(tmp_path / name)
    for name, why in (("other", "is not empty"), ("file", "File exists"), ("nothing", "File exists")):
        with pytest.raises(MdbenchError, match=why):
            build_here(spec, links[name])
    built = build_here(spec, links["empty"])
    assert (tmp_path / "empty" / "zoo.json").is_file()
    assert load_zoo(tmp_path / "empty").digest == built.digest
    assert all(link.is_symlink() for link in links.values())
    assert [path.read_text() for path in (tmp_path / "other" / "mine", tmp_path / "file")] == ["mine"] * 2
    assert not (tmp_path / "nothing").exists()
