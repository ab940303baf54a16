"""From a method's file to an entry: whole or not at all, never over another, and refused where the method fails."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from dishonest import METHOD, OTHER, honest, read, sha256, small_exam
from typer.testing import CliRunner

from leaderboard import cli
from leaderboard.entry.checks import Refused, check, check_names, read_entries
from leaderboard.entry.exam import Exam
from leaderboard.submitting import submission
from leaderboard.submitting.submission import UnansweredError, submit
from mdbench.errors import MdbenchError

FAILING = METHOD.replace("self.classes = task.classes", "raise ValueError('not ' + task.name)")
HOW = {"workers": 0, "sandbox": False}


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return small_exam(tmp_path_factory.mktemp("zoos"))


@pytest.fixture(autouse=True)
def small(exam, monkeypatch):
    """The board asks the cases of a small exam."""
    monkeypatch.setattr(Exam, "of", lambda selections: exam)


@pytest.fixture
def entries(tmp_path):
    return tmp_path / "clone" / "entries"


@pytest.fixture
def send(entries, method_file):
    """Submit a method."""

    def send(text=METHOD, name="Median rule", authors=("Ada Lovelace",), **more):
        return submit(method_file(text), name=name, authors=authors, entries=entries, **{**HOW, **more})

    return send


@pytest.fixture
def marking(tmp_path):
    """A method that leaves a mark whenever it is loaded, and the number of marks."""
    mark = tmp_path / "mark"
    return (
        f"{METHOD}\nwith open({str(mark)!r}, 'a') as mark: mark.write('x')\n",
        lambda: len(mark.read_text()) if mark.exists() else 0,
    )


def there(entries):
    return sorted(path.relative_to(entries).as_posix() for path in entries.rglob("*"))


def test_an_entry_says_what_was_done(send, exam, entries, tmp_path):
    before = datetime.now(UTC)
    folder = send(paper="https://example.org/paper")
    assert folder == entries / "median-rule"
    names = ("entry.json", "method.py", "predictions.parquet")
    assert there(entries) == ["median-rule", *(f"median-rule/{name}" for name in names)]
    checked = check(folder, exam)
    assert checked.source == METHOD
    entry = checked.entry
    assert (entry.name, entry.authors, entry.paper) == ("Median rule", ("Ada Lovelace",), "https://example.org/paper")
    assert before <= entry.created <= datetime.now(UTC)
    assert entry.selections[0] == "core"
    assert (entry.method.track, entry.method.zero_shot, entry.families) == ("inductive", False, ("landscape",))
    assert entry.timings.fit_seconds >= 0
    # What the test's own, plain way of writing an entry makes of the same method.
    plain = check(honest(tmp_path, exam), exam)
    assert entry.columns == plain.entry.columns
    assert entry.dataset == plain.entry.dataset
    assert entry.seeds == plain.entry.seeds
    assert list(checked.predicted) == list(plain.predicted)
    assert all(np.array_equal(checked.predicted[name], plain.predicted[name]) for name in plain.predicted)


def test_the_same_method_gives_the_same_predictions(send, entries):
    one, other = send(), send(name="Another", text=METHOD + "# another\n")
    assert sha256(one / "predictions.parquet") == sha256(other / "predictions.parquet")


def test_what_a_method_says_of_itself(send):
    text = (
        "track = 'transductive'\nzero_shot = True\ncolumns = {'optimizer': ['parameter_count', 'train_error_quantile']}\n"
        "class Rule:\n    def predict(self, models):\n        return ['temperature_too_low'] * len(models)\n"
    )
    entry = read(send(text))
    assert entry["method"] | {"sha256": ""} == {"sha256": "", "track": "transductive", "zero_shot": True}
    assert entry["families"] == ["configuration", "landscape"]
    assert list(entry["columns"]) == ["optimizer"]
    assert entry["seeds"] == [42, 90]


def test_a_method_known_by_name(send, entries, exam):
    folder = submit("majority", name="Majority", authors=["The mdbench authors"], entries=entries, **HOW)
    assert len(check(folder, exam).predicted) == 3
    with pytest.raises(MdbenchError, match="method 'majorities' does not exist"):
        submit("majorities", name="Majority", authors=["A"], entries=entries, **HOW)


def test_a_method_runs_alone(send, entries, method_file):
    """What lies beside it here does not lie beside it when it is verified."""
    method_file("CLASS = 0\n", "beside_it.py")
    with pytest.raises(UnansweredError, match="beside_it"):
        send("import beside_it\n" + METHOD)
    assert not entries.exists()


def test_ends_of_lines_are_those_of_everywhere(send, exam):
    folder = send()
    other = send(name="From elsewhere", text="\ufeff" + METHOD.replace("\n", "\r\n") + "# elsewhere\r\n")
    assert (other / "method.py").read_bytes() == (METHOD + "# elsewhere\n").encode()
    assert sha256(other / "predictions.parquet") == sha256(folder / "predictions.parquet")


def test_requirements_are_part_of_it(send, exam, tmp_path):
    (tmp_path / "needs.txt").write_text("numpy>=1.26\n")
    folder = send(requirements=tmp_path / "needs.txt")
    assert check(folder, exam).requirements == "numpy>=1.26\n"


def test_selections():
    assert submission._selections(["bundled"]) == ("core", "bundled")
    assert submission._selections(["paper", "core"]) == ("core", "paper")
    assert submission._selections(None) == ("core",)
    with pytest.raises(MdbenchError, match="cannot answer 'mine'; there are core, paper, bundled"):
        submission._selections(["mine"])


@pytest.mark.usefixtures("toy_home")
def test_the_published_cases_are_answered_where_they_are_imported():
    assert submission._selections(None) == ("core", "paper")


# --- refused before anything is run -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"name": "Médian rule"}, r"^--name: '\\xe9' \(LATIN SMALL LETTER E WITH ACUTE\) cannot stand in a name"),
        ({"name": "123"}, "^--name: a name has a letter"),
        ({"name": ""}, "^--name: "),
        ({"name": "../bystander"}, "^--name: '/'"),
        ({"authors": ()}, "^--authors: "),
        ({"authors": ("Ada\u202e",)}, r"^--authors: U\+202E cannot stand in a text"),
        ({"paper": "javascript:alert(1)"}, "^--paper: "),
        ({"selections": ["mine"]}, "there are core, paper, bundled"),
        ({"supersedes": "nobodys"}, "there is no entry nobodys"),
        ({"supersedes": "../x"}, "^--supersedes: "),
        ({"text": METHOD + "def f(:\n"}, r"mine\.py, line 13: syntax error"),
        ({"text": METHOD + "# \u202e\n"}, r"mine\.py, line 13: U\+202E"),
        ({"text": METHOD + "#" * 2**18}, r"mine\.py is larger than 262,144 bytes"),
        ({"name": "By-stander"}, "looks like 'Bystander'"),
        ({"name": "Bystander"}, "bystander is there, and entries are never changed; .*--supersedes bystander"),
        ({"name": "New", "text": OTHER}, "is that of bystander, to the letter"),
        ({"supersedes": "bystander"}, "supersedes"),
        ({"requirements": Path("/nowhere")}, "No such file"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_told_before_anything_is_run(said, wanted, send, marking, entries, exam):
    honest(entries, exam, name="Bystander", method=OTHER, authors=["Charles Babbage"])
    text, marks = marking
    before = there(entries)
    with pytest.raises(MdbenchError, match=wanted) as caught:
        send(**{"text": text, **said})
    assert "\n" not in str(caught.value)
    assert marks() == 0
    assert there(entries) == before


def test_requirements_that_cannot_be_used(send, tmp_path, marking, entries):
    text, marks = marking
    (tmp_path / "needs.txt").write_text("-e .\n")
    with pytest.raises(Refused, match=r"needs\.txt, line 1: '-e \.'"):
        send(text, requirements=tmp_path / "needs.txt")
    assert marks() == 0
    assert not entries.exists()


def test_the_same_submission_again_runs_nothing(send, marking):
    text, marks = marking
    said = []
    folder = send(text, say=said.append)
    ran, before = marks(), sha256(folder / "entry.json")
    said.clear()
    assert send(text, say=said.append) == folder
    assert (marks(), sha256(folder / "entry.json")) == (ran, before)
    assert said == [f"{folder} is this submission already: nothing was run"]
    with pytest.raises(MdbenchError, match="entries are never changed"):
        send(text + "# better\n")
    with pytest.raises(MdbenchError, match="entries are never changed"):
        send(text, paper="https://example.org")


def test_superseding(send, entries, exam):
    first = send()
    before = {path: path.read_bytes() for path in first.iterdir()}
    second = send(METHOD + "# better\n", supersedes="median-rule")
    third = send(METHOD + "# better\n", supersedes="median-rule-2", authors=["Ada Lovelace", "Charles Babbage"])
    assert [second.name, third.name] == ["median-rule-2", "median-rule-3"]
    for folder in (first, second, third):
        check(folder, exam)
    check_names(read_entries(entries))
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    assert send(METHOD + "# better\n", supersedes="median-rule") == second
    with pytest.raises(Refused, match="superse"):
        send(METHOD + "# best\n", supersedes="median-rule")
    fourth = send(METHOD + "# best\n", name="Median rule (new)", supersedes="median-rule-3")
    assert fourth.name == "median-rule-new"


def test_a_neighbour_that_cannot_be_read_is_in_nobodys_way(send, entries):
    (entries / "broken").mkdir(parents=True)
    (entries / "broken" / "entry.json").write_text("[")
    assert send().name == "median-rule"
    (entries / "mean-rule").mkdir()
    with pytest.raises(MdbenchError, match="mean-rule is there"):
        send(METHOD + "# mean\n", name="Mean rule")


# --- the method fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (FAILING, "the method fails on own/optimizer/few-shot/3: it raised ValueError: not optimizer"),
        ("import nothing_of_this_name\n" + METHOD, "the method fails: .*No module named 'nothing_of_this_name'"),
        ("answer = 42\n", "the method fails: .*there is no method"),
        (METHOD.replace("train_error", "batch_size"), "'batch_size' is forbidden"),
        (METHOD.replace("for error in", "if error > self.median else 'x' for error in"), "it predicted 'x'"),
        (METHOD.replace('("optimizer", "width_vs_optimizer")', "()"), "answers none of the tasks"),
    ],
    ids=range(6),
)
def test_a_method_that_fails_is_not_written(text, wanted, send, entries):
    with pytest.raises(MdbenchError, match=wanted) as caught:
        send(text)
    assert str(caught.value).startswith("nothing was written: ")
    assert not entries.exists()


def test_every_failure_is_told(send):
    with pytest.raises(UnansweredError) as caught:
        send(FAILING)
    assert [(one.case, one.reason) for one in caught.value.failures] == [
        (f"own/{task}/few-shot/3", f"it raised ValueError: not {task}") for task in ("optimizer", "width_vs_optimizer")
    ]
    assert "raise ValueError" in caught.value.failures[0].traceback


# --- what goes wrong while it is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
@pytest.mark.parametrize("where", ["write", "sync_folder", "check", "rename"])
def test_it_is_written_whole_or_not_at_all(where, error, send, entries, monkeypatch):
    honest(entries, Exam.of("core"), name="Bystander", method=OTHER)
    before = there(entries)

    def fail(*args, **more):
        raise error

    place = {"write": submission.files, "sync_folder": submission.files, "check": submission, "rename": Path}[where]
    with monkeypatch.context() as broken:
        broken.setattr(place, where, fail)
        with pytest.raises((MdbenchError, KeyboardInterrupt)) as caught:
            send()
    if isinstance(error, OSError):
        assert str(caught.value).endswith("No space left on device; nothing was written")
    assert there(entries) == before
    assert send().name == "median-rule"


def test_somebody_else_was_faster(send, entries, monkeypatch):
    """Another command wrote an entry of this name while the method ran: it stays as it is."""
    real = submission.evaluated

    def meanwhile(*args, **more):
        (entries / "median-rule").mkdir(parents=True)
        (entries / "median-rule" / "entry.json").write_text("theirs")
        return real(*args, **more)

    monkeypatch.setattr(submission, "evaluated", meanwhile)
    with pytest.raises(MdbenchError, match="it is there by now; nothing was written"):
        send()
    assert there(entries) == ["median-rule", "median-rule/entry.json"]
    assert (entries / "median-rule" / "entry.json").read_text() == "theirs"


def test_entries_that_is_no_folder(send, entries):
    entries.parent.mkdir()
    entries.write_text("")
    with pytest.raises(MdbenchError, match="is no folder"):
        send()


def test_what_a_kill_left_goes_after_a_day(send, entries):
    fresh, stale = entries / ".submitting-new", entries / ".submitting-old"
    for one in (fresh, stale):
        (one / "mine").mkdir(parents=True)
    then = time.time() - timedelta(days=2).total_seconds()
    os.utime(stale, (then, then))
    send()
    assert fresh.exists()
    assert not stale.exists()
    assert list(read_entries(entries)) == ["median-rule"]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(entries, method_file, monkeypatch):
    """Run the command, without a sandbox and in this process."""
    real = submission.submit
    monkeypatch.setattr(submission, "submit", lambda *args, **more: real(*args, **{**more, **HOW}))

    def command(*more, text=METHOD):
        said = [str(method_file(text)), "--name", "Median rule", "--authors", "Ada Lovelace, Charles Babbage"]
        return CliRunner().invoke(cli.submit, [*said, "--entries", str(entries), *more])

    return command


def test_the_command_says_what_it_wrote_and_what_comes_next(command, entries):
    result = command()
    assert result.exit_code == 0, result.output
    folder = entries / "median-rule"
    assert [line for line in result.output.splitlines() if line.startswith("wrote")] == [
        f"wrote {folder / name}" for name in ("entry.json", "method.py", "predictions.parquet")
    ]
    assert f"mdbench leaderboard verify median-rule --entries {entries}" in result.output
    assert read(folder)["authors"] == ["Ada Lovelace", "Charles Babbage"]


def test_the_command_shows_why_a_method_fails(command, entries):
    result = command(text=FAILING)
    assert result.exit_code == 2
    assert "raise ValueError('not ' + task.name)" in result.output
    assert "own/width_vs_optimizer/few-shot/3" in result.output
    assert "nothing was written" in result.output
    assert not entries.exists()


def test_the_command_opens_a_pull_request_and_does_so_again(command, entries, hub, monkeypatch, marking):
    from hub import Fault
    from huggingface_hub import HfApi
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
    HfApi().create_repo("lab/board", repo_type="dataset")
    text, marks = marking
    hub.faults = [Fault("POST", "/commit/", times=1000, status=503)]
    result = command("--pr", "lab/board", text=text)
    assert isinstance(result.exception, MdbenchError)
    assert "later, the same command opens it" in str(result.exception)
    hub.faults, ran = [], marks()
    result = command("--pr", "lab/board", text=text)
    assert result.exit_code == 0, result.output
    assert f"opened {hub.endpoint}/datasets/lab/board/discussions/1" in result.output
    assert marks() == ran
    files = hub.repositories["lab/board"].files("refs/pr/1")
    at = "leaderboard/entries/median-rule"
    assert {name: files[f"{at}/{name}"] for name in ("entry.json", "method.py", "predictions.parquet")} == {
        path.name: path.read_bytes() for path in (entries / "median-rule").iterdir()
    }


def test_sealed_zoos_are_answered_too(command, entries, exam, monkeypatch, tmp_path):
    asked = []

    def answer(file, public, **how):
        asked.append((file.read_text(), public))
        said = SimpleNamespace(name=public.name)
        return SimpleNamespace(sealed=said, content=b"answers", left_out={"optimizer": "it does not want to"})

    def read(folder):
        return SimpleNamespace(sealed=SimpleNamespace(name=folder.name), folder=folder)

    monkeypatch.setattr(submission, "answer", answer)
    monkeypatch.setattr(submission, "Part", SimpleNamespace(read=read))
    result = command("--sealed", str(tmp_path / "winter"), "--sealed", str(tmp_path / "summer"))
    assert result.exit_code == 0, result.output
    assert asked == [(METHOD, tmp_path / "winter"), (METHOD, tmp_path / "summer")]
    assert "winter: optimizer is left out: it does not want to" in result.output
    folder = entries / "median-rule"
    assert (folder / "sealed-winter.parquet").read_bytes() == b"answers"
    assert dict(check(folder, exam).sealed) == {"winter": b"answers", "summer": b"answers"}


def test_ctrl_c_leaves_nothing(tmp_path, method_file, home):
    """The real command, stopped while the method runs."""
    mark = tmp_path / "mark"
    slow = method_file(METHOD + f"\nimport time\nopen({str(mark)!r}, 'w').write('x')\ntime.sleep(60)\n", "slow.py")
    told = [
        "--name",
        "Slow",
        "--authors",
        "A",
        "--entries",
        str(tmp_path / "entries"),
        "--no-sandbox",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mdbench", "submit", str(slow), *told],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    while not mark.exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said.strip().endswith("stopped; nothing was written")
    assert not (tmp_path / "entries").exists()
    assert [path.name for path in tmp_path.glob("mdbench-submission-*")] == []
