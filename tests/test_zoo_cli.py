"""``mdbench zoo``, as it is used: what it prints, how it ends, and what is left of it."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import toy
from tiny_zoo import (
    CLASSES,
    FEATURES,
    TRAIN,
    assert_sound,
    build_here,
    contents,
    eventually,
    everything,
    here,
    processes,
    spec_text,
    tables,
    write_spec,
)

from mdbench.cli import main
from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from mdbench.tables.zoo import Zoo
from zoo_builder import building
from zoo_builder.building import executors
from zoo_builder.report import show_zoo
from zoo_builder.training.kernels import apart

STOPPED = "stopped; finished units are kept, and the same command goes on from there\n"
#: Networks whose training begins when it may; until then their worker leaves a mark.
WAITING = """
import multiprocessing, os, time
from pathlib import Path
from zoo_builder.models import mlp

def waits(shape, classes, width, marks):
    if multiprocessing.parent_process() is not None and width == 3:
        Path(marks, str(os.getpid())).touch()
        while not Path(marks, "go").exists():
            time.sleep(0.01)
    return mlp(shape, classes, width, 1)
"""


@pytest.fixture
def mdbench(monkeypatch, capsys):
    """Run ``mdbench zoo`` in this process, workers included; return exit code, output and errors."""
    monkeypatch.setattr(executors, "local", lambda *_: here)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mdbench", "zoo", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_help_lists_the_commands(mdbench):
    code, out, _ = mdbench("--help")
    assert code == 0
    for command, said in (("plan", "cost"), ("build", "Train a zoo"), ("status", "how far")):
        assert re.search(rf"^  {command} .*{said}", out, re.MULTILINE)
    assert "--dask" in mdbench("build", "--help")[1]


def by_hand() -> dict[str, object]:
    """What the usual tiny zoo costs: widths 2 and 3, batches of 4 and 8, half of the data and all of them, two seeds."""
    models = steps = samples = multiplications = 0
    for fraction in (0.5, 1):
        for width in (2, 3):
            for batch in (4, 8):
                for _ in (0, 1):
                    models += 1
                    steps += math.ceil(fraction * TRAIN / batch)
                    samples += math.ceil(fraction * TRAIN / batch) * batch
                    per_example = FEATURES * width + width * CLASSES
                    multiplications += 3 * per_example * math.ceil(fraction * TRAIN / batch) * batch
    return {
        "name": "tiny",
        "axes": {"data_fraction": [50, 100], "width": [2, 3], "batch_size": [4, 8]},
        "seeds": 2,
        "models": models,
        "units": 4,
        "steps": steps,
        "samples": samples,
        "parameters": [25, 36],  # 6·2 + 2·2 + 2·3 + 3, and 6·3 + 2·3 + 3·3 + 3
        "multiplications": multiplications,
        "form": "taped",
        "workers": 3,
    }


def test_a_plan_says_what_it_will_cost(mdbench, tmp_path):
    spec = write_spec(tmp_path)
    code, out, error = mdbench("plan", spec, "--workers", 3, "--device", "cpu", "--json")
    assert (code, error) == (0, "")
    said = json.loads(out)
    assert said.pop("seconds") > 0
    assert said.pop("bytes") > 0
    assert 1e8 < said.pop("memory") < 1e9
    assert said == by_hand()

    code, out, _ = mdbench("plan", spec, "--workers", 1, "--device", "cpu")
    assert code == 0
    rows = {
        label.strip(): text.strip()
        for label, text in re.findall(r"^(\S[^ ]*(?: [a-z]+)?)  +(\S.*)$", out, re.MULTILINE)
    }
    assert rows["grid"] == "2 data fraction × 2 width × 2 batch size × 2 seeds"
    assert rows["networks"] == "16, in 4 units of work"
    assert rows["trained"] == "one after the other, in compiled loops"
    assert rows["parameters"] == "25 to 36"
    assert rows["steps"] == str(by_hand()["steps"])
    assert rows["batch size"] == "4, 8"
    assert re.fullmatch(r"[\d.]+ MB a worker", rows["memory"])
    assert rows["time"].endswith("with 1 worker, once started")
    assert list(tmp_path.glob("home/zoos/*")) == []


def test_the_disk_that_a_plan_says_is_what_the_numbers_take(mdbench, tmp_path):
    spec = write_spec(tmp_path, width=[2, 3, 2000], batch_size=[16])
    code, out, _ = mdbench("plan", spec, "--workers", 1, "--json")
    assert code == 0
    assert mdbench("build", spec, "--out", tmp_path / "zoo")[0] == 0
    taken = sum(path.stat().st_size for path in tmp_path.glob("zoo/units/*/checkpoints.safetensors"))
    assert json.loads(out)["bytes"] == pytest.approx(taken, rel=0.05)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_plan_says_that_it_compiles_where_it_is_piped_too(mdbench, tmp_path, monkeypatch, form):
    """As if a loop had to be compiled while steps are timed. JSON is for programs, which read no such line."""
    timed = building.forecast

    def compiling(*given, **more):
        apart._tell()
        return timed(*given, **more)

    apart._tell.cache_clear()
    monkeypatch.setattr(building, "forecast", compiling)
    code, _, error = mdbench("plan", write_spec(tmp_path), "--workers", 1, "--device", "cpu", *form)
    assert code == 0
    assert error.startswith("compiling the loops") != bool(form)


def test_a_zoo_is_built_among_mdbenchs_own(mdbench, tmp_path, home):
    spec = write_spec(tmp_path)
    code, out, error = mdbench("build", spec)
    assert (code, error) == (0, "")
    folder = home / "zoos" / "tiny"
    assert "16, 0 diverged" in out
    assert "failure_source" in out
    assert f"wrote {folder}; next: mdbench zoo measure {folder}\n" in out
    assert load_zoo("tiny").digest == load_zoo(folder).digest
    assert_sound(folder)


def test_a_name_of_a_build_and_of_a_zoo_of_the_package_is_refused(mdbench, tmp_path, home, monkeypatch):
    bundled = tmp_path / "package"
    monkeypatch.setattr("mdbench.tables.bundled_zoos", lambda: bundled)  # the face that the command asks
    for folder in (bundled / "tiny", home / "zoos" / "tiny"):
        folder.mkdir(parents=True)
    code, _, error = mdbench("status", "tiny")
    assert code == 2
    said = " ".join(error.split())
    assert "zoo 'tiny' is in several places" in said
    assert "give the folder of the one you mean" in said


def test_a_build_says_as_json_how_far_it_is(mdbench, tmp_path):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    code, out, error = mdbench("build", spec, "--out", folder, "--json")
    assert (code, error) == (0, "")
    *progress, built = map(json.loads, out.splitlines())
    assert [line["event"] for line in progress] == ["progress"] * 5
    assert [line["models_done"] for line in progress] == [0, 4, 8, 12, 16]
    assert {line["models"] for line in progress} == {16}
    labels = load_zoo(folder).configurations["failure_source"].tolist()
    assert built["labels"]["failure_source"] == {verdict: labels.count(verdict) for verdict in set(labels)}
    assert {key: built[key] for key in ("event", "name", "folder", "models")} == {
        "event": "built",
        "name": "tiny",
        "folder": str(folder),
        "models": 16,
    }
    again = [json.loads(line) for line in mdbench("build", spec, "--out", folder, "--json")[1].splitlines()]
    assert [line["event"] for line in again] == ["progress", "built"]
    assert again[0]["found"] == 16
    assert again[1] == built


def test_a_zoo_of_single_seeds_or_of_nothing_but_divergence_is_shown(mdbench, tmp_path):
    code, out, _ = mdbench("build", write_spec(tmp_path, seeds="[0]"), "--out", tmp_path / "single")
    assert code == 0
    assert "standard error" not in out
    spec = write_spec(
        tmp_path,
        architecture='name = "mlp"\ndepth = 1\noptions = { norm = false }',
        training="epochs = 4\nlearning_rate = 1e30",
    )
    code, out, error = mdbench("build", spec, "--out", tmp_path / "wild")
    assert (code, error) == (0, "")
    assert "16, 16 diverged" in out
    assert "none: all networks diverged" in out
    assert "no verdicts" in out
    assert "nan" not in out
    *_, built = mdbench("build", spec, "--out", tmp_path / "wild", "--json")[1].splitlines()
    assert json.loads(built)["labels"]["failure_source"] == {}
    assert json.loads(mdbench("status", tmp_path / "wild", "--json")[1])["diverged"] == 16


def test_status_says_how_far_a_build_is(mdbench, tmp_path):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    code, out, error = mdbench("status", folder)
    assert (code, out) == (2, "")
    assert error == f"error: {folder} is not the folder of a build: it has no build.json\n"

    build_here(spec, folder)
    for name in ("zoo.json", "configurations.parquet"):
        (folder / name).unlink()
    unit = next((folder / "units").iterdir())
    unit.rename(tmp_path / "away")
    code, out, _ = mdbench("status", folder)
    assert code == 0
    assert re.search(r"^networks +12 of 16 \(75 %\) *$", out, re.MULTILINE)
    assert re.search(r"^units +3 of 4 *$", out, re.MULTILINE)
    assert re.search(r"^tables +not yet: `mdbench zoo build` writes them", out, re.MULTILINE)

    (tmp_path / "away").rename(unit)
    build_here(spec, folder)
    said = json.loads(mdbench("status", folder, "--json")[1])
    assert said.pop("seconds") > 0
    assert said == {
        "name": "tiny",
        "measured": {},
        "models": 16,
        "models_done": 16,
        "units": 4,
        "units_done": 4,
        "diverged": 0,
        "bytes": sum(map(len, contents(folder).values())),
        "tables": True,
    }


WRONG = {
    "no file": (None, r"cannot be read: No such file or directory"),
    "no TOML": ("name = ", r"is not TOML: "),
    "no text": (b"\xff\xfe\x00", r"cannot be read: .*utf-8"),
    "nothing": ("", r"name: is missing: write it \(and \d more\)"),
    "an unknown key": ({"training": "epoch = 1"}, r"training\.epoch: there is no such key; docs/zoos\.md has all"),
    "a wrong knob": ({"height": [1, 2]}, r"axes\.0\.knob: must be 'width'"),
    "a wrong value": ({"width": [1.5, 2]}, r"axes\.0: width must be a whole number from 1 up, not 1\.5"),
    "values that do not ascend": ({"width": [3, 2]}, r"axes\.0: the values of width must ascend"),
    "a knob twice": ({"training": "epochs = 0"}, r"training: epochs must be a whole number from 1 up"),
    "an unknown data set": ({"data": "mnist2d"}, r"dataset: data set 'mnist2d' is unknown; there are mnist1d"),
    "an unknown architecture": ({"architecture": 'name = "vit"'}, r"architecture: 'vit' is none of mlp, cnn1d"),
    "a factory that is nowhere": ({"architecture": 'name = "no.where:net"'}, r"no\.where"),
    "a wrong name": ({"name": "../up"}, r"name: String should match pattern"),
    "an architecture for images": (
        {"architecture": 'name = "resnet18"'},
        r"architecture resnet18 wants inputs of shape",
    ),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("command", ["plan", "build"])
def test_a_wrong_specification_is_said_in_one_line(mdbench, tmp_path, home, command, wrong, message):
    spec = tmp_path / "spec.toml"
    if isinstance(wrong, dict):
        write_spec(tmp_path)
        changes = dict(wrong)
        data = changes.pop("data", tmp_path / "data.npz")
        spec.write_text(spec_text(data, **changes))
    elif wrong is not None:
        spec.write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
    code, out, error = mdbench(command, spec, "--device", "cpu", "--trust-code")
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"error: .*{message}.*\n", error), error
    assert not home.exists()


def test_code_that_a_specification_names_is_run_where_the_command_says_so_alone(mdbench, tmp_path, home, monkeypatch):
    (tmp_path / "trusted_net.py").write_text(
        "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nfrom zoo_builder.specification.models import mlp\n"
        "def net(shape, classes, width):\n    return mlp(shape, classes, width, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec, folder = write_spec(tmp_path, architecture='name = "trusted_net:net"', width=[2]), tmp_path / "zoo"
    for words in (
        ("plan", spec, "--device", "cpu"),
        ("build", spec, "--out", folder, "--device", "cpu"),
        ("measure", folder, "--families", "spectra", "--device", "cpu"),
        ("show", folder, "--config", "width=2", "--out", tmp_path / "figures"),
        ("publish", folder, "--to", tmp_path / "out"),
    ):
        monkeypatch.delitem(sys.modules, "trusted_net", raising=False)
        (tmp_path / "trusted_net.ran").unlink(missing_ok=True)
        code, out, error = mdbench(*words)
        assert (code, out) == (2, "")
        assert "runs code of its own, trusted_net:net; " in error
        assert not (tmp_path / "trusted_net.ran").exists()
        assert mdbench(*words, "--trust-code")[0] == 0


def test_what_else_can_be_wrong_is_said_in_one_line(mdbench, tmp_path):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    for words, message in (
        (("plan", spec, "--device", "tpu"), "device 'tpu' is not here; there are: cpu"),
        (("build", spec, "--device", "tpu"), "device 'tpu' is not here; there are: cpu"),
        (("build", spec, "--out", spec), rf"{spec}"),
        (("build", spec, "--dask", "x", "--device", "cuda:1"), "the workers of a Dask cluster have their own devices"),
        (("status", tmp_path), "is not the folder of a build"),
    ):
        code, out, error = mdbench(*words)
        assert (code, out) == (2, "")
        assert re.fullmatch(rf"error: .*{message}.*\n", error), error
    build_here(spec, folder)
    before = everything(folder)
    write_spec(tmp_path, seeds="[9]")
    code, _, error = mdbench("build", spec, "--out", folder)
    assert code == 2
    assert f"another specification, kept as {folder / 'spec.toml'}; nothing was changed" in error
    assert everything(folder) == before
    assert "Invalid value for '--workers'" in mdbench("build", spec, "--workers", 0)[2]


def test_a_package_that_is_missing_is_named_with_the_way_to_get_it(tmp_path):
    """PyTorch is not to be found, in a process of its own; the help needs none of it."""
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['mdbench', 'zoo', *sys.argv[1:]]; "
        "from mdbench.__main__ import main; main()"
    )
    words = ["build", "x.toml"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the package torch is missing; run pip install -e '.[zoo]' in a clone of mdbench\n"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  build " in done.stdout


@pytest.mark.parametrize(
    "line", ["from zoo_builder.landscape import measure", "from zoo_builder import load_checkpoint"]
)
def test_so_it_is_in_python(line):
    program = f"import sys; sys.modules['torch'] = None\n{line}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = "the package torch is missing; run pip install -e '.[zoo]' in a clone of mdbench"
    assert done.stderr.splitlines()[-1] == f"mdbench.errors.MdbenchError: {said}"


# The real command, in a process group of its own


class Command:
    """``mdbench zoo build`` at work, or ``measure``, with two workers."""

    def __init__(self, spec: Path, folder: Path, log: Path, measures: bool) -> None:
        words = ["zoo", "measure", folder] if measures else ["zoo", "build", spec, "--out", folder]
        words += ["--workers", "2", "--device", "cpu", "--json", "--trust-code"]
        self._log = log.with_suffix(".out"), log.with_suffix(".err")
        with self._log[0].open("wb") as out, self._log[1].open("wb") as error:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mdbench", *words],
                stdout=out,
                stderr=error,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": str(spec.parent)},
                cwd=spec.parent,
                start_new_session=True,
            )

    def running(self) -> dict[int, str]:
        return processes(self.process.pid)

    def ended(self) -> tuple[int, str, str]:
        """Wait for its end and that of everything that it started; return exit code, output and errors."""
        code = self.process.wait()
        eventually(lambda: not self.running(), "everything that the command started ends")
        return (code, *(path.read_text() for path in self._log))


@pytest.fixture
def start(tmp_path):
    """Start the real command; whatever of it is left is killed at the end."""
    started = []

    def one(spec: Path, folder: Path, measures: bool = False) -> Command:
        started.append(Command(spec, folder, tmp_path / f"log-{len(started)}", measures))
        return started[-1]

    yield one
    for command in started:
        if command.process.poll() is None or command.running():
            os.killpg(command.process.pid, signal.SIGKILL)
        command.process.wait()


def test_the_real_command_is_stopped_killed_and_gone_on_with(tmp_path, start, monkeypatch):
    """Killed alone, its workers end themselves; a worker killed, it goes on; stopped, it says so and leaves nothing behind."""
    (tmp_path / "waiting.py").write_text(WAITING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "waiting", raising=False)
    marks = tmp_path / "marks"
    marks.mkdir()
    spec = write_spec(tmp_path, architecture=f'name = "waiting:waits"\noptions = {{ marks = "{marks}" }}')
    folder = tmp_path / "zoo"
    build_here(spec, tmp_path / "whole")

    def at_work(command: Command, number: int) -> list[int]:
        """Wait until so many workers of a command have left a mark, and return them."""

        def mine() -> list[int]:
            return [process for process in command.running() if (marks / str(process)).exists()]

        eventually(lambda: len(mine()) >= number, f"{number} workers are at work")
        return mine()

    # Killed: the main process alone.
    command = start(spec, folder)
    assert len(at_work(command, 2)) == 2
    with pytest.raises(MdbenchError, match=f"another build is at work in {folder}; wait for it, or stop it"):
        build_here(spec, folder)
    command.process.kill()
    assert command.ended()[0] == -signal.SIGKILL
    assert_sound(folder, finished=False)

    # Stopped, as Ctrl-C does, while workers are at work.
    command = start(spec, folder)
    at_work(command, 2)
    os.killpg(command.process.pid, signal.SIGINT)
    code, _, error = command.ended()
    assert (code, error) == (130, STOPPED)
    assert_sound(folder, finished=False)

    # A worker is killed; the others are let go on, and so is who comes in its place.
    command = start(spec, folder)
    os.kill(at_work(command, 1)[0], signal.SIGKILL)
    (marks / "go").touch()
    code, out, error = command.ended()
    assert (code, error) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert (events[-1]["event"], events[-1]["models"]) == ("built", 16)
    assert tables(folder) == tables(tmp_path / "whole")
    assert_sound(folder)


@pytest.mark.parametrize("moment", ["imports", "nursery"])
def test_the_real_command_is_stopped_before_it_has_workers(tmp_path, start, moment):
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    command = start(spec, folder)
    if moment == "imports":
        eventually(lambda: "libtorch" in Path(f"/proc/{command.process.pid}/maps").read_text(), "PyTorch is imported")
    else:
        eventually(lambda: any("forkserver" in line for line in command.running().values()), "the nursery starts")
    os.killpg(command.process.pid, signal.SIGINT)
    code, _, error = command.ended()
    assert (code, error) == (130, STOPPED)
    build_here(spec, folder)
    assert_sound(folder)


def test_measuring_is_stopped_however_often_ctrl_c_is_pressed(tmp_path, start):
    """It says so, and nothing else: no traceback, no warning of what was leaked."""
    spec, folder = write_spec(tmp_path), tmp_path / "zoo"
    build_here(spec, folder)
    for again in (0, 0.2):
        shutil.rmtree(folder / "landscape", ignore_errors=True)
        command = start(spec, folder, measures=True)
        eventually(lambda: list(folder.glob("landscape/*/*/unit.json")), "a family is measured")
        os.killpg(command.process.pid, signal.SIGINT)
        if again:
            time.sleep(again)
            with suppress(ProcessLookupError):
                os.killpg(command.process.pid, signal.SIGINT)
        code, _, error = command.ended()
        assert error == STOPPED
        assert code in (130, -signal.SIGINT)  # which is 130 to a shell


@pytest.mark.parametrize("knob", ["batch_size", "rho"])
def test_what_is_next_can_be_done(capsys, tmp_path, knob):
    moves = [move for move in toy.zoo().moves if move.knob == knob]
    table = pd.DataFrame({knob: [8.0, 16.0], "test_error": [5.0, 6.0], "seeds": [1, 1], "diverged_seeds": [0, 0]})
    show_zoo(Zoo.from_table("small", "", table, moves, toy.zoo().provenance), tmp_path)
    assert f"; next: mdbench zoo measure {tmp_path}\n" in capsys.readouterr().out
