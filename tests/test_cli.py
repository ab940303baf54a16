"""The command line, as a user meets it: real files, and real processes where it is about them."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import toy
from test_modeldiagnosis import clone  # noqa: F401 - a fixture
from tiny_zoo import Faults, contents, failing

import mdbench.cli
from mdbench.__main__ import main
from mdbench.cases import load_cases
from mdbench.scoring.memory import PeakMemory
from mdbench.scoring.results import Result, load_result
from mdbench.tables import COLUMNS

MDBENCH = str(Path(sys.executable).with_name("mdbench"))
CORE = "mnist1d-cnn/optimizer/cross-noise/20"
CASE = "cifar10/optimizer/few-shot/3"
GOOD = "class Good:\n    columns = ['train_error']\n    def fit(self, m, l): self.l = l.mode()[0]\n    def predict(self, m): return [self.l] * len(m)\n"


def run(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MDBENCH, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture
def here(monkeypatch, capfd):
    """Run ``mdbench`` in this process, which has imported what it needs."""

    def run_here(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["mdbench", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, *capfd.readouterr())

    return run_here


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line by which something was refused: exit code 2, one or two lines, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert 1 <= len(lines) <= 2, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture
def refused(here):
    """Run something that must be refused, in this process; return the line that says so."""
    return lambda *arguments: refusal(here(*arguments))


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; from mdbench.cli import main; sys.argv = ['mdbench', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'datasets', 'matplotlib', 'pandas', 'numpy', 'sklearn', 'pydantic', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("evaluate", "compare", "prescribe", "methods", "cases", "columns", "import", "plot"):
        assert f"  {command} " in done.stdout


def test_means_of_how_sure_methods_are_stand_beside_means_over_the_same_cases(here, method_file):
    some = method_file(
        "from sklearn.dummy import DummyClassifier\ncolumns = {'optimizer': ['train_error']}\n"
        "method = DummyClassifier(strategy='prior')\n",
        "some.py",
    )
    cases = ("--cases", "sisters", "--samples", "2", "--workers", "0", "--beside", "", "--json")
    said = json.loads(here("evaluate", some, "majority", *cases).stdout)
    losses = {(s["method"], s["case"]): s["probability"]["log_loss"] for s in said["scores"]}
    shared = [case for method, case in losses if method == "some"]
    assert len(shared) == 3
    shown = here("evaluate", some, "majority", *cases[:-1]).stdout.split("how sure, and whether that is deserved")[1:]
    assert [text.split("\n")[0].strip() for text in shown] == [
        ", over all 12 cases",
        ", over the 3 cases of optimizer that these all answer",
    ]
    for text, names, over in ((shown[0], ["majority"], None), (shown[1], ["majority", "some"], shared)):
        rows = {line.split()[0]: line.split()[1] for line in text.splitlines()[2:] if line.split()[:1] != []}
        for name in names:
            mean = sum(v for (m, c), v in losses.items() if m == name and (over is None or c in over))
            count = sum(m == name and (over is None or c in over) for m, c in losses)
            assert rows[name] == f"{mean / count:.3f}"
        assert ("some" in rows) == ("some" in names)


def test_below_a_line_a_case_nothing_is_explained_that_is_not_there(here):
    many = here("evaluate", "majority", "--cases", "sisters", "--beside", "", "--samples", "1")
    one = here("evaluate", "majority", "--cases", CORE, "--beside", "", "--samples", "1")
    for text in ("±", "interval"):
        assert text not in many.stdout
        assert text in one.stdout


def test_the_default_of_prescribe_is_the_one_that_its_help_names(here):
    told = " ".join(here("prescribe", "--help").stdout.split())
    (named,) = re.findall(r"default: ([\w-]+), with --zoo", told)
    done = here("prescribe", "majority", "--beside", "")
    cases = [case.name for case in load_cases(named)]
    assert done.stdout.startswith(f"{len(cases)} cases: {named}\n")
    assert [line.strip() for line in done.stdout.splitlines() if line.strip() in cases] == cases


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, mdbench; assert not {'torch', 'pandas', 'numpy', 'matplotlib', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version():
    assert re.fullmatch(r"mdbench \d+\.\d+\.\d+\n", run("--version").stdout)


@pytest.mark.parametrize("command", ["methods", "cases", "columns"])
def test_lists(here, command):
    done = here(command)
    assert done.returncode == 0, done.stderr
    expected = {"methods": "barrier_rule", "cases": "cifar10/optimizer/few-shot", "columns": "log_hessian_trace"}
    assert expected[command] in done.stdout


def test_columns_say_what_they_need(here):
    said = here("columns").stdout.splitlines()
    facts = {name: said[at + 1].strip() for at, name in enumerate(said[:-1]) if name and not name.startswith(" ")}
    assert facts["hessian_trace"] == "a number; landscape; seen by every method"
    assert facts["mode_connectivity"] == "in points; landscape; seen by every method; needs classes, two seeds"
    assert facts["membership_auc_clean"].endswith("seen by no method; needs classes, test data, which labels are wrong")
    assert facts["test_error"] == "in %; validation; seen by inductive methods; needs classes, test data"
    assert facts["train_ece_quantile"] == "a number; landscape; seen by transductive methods; needs classes"
    assert facts.keys() == COLUMNS.keys()


def test_from_a_clone_to_scores(here, clone, home, method_file, tmp_path):  # noqa: F811
    done = run("import", "modeldiagnosis", clone)
    assert done.returncode == 0, done.stderr
    assert "cifar10-resnet18-noise10: 1,690 configurations" in done.stdout
    mine = method_file(GOOD, "mine.py")
    done = run("evaluate", mine, "--cases", CASE, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for name in ("mine", "md_tree", "validation_tree", "hyperparameter_tree", "majority"):
        assert re.search(rf"^\d +{name} ", done.stdout, re.MULTILINE), done.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {score["method"] for score in result["scores"]} >= {"mine", "md_tree"}
    assert (tmp_path / "out" / "predictions.parquet").is_file()

    done = run("compare", mine, "md_tree", "--cases", CASE)
    assert done.returncode == 0, done.stderr
    assert "mine − md_tree" in done.stdout
    done = run("prescribe", "md_tree", "--cases", "cifar10/width_vs_optimizer/few-shot/1", "--beside", "")
    assert done.returncode == 0, done.stderr
    assert "best possible" in done.stdout
    for way, arguments in (
        (run, ("phase", "failure_source")),
        (here, ("phase", "output_cka")),
        (here, ("budget", "--cases", "cifar10/optimizer/width-limited")),
    ):
        out = tmp_path / f"{arguments[1].strip('-')}.png"
        done = way("plot", *arguments, "--out", out)
        assert done.returncode == 0, done.stderr
        assert out.read_bytes().startswith(b"\x89PNG")


def test_a_zoo_of_ones_own_at_once(here, refused, home, method_file, tmp_path):
    toy.own_zoo().save(tmp_path / "zoo")
    mine = method_file(GOOD, "mine.py")
    one = ("--zoo", tmp_path / "zoo", "--cases", "own/optimizer/*")
    done = here("evaluate", mine, *one)
    assert done.returncode == 0, done.stderr
    assert "own/optimizer/held-out/3" in done.stdout
    assert "own/optimizer/cross-noise/2" in done.stdout
    assert re.search(r"^\d+ +mine ", done.stdout, re.MULTILINE)
    done = here("compare", mine, "md_tree", *one)
    assert done.returncode == 0, done.stderr
    assert "own/optimizer/held-out/3" in done.stdout
    done = here("prescribe", "md_tree", *one, "--beside", "")
    assert done.returncode == 0, done.stderr
    assert "best possible" in done.stdout
    assert "case 'paper' does not exist" in refused("evaluate", mine, *one[:2], "--cases", "paper")
    assert "is not there" in refused("evaluate", mine, "--zoo", tmp_path / "nothing")


@pytest.mark.usefixtures("toy_home")
class TestRefusals:
    def test_a_path_that_is_no_clone(self, refused, tmp_path, home):
        assert "is no clone of" in refused("import", "modeldiagnosis", tmp_path)

    def test_a_bad_clone_leaves_the_zoos_as_they_were(self, refused, clone, home):  # noqa: F811
        before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
        bad = next(clone.rglob("*noise*.csv"))  # the second of the two
        bad.write_text(bad.read_text().replace("CKA", "cka", 1))
        assert "column 'CKA' is missing" in refused("import", "modeldiagnosis", clone)
        assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before

    def test_an_unknown_case(self, refused):
        assert "case 'nope' does not exist" in refused("evaluate", "md_tree", "--cases", "nope")

    @pytest.mark.parametrize("command", ["evaluate", "prescribe", "tabulate"])
    @pytest.mark.parametrize("cases", ["", ","])
    def test_no_case(self, refused, command, cases):
        assert "no case is named; there are the selections core," in refused(command, "majority", "--cases", cases)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("evaluate", "md_tre", "--cases", CASE),
            ("evaluate", "majority", "--beside", "md_tre", "--cases", CASE),
            ("compare", "majority", "md_tre", "--cases", CASE),
            ("prescribe", "md_tre", "--cases", CASE),
            ("tabulate", "majority", "md_tre", "--cases", CASE),
            ("plot", "budget", "md_tre", "--cases", CASE),
        ],
    )
    def test_a_misspelt_method_before_any_is_asked(self, here, arguments, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        done = here(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: method 'md_tre' does not exist; give a file, or one of ")
        assert done.stderr.endswith(" (nearest: md_tree)\n")
        assert not list(tmp_path.glob("*.*"))  # no figure, no document

    def test_a_misspelt_column(self, refused, method_file):
        file = method_file(GOOD.replace("'train_error'", "'train_eror'"), "bad.py")
        said = refused("evaluate", file, "--cases", CASE, "--beside", "")
        assert said.endswith(
            "column 'train_eror' does not exist; `mdbench columns` lists those that do (nearest: train_error)"
        )
        assert refused("plot", "phase", "widht").endswith("(nearest: width)")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("def f(:\n", "syntax error"),
            ("x = 1", "there is no method"),
            (f"columns = ['width']\n{GOOD.replace('columns', 'others')}", "column 'width' is forbidden"),
            (GOOD.replace("[self.l]", "['?']"), "it predicted '?'"),
            (GOOD.replace("[self.l] * len(m)", "[]"), "it predicted 0 labels for"),
            (GOOD.replace("[self.l]", "[float('nan')]"), "it predicted NaN for"),
        ],
    )
    def test_a_bad_method(self, refused, method_file, text, message):
        file = method_file(text, "bad.py")
        assert message in refused("evaluate", file, "--cases", CASE, "--beside", "")

    def test_a_method_that_raises_shows_its_own_frames(self, method_file):
        file = method_file(GOOD.replace("self.l = l.mode()[0]", "1 / 0"), "bad.py")
        done = run("evaluate", file, "--cases", CASE, "--beside", "majority")
        assert done.returncode == 2
        assert re.search(r"^1 +majority ", done.stdout, re.MULTILINE)
        first, *frames = done.stderr.strip().splitlines()
        assert first == f"error: method bad, case {CASE}: it raised ZeroDivisionError: division by zero"
        assert "bad.py" in frames[0]
        assert not any("trial.py" in line for line in frames)

    def test_a_method_that_takes_too_long(self, method_file):
        file = method_file(GOOD.replace("self.l = l.mode()[0]", "import time; time.sleep(600)"), "slow.py")
        done = run(
            "evaluate", file, "--cases", CASE, "--beside", "", "--timeout", "1", timeout=300
        )  # and it does not wait
        assert "longer than 1 s (--timeout)" in refusal(done)

    def test_an_unknown_column_to_plot(self, refused, tmp_path):
        assert "column 'sharpness' does not exist" in refused("plot", "phase", "sharpness", "--out", tmp_path / "a.png")
        assert "ends in .pdf, .png, .svg" in refused("plot", "phase", "width", "--out", tmp_path / "a.gif")
        assert "there is no folder" in refused("plot", "phase", "width", "--out", tmp_path / "no" / "a.png")
        assert not list(tmp_path.glob("*.png"))


def test_without_a_zoo_it_says_how_to_get_one(home):
    assert "mdbench import modeldiagnosis PATH" in refusal(run("evaluate", "md_tree", "--cases", "paper"))


@pytest.mark.usefixtures("toy_home")
def test_ctrl_c_ends_at_once_and_keeps_what_was_answered(method_file, home):
    slow = GOOD.replace("self.l = l.mode()[0]", "import time; self.l = l.mode()[0]; time.sleep(60 * (len(l) > 60))")
    file = method_file(slow, "slow.py")
    cases = "cifar10/optimizer/few-shot/1,cifar10/optimizer/few-shot/24"
    # As a terminal would have it: in a session of its own, whose whole group the signal reaches.
    process = subprocess.Popen(
        [sys.executable, "-m", "mdbench", "evaluate", str(file), "--cases", cases, "--beside", ""],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(home.glob("cache/answers/*/*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("stopped; answers given so far are kept")
    assert "Traceback" not in errors


def _living(session: int) -> list[str]:
    """Return the command lines of the processes of a session that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state not in "ZX":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted by what Linux tells of them")
