"""Where units are trained does not matter, and neither does it when workers die."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from multiprocessing import forkserver

import pytest
import torch
from tiny_zoo import assert_sound, build_here, eventually, tables, write_spec

from mdbench.errors import MdbenchError
from zoo_builder.building.builder import build
from zoo_builder.building.executors import dask, devices, local
from zoo_builder.building.store import Store

#: An architecture that does something to the worker that makes its first network.
STUBBORN = """
import multiprocessing, os, signal, time
from pathlib import Path
from zoo_builder.models import mlp

def in_worker():
    return multiprocessing.parent_process() is not None

def dies_once(shape, classes, width, marks):
    if in_worker() and width == 3:
        try:
            Path(marks, "died").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return mlp(shape, classes, width, 1)

def dies(shape, classes, width, marks):
    if in_worker() and width == 3 and not Path(marks, "healed").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return mlp(shape, classes, width, 1)

def waits(shape, classes, width, marks):
    if in_worker():
        Path(marks, f"waiting-{os.getpid()}").touch()
        for _ in range(12000):
            if Path(marks, "go").exists():
                break
            time.sleep(0.01)
    return mlp(shape, classes, width, 1)
"""

CPU = ["cpu"]


@pytest.fixture
def stubborn(tmp_path, monkeypatch):
    """Write a specification whose networks are made by one of the functions above; return it and the folder of marks."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stubborn", raising=False)
    marks = tmp_path / "marks"
    marks.mkdir()

    def write(factory: str):
        spec = write_spec(
            tmp_path, architecture=f'name = "stubborn:{factory}"\noptions = {{ marks = "{marks}" }}', seeds="[0]"
        )
        return spec, marks

    return write


@pytest.fixture
def nursery():
    """A nursery of these tests' own: one that another test began has other modules in memory."""
    forkserver._forkserver._stop()
    yield
    forkserver._forkserver._stop()


def test_processes_train_the_same_zoo_however_many_they_are_and_whoever_dies(tmp_path, nursery, stubborn):
    spec, marks = stubborn("dies_once")
    build_here(spec, tmp_path / "here")
    (marks / "died").touch()
    build(spec, tmp_path / "one", local(1, CPU), trust_code=True)
    (marks / "died").unlink()
    build(spec, tmp_path / "two", local(2, CPU), trust_code=True)
    assert (marks / "died").exists()
    for folder in ("one", "two"):
        assert tables(tmp_path / folder) == tables(tmp_path / "here")
        assert_sound(tmp_path / folder)

    spec, marks = stubborn("dies")
    with pytest.raises(MdbenchError) as told:
        build(spec, tmp_path / "never", local(1, CPU), trust_code=True)
    assert str(told.value).startswith("worker processes ended 5 times in a row, perhaps for want of memory; fewer")
    kept = len([key for key in Store(tmp_path / "never").manifest().units if Store(tmp_path / "never").has(key)])
    assert str(told.value).endswith(f"{kept} of 4 units are kept, and the same command goes on from there")
    assert_sound(tmp_path / "never", finished=False)
    (marks / "healed").touch()
    build(spec, tmp_path / "never", local(2, CPU), trust_code=True)
    build_here(spec, tmp_path / "here-too")
    assert tables(tmp_path / "never") == tables(tmp_path / "here-too")
    assert not multiprocessing.active_children()


def test_an_error_in_a_worker_is_told_as_it_is_and_ends_the_others(nursery):
    with pytest.raises(ZeroDivisionError), local(2, CPU)() as executor:  # noqa: PT012 - it comes out of the whole
        executor.submit(time.sleep, 3600)
        executor.submit(divmod, 1, 0).result()
    assert not multiprocessing.active_children()


def test_devices_are_dealt_out_among_workers(nursery):
    from zoo_builder.building.executors import device_here

    with local(2, ["cuda:0", "cuda:1"])() as executor:
        first = executor.submit(_device_and_process)
        eventually(first.done, "a worker answers")
        found = {first.result()}
        while len(found) < 2:
            found |= {future.result() for future in [executor.submit(_device_and_process) for _ in range(20)]}
    assert {device for device, _ in found} == {"cuda:0", "cuda:1"}
    assert (device_here("cpu"), device_here("cuda")) == ("cpu", "cuda")


