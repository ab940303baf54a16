"""Opening an entry as a pull request, against a hub on which things go wrong."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub import Blob, Commit, Fault
from huggingface_hub import HfApi
from huggingface_hub.utils import _http

from leaderboard.submitting.pull_request import open_pull_request
from mdbench.errors import MdbenchError

ROOT = Path(__file__).resolve().parent.parent
REPO = "lab/board"
FILES = {
    "entry.json": b'{"slug": "mine"}\n',
    "method.py": b"columns = []\n",
    "predictions.parquet": b"PAR1" + bytes(range(256)) * 100 + b"PAR1",
}
HOME = "leaderboard/entries"


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "mine"
    home.mkdir()
    for name, content in FILES.items():
        (home / name).write_bytes(content)
    return home


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """The client tries again at once where it would wait for seconds."""
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def board(hub):
    """A repository with somebody's entry in it."""
    HfApi().create_repo(REPO, repo_type="dataset")
    board = hub.repositories[REPO]
    first = board.commits[board.find("main")]
    theirs = {f"{HOME}/theirs/entry.json": Blob(b"{}"), f"{HOME}/mine-2/entry.json": Blob(b"{}")}
    board.add("refs/heads/main", Commit("theirs", {**first.files, **theirs}, first.oid))
    hub.seen.clear()
    return board


def pull_requests(board):
    return [ref for ref in board.refs if ref.startswith("refs/pr/")]


@pytest.mark.parametrize("token", ["hf_writer", "hf_stranger"])
def test_a_pull_request_adds_the_entry_and_nothing_else(token, hub, board, folder, monkeypatch):
    """Whoever may write at all may open one, to whatever repository."""
    monkeypatch.setenv("HF_TOKEN", token)
    before = board.files()
    assert open_pull_request(folder, REPO) == f"{hub.endpoint}/datasets/{REPO}/discussions/1"
    added = {f"{HOME}/mine/{name}": content for name, content in FILES.items()}
    assert board.files("refs/pr/1") == before | added
    assert board.files() == before
    commit = board.commits[board.refs["refs/pr/1"]]
    assert (commit.title, commit.author) == ("Entry mine", token.removeprefix("hf_"))


def test_an_entry_that_is_there_stays_as_it_is(hub, board, folder):
    theirs = folder.rename(folder.with_name("theirs"))
    with pytest.raises(MdbenchError, match=r"lab/board has an entry theirs already.*--supersedes theirs"):
        open_pull_request(theirs, REPO)
    assert pull_requests(board) == []
    assert hub.requests("POST", "/(preupload|commit)/") == []


@pytest.mark.parametrize(
    ("token", "repo", "wanted"),
    [
        (None, REPO, "the Hub does not know who you are; log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_nobody", REPO, "401 .*log in with `hf auth login`"),
        ("hf_reader", REPO, "403 .*may your token write"),
        ("hf_writer", "lab/nowhere", "404 .*is there such a data set repository"),
        ("hf_writer", "lab/board/entries", "a repository is called ORGANISATION/NAME"),
        ("hf_writer", "lab/bad name", "a repository is called ORGANISATION/NAME"),
    ],
)
def test_who_may_not(token, repo, wanted, hub, board, folder, monkeypatch):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(MdbenchError, match=wanted) as caught:
        open_pull_request(folder, repo)
    assert "\n" not in str(caught.value)
    assert pull_requests(board) == []


def test_a_private_repository_is_not_told_from_one_that_is_not_there(hub, board, folder, monkeypatch):
    board.private = True
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    with pytest.raises(MdbenchError, match=r"404 .*and may you see it"):
        open_pull_request(folder, REPO)


@pytest.mark.parametrize("where", ["/paths-info/", "/preupload/", "/batch$", "/commit/"])
@pytest.mark.parametrize("status", [500, 503])
def test_the_hub_is_ill(where, status, hub, board, folder):
    hub.faults = [Fault("POST", where, times=1000, status=status)]
    with pytest.raises(
        MdbenchError, match=rf"^no pull request was opened to {REPO}: .*the Hub answers {status}"
    ) as caught:
        open_pull_request(folder, REPO)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("later, the same command opens it")
    assert pull_requests(board) == []
    hub.faults = []
    open_pull_request(folder, REPO)
    assert pull_requests(board) == ["refs/pr/1"]


@pytest.mark.parametrize("where", ["/paths-info/", "/preupload/", "/commit/"])
def test_the_connection_is_cut(where, hub, board, folder):
    hub.faults = [Fault("POST", where, times=1000)]
    with pytest.raises(MdbenchError, match="is there a network") as caught:
        open_pull_request(folder, REPO)
    assert "\n" not in str(caught.value)
    assert pull_requests(board) == []
    hub.faults = []
    assert open_pull_request(folder, REPO).endswith("/discussions/1")


def test_an_answer_that_is_lost(hub, board, folder):
    """The Hub obeyed, and nobody was told: the message says where to look before the command is given again."""
    hub.faults = [Fault("POST", "/commit/", cut="answer")]
    with pytest.raises(MdbenchError, match=f"See that it is not among the discussions of {REPO}"):
        open_pull_request(folder, REPO)
    assert pull_requests(board) == ["refs/pr/1"]


def test_no_network(hub, board, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(MdbenchError, match=r"Connection refused; is there a network\?"):
        open_pull_request(folder, REPO)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MdbenchError, match="unset HF_HUB_OFFLINE"):
        open_pull_request(folder, REPO)


def test_ctrl_c_opens_nothing(hub, board, folder):
    process = None
    hub.faults = [Fault("PUT", "^/lfs/", cut="nothing", then=lambda: process.send_signal(signal.SIGINT))]
    program = (
        "import sys, pathlib; from leaderboard.submitting.pull_request import open_pull_request; "
        "open_pull_request(pathlib.Path(sys.argv[1]), 'lab/board')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, folder], env=os.environ, stderr=subprocess.PIPE, text=True
    )
    _, said = process.communicate()
    assert "KeyboardInterrupt" in said
    assert pull_requests(board) == []
    assert hub.requests("POST", "/commit/") == []
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert open_pull_request(folder, REPO).endswith("/discussions/1")


def test_what_it_imports_is_declared():
    """What is there only because another package needs it goes with that package's next version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [*project["dependencies"], *project["optional-dependencies"]["leaderboard"]]
    declared = {re.split("[<>=]", one)[0].replace("-", "_") for one in names}
    rooms = {
        "entry": ("checks", "entry", "footer", "sheet"),
        "submitting": ("pull_request", "submission"),
        "verifying": ("ledger",),
    }
    for module in (ROOT / "leaderboard" / room / f"{name}.py" for room, names in rooms.items() for name in names):
        found = re.findall(r"^(?:import|from) (\w+)", module.read_text(), re.MULTILINE)
        assert set(found) <= declared | {"mdbench", "leaderboard"} | sys.stdlib_module_names