@pytest.mark.usefixtures("toy_home")
@pytest.mark.parametrize("after", ["the first worker", "the first answer"])
def test_ctrl_c_pressed_again_leaves_no_traceback_and_no_process(method_file, home, after):
    slow = GOOD.replace("self.l = l.mode()[0]", "import time; self.l = l.mode()[0]; time.sleep(60 * (len(l) > 60))")
    file = method_file(slow, "slow.py")
    cases = "cifar10/optimizer/few-shot/1,cifar10/optimizer/few-shot/24"
    process = subprocess.Popen(
        [sys.executable, "-m", "mdbench", "evaluate", str(file), "--cases", cases, "--beside", ""],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120

    def begun() -> bool:
        if after == "the first worker":  # while its imports are under way
            return len(_living(process.pid)) > 1
        return bool(list(home.glob("cache/answers/*/*.npz")))

    while not begun():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for wait in (0, 0.01, 0.05, 0.2):
        time.sleep(wait)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    while _living(process.pid):
        assert time.monotonic() < deadline, _living(process.pid)
        time.sleep(0.1)


@pytest.mark.usefixtures("toy_home")
def test_libraries_warn_once_a_method(method_file):
    text = (
        "from sklearn.linear_model import LogisticRegression\nimport warnings\nwarnings.warn('loading')\n"
        "columns = ['train_error', 'output_cka']\nmethod = LogisticRegression(max_iter=2)"
    )
    file = method_file(text, "hasty.py")
    cases = "cifar10/optimizer/few-shot/1,cifar10/optimizer/few-shot/3"
    for workers in (2, 0):
        for _ in ("asked", "from the cache"):
            done = run("evaluate", file, "--cases", cases, "--beside", "majority", "--workers", workers)
            assert done.returncode == 0, done.stderr
            (line,) = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
            assert re.fullmatch(r"warning: method hasty: ConvergenceWarning: lbfgs failed .* \(in 2 cases\)", line)
            assert done.stderr.count("ConvergenceWarning") == 1
            assert done.stderr.count("UserWarning: loading") == 1


def test_what_failed_is_said_though_the_result_cannot_be_written(here, tmp_path, method_file):
    broken = method_file(GOOD.replace("return [self.l] * len(m)", "raise ValueError('no idea')"), "broken.py")
    (tmp_path / "taken").write_text("a file")
    done = here(
        "evaluate", broken, "majority", "--beside", "", "--cases", CORE, "--workers", "0", "--out", tmp_path / "taken"
    )
    assert done.returncode == 2
    assert f"method broken, case {CORE}: it raised ValueError: no idea" in done.stderr
    assert done.stderr.endswith(f"error: cannot write the result to {tmp_path / 'taken'}: File exists\n")


@pytest.mark.usefixtures("toy_home")
def test_a_full_disk_is_said_once_and_takes_nothing_of_an_evaluation(here, home, tmp_path):
    out, answers = tmp_path / "out", home / "cache"
    command = ("evaluate", "majority", "md_tree", "--beside", "", "--cases", CASE, "--workers", "0", "--out", out)
    shown = [line for line in here(*command, "--no-cache").stdout.splitlines() if " scores in " not in line]
    before = contents(out)
    with Faults(out, failing(errno.ENOSPC)).watching() as clean:
        here(*command, "--no-cache")
    assert len(clean.calls) >= 6
    for at in range(1, len(clean.calls) + 1):
        with Faults(out, failing(errno.ENOSPC), at, lasting=True).watching():
            done = here(*command, "--no-cache")
        assert done.returncode == 2
        assert done.stderr == f"error: cannot write the result to {out}: No space left on device\n"
        assert [line for line in done.stdout.splitlines() if " scores in " not in line] == shown[:-1]
        # Each file is there whole under its name, the old one or the new one, and nothing beside them.
        assert set(contents(out)) == set(before)
        assert (
            len(load_result(out).predictions) == len(load_result(out).scores) * 5 * load_result(out).cases[0].test_rows
        )
    with Faults(answers, failing(errno.ENOSPC), 1, lasting=True).watching(), warnings.catch_warnings():
        warnings.simplefilter("always")
        done = here(*command)
    assert done.returncode == 0
    kept = "answers are not kept in .*: No space left on device; they will be asked for again"
    assert re.fullmatch(f"warning: {kept}\n", done.stderr), done.stderr
    assert not contents(answers)
    assert [line for line in done.stdout.splitlines() if " scores in " not in line] == shown


@pytest.mark.usefixtures("toy_home")
@pytest.mark.parametrize(
    ("beside", "imported", "there"),
    [
        ("", "", []),
        ("", "from sklearn.tree import DecisionTreeClassifier as _", ["scipy.optimize", "sklearn.tree"]),
        ("", "import baselines.md_tree", ["scipy.optimize"]),
        ("validation_tree", "", ["scipy.optimize", "sklearn.tree"]),
        ("md_tree,majority", "", ["scipy.optimize"]),
    ],
)
def test_workers_have_what_methods_import_from_the_start_and_no_more(method_file, beside, imported, there):
    text = (
        f"import sys\nfound = sorted({{'sklearn.tree', 'scipy.optimize'}} & set(sys.modules))\n"
        f"if found != {there}: raise ImportError(str(found))\n{imported}\n{GOOD}"
    )
    done = run("evaluate", method_file(text), "--cases", CASE, "--beside", beside, "--no-cache")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("toy_home")
def test_a_method_that_cannot_be_loaded_is_refused_before_any_is_asked(here, method_file, home):
    broken = method_file(f"{GOOD}\nraise RuntimeError('not today')", "broken.py")
    for command in (("evaluate",), ("prescribe",), ("compare", "majority")):
        done = here(*command, broken, "--cases", CASE)
        assert (done.returncode, done.stdout) == (2, "")
        first, *frames = done.stderr.splitlines()
        assert first == "error: broken.py cannot be loaded: RuntimeError: not today"
        assert "broken.py" in frames[0]
        assert not any("method.py" in line for line in frames)
    assert not list(home.glob("cache/answers/*/*.npz"))
    misspelt = method_file(GOOD.replace("train_error", "train_eror"), "t1.py")
    said = here("evaluate", misspelt, "--cases", CASE).stderr
    assert said.startswith("error: t1.py: column 'train_eror' does not exist;")
    assert said.count("t1") == 1


def test_json_has_the_result_and_the_memory_of_all_processes():
    done = run("evaluate", "md_tree", "--json", "--no-cache")
    assert done.returncode == 0, done.stderr
    result = Result.model_validate_json(done.stdout)
    assert [score.method for score in result.scores if score.rank == 1 and score.case == CORE] == ["md_tree"]
    assert 100e6 < result.peak_memory <= 1e9


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_a_method_prints_is_no_part_of_the_result(tmp_path, workers):
    file = tmp_path / "chatty.py"
    file.write_text(
        "print('loaded')\ncolumns = ['train_error']\n\n\nclass Chatty:\n    def fit(self, models, labels):\n"
        "        print('fitted')\n        self.verdict = labels.mode()[0]\n\n"
        "    def predict(self, models): return [self.verdict] * len(models)\n"
    )
    words = ("evaluate", file, "--beside", "", "--cases", CORE, "--json", "--no-cache", "--workers", workers)
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert [score.method for score in Result.model_validate_json(done.stdout).scores] == ["chatty"]
    assert "fitted" in done.stderr


@pytest.mark.parametrize("inside", ["raise KeyboardInterrupt", "exec('raise KeyboardInterrupt')"])
def test_ctrl_c_ends_with_130_wherever_it_comes(inside, tmp_path):
    """Of one that left an ``exec`` of text, ``python -m`` would end by the signal, whatever `sys.exit` was told."""
    (tmp_path / "begun.py").write_text(
        f"import mdbench.__main__ as m\ndef run(words): {inside}\nm._run = run\nm.main()\n"
    )
    done = subprocess.run([sys.executable, "-m", "begun"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "stopped\n")


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux alone tells")
def test_the_peak_is_of_what_children_hold_too():
    child = "import time; held = bytearray(200_000_000); print('held', flush=True); time.sleep(60)"
    with PeakMemory() as before:
        pass
    with PeakMemory() as peak, subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(0.3)
        process.kill()
    assert 200e6 < peak.bytes - before.bytes < 260e6


@pytest.mark.usefixtures("toy_home")
def test_a_script_without_a_main_guard_can_use_workers(tmp_path):
    """Workers must not run the script that started them again."""
    script = f"import mdbench; print(len(mdbench.evaluate('majority', {CASE!r}, workers=2).scores))"
    (tmp_path / "script.py").write_text(script)
    for command in ([sys.executable, tmp_path / "script.py"], [sys.executable, "-"]):
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=120, check=False)
        assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


@pytest.mark.usefixtures("toy_home")
def test_a_file_in_the_current_folder_does_not_hide_the_standard_library(method_file, monkeypatch, tmp_path):
    """Worker processes start from a Python that would search the current folder first."""
    for name in ("random", "tempfile", "socket"):
        method_file("raise RuntimeError('the wrong one')", f"{name}.py")
    method_file(GOOD.replace("class", "import random\nclass"), "good.py")
    monkeypatch.chdir(tmp_path)
    done = run("evaluate", "good.py", "--cases", CASE, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d+ +good ", done.stdout, re.MULTILINE), done.stdout


def test_failures_that_differ_by_numbers_alone_are_said_once(method_file):
    """One label too few fails in every case, with another number of rows in each."""
    short = method_file(
        "columns = ['train_error']\nclass M:\n    def fit(self, m, l): self.l = l.mode()[0]\n    def predict(self, m): return [self.l] * (len(m) - 1)\n",
        "short.py",
    )
    several = "mnist1d-cnn/optimizer/cross-noise/20,mnist1d-cnn/width_vs_optimizer/cross-noise/20"
    done = run("evaluate", short, "--cases", several, "--beside", "", "--workers", "0")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "mnist1d-cnn/optimizer/cross-noise/20 and 1 more: " in line


def test_a_folder_that_nobody_may_look_into_is_told_in_a_line(monkeypatch, capsys):
    def refused():
        raise PermissionError(13, "Permission denied", "/closed/zoo.json")

    monkeypatch.setattr(mdbench.cli, "app", refused)
    with pytest.raises(SystemExit) as ended:
        mdbench.cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: /closed/zoo.json: permission denied; MDBENCH_HOME")