def _device_and_process() -> tuple[str, int]:
    from zoo_builder.building.executors import device_here

    return device_here("cpu"), os.getpid()


def test_a_device_is_one_that_is_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices("auto") == devices("cpu") == ["cpu"]
    for word in ("cuda", "cuda:0", "tpu", ""):
        with pytest.raises(MdbenchError, match=rf"device '{word}' is not here; there are: cpu$"):
            devices(word)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices("auto") == devices("cuda") == ["cuda:0", "cuda:1"]
    assert devices("cpu") == ["cpu"]
    assert devices("cuda:1,cpu") == ["cuda:1", "cpu"]
    with pytest.raises(MdbenchError, match="device 'cuda:2' is not here; there are: cpu, cuda:0, cuda:1"):
        devices("cuda:2")


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A Dask cluster of two processes on this machine."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: nothing was trained on a cluster")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1", silence_logs=60
    ) as cluster:
        yield cluster


def test_a_dask_cluster_trains_the_same_zoo_whoever_dies(tmp_path, stubborn, cluster, monkeypatch):
    spec, marks = stubborn("dies_once")
    build_here(spec, tmp_path / "here")
    before = {worker.pid for worker in cluster.workers.values()}
    build(spec, tmp_path / "dask", dask(cluster.scheduler_address), trust_code=True)
    assert (marks / "died").exists()
    assert before - {worker.pid for worker in cluster.workers.values()}
    assert tables(tmp_path / "dask") == tables(tmp_path / "here")
    assert_sound(tmp_path / "dask")

    # A unit that kills whoever touches it: Dask gives it up, and so do we.
    monkeypatch.setattr("zoo_builder.building.executors._DEATHS", 2)
    cluster.scheduler.allowed_failures = 0
    spec, _ = stubborn("dies")
    with pytest.raises(MdbenchError, match="worker processes ended 2 times in a row, perhaps for want of memory"):
        build(spec, tmp_path / "never", dask(cluster.scheduler_address), trust_code=True)
    assert_sound(tmp_path / "never", finished=False)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_a_dask_scheduler_that_goes_away_is_said(tmp_path, how):
    pytest.importorskip("distributed", reason="Dask is not installed: no scheduler was killed")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    file = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen(
        [*command, "--no-dashboard", "--scheduler-file", file],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        eventually(lambda: file.exists() and file.read_text().endswith("}"), "a scheduler starts")
        address = json.loads(file.read_text())["address"]
        with pytest.raises(MdbenchError) as told:
            # It has no workers, so that the build would wait.
            build(write_spec(tmp_path), tmp_path / "zoo", _then(dask(address), lambda: scheduler.send_signal(how)))
    finally:
        scheduler.kill()
        scheduler.wait()
    assert str(told.value) == (
        f"the Dask scheduler at {address} went away; finished units are kept. Start it again, and the same command goes on "
        "from there"
    )
    assert_sound(tmp_path / "zoo", finished=False)


def _then(open_executor, act):
    """Return what opens an executor that acts half a second after the first unit was given to it."""

    @contextmanager
    def opening():
        with open_executor() as executor:
            real, timer = executor.submit, threading.Timer(0.5, act)

            def submit(*arguments):
                future = real(*arguments)
                if not timer.is_alive() and not timer.finished.is_set():
                    timer.start()
                return future

            executor.submit = submit
            yield executor

    return opening


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "ftp://127.0.0.1:1"])
def test_a_dask_scheduler_that_does_not_answer_is_said(tmp_path, monkeypatch, address):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: no scheduler was asked")
    real = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda where, timeout: real(where, timeout="1s"))
    with pytest.raises(MdbenchError, match=f"no Dask scheduler answers at {address}: ") as told:
        build(write_spec(tmp_path), tmp_path / "zoo", dask(address))
    assert "\n" not in str(told.value)


def test_dask_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MdbenchError, match=r"--dask needs Dask: pip install -e '.\[dask\]'"):
        dask("tcp://127.0.0.1:8786")
