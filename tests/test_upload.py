"""Uploading, against a hub whose connections break wherever it hurts."""

import os
import random
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub import Blob, Commit, Fault
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.utils import _http

from mdbench.errors import MdbenchError
from zoo_builder.publishing.hub import upload

ROOT = Path(__file__).resolve().parent.parent
ZOO = "lab/zoo"
CARD = b"---\nlicense: mit\npretty_name: mdbench\ntags:\n- model-diagnosis\n---\n# A zoo\n"
TWO = CARD + b"# Two\n"
SHARDS = {
    f"checkpoints/mlp/{number}.safetensors": random.Random(number).randbytes(50_000 + number) for number in range(4)
}
FILES = {
    "README.md": CARD,
    "croissant.json": b"{}\n",
    "data/mlp/zoo.json": b'{"name": "mlp"}\n',
    "figures/mlp.png": b"\x89PNG\r\n" + bytes(100),
    **SHARDS,
}


def write(folder, files):
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "zoo", FILES)
    return tmp_path / "zoo"


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """The client tries again at once where it would wait for seconds."""
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def said():
    return []


@pytest.fixture
def send(folder, said):
    def send(tag="v1", repo=ZOO, **more):
        return upload(folder, repo, tag=tag, message="A zoo", say=said.append, **more)

    return send


def refs(hub, repo=ZOO):
    return set(hub.repositories[repo].refs)


def own(files):
    return {path: content for path, content in files.items() if path != ".gitattributes"}


def sent(hub):
    """Return the sizes of the large files that arrived, in their order."""
    return sorted(one.received for one in hub.requests("PUT", "^/lfs/") if one.status == 200)


def test_a_folder_is_a_version(hub, folder, send, said, tmp_path):
    write(folder, {".README.md.123": b"left by a kill", "data/.cache/x": b"hidden"})
    assert send() == f"{hub.endpoint}/datasets/{ZOO}/tree/v1"
    zoo = hub.repositories[ZOO]
    assert own(zoo.files("v1")) == FILES
    assert zoo.find("v1") == zoo.find("main")
    assert [(commit.title, commit.author) for commit in zoo.commits.values()] == [
        ("initial commit", "hub"),
        ("A zoo", "writer"),
    ]
    assert not zoo.private
    assert said == []
    snapshot_download(ZOO, repo_type="dataset", revision="v1", local_dir=tmp_path / "back")
    assert {path: (tmp_path / "back" / path).read_bytes() for path in FILES} == FILES


def test_the_same_again_changes_nothing(hub, send, said):
    send()
    before, seen = dict(hub.repositories[ZOO].refs), len(hub.seen)
    assert send() == f"{hub.endpoint}/datasets/{ZOO}/tree/v1"
    assert hub.repositories[ZOO].refs == before
    assert len(hub.repositories[ZOO].commits) == 2
    assert said == [f"{ZOO} has this as version v1 already: nothing to do"]
    assert {one.path for one in hub.seen[seen:] if one.method != "GET"} == {"/api/repos/create"}
    send("v2")
    assert hub.repositories[ZOO].refs == before | {"refs/tags/v2": before["refs/tags/v1"]}
    assert said[1:] == [f"{ZOO} has these files already; its latest commit becomes version v2"]


def test_a_new_version_replaces_what_is_ours_and_nothing_else(hub, folder, send):
    send()
    zoo = hub.repositories[ZOO]
    by_hand = {path: Blob(b"by hand") for path in ("LICENSE", "database/x", "README.md.old", "data/mlp/stale.json")}
    first = zoo.commits[zoo.find("main")]
    zoo.add("refs/heads/main", Commit("by hand", {**first.files, **by_hand}, first.oid))
    gone = sorted(SHARDS)[:2]
    for path in (*gone, "figures/mlp.png"):
        (folder / path).unlink()
    new = {"README.md": TWO, "checkpoints/mlp/new.safetensors": b"\xff" * 1000}
    write(folder, new)
    send("v2")
    kept = {path: content for path, content in FILES.items() if path not in (*gone, "figures/mlp.png")}
    theirs = dict.fromkeys(("LICENSE", "database/x", "README.md.old"), b"by hand")
    assert own(zoo.files("v2")) == {**kept, **new, **theirs}
    assert own(zoo.files("v1")) == FILES
    assert sent(hub) == sorted([106, *map(len, SHARDS.values()), 1000])
    send("v1.1")  # the folder still is what main has, by hand or not
    assert zoo.find("v1.1") == zoo.find("v2")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("croissant.json", b"[]\n"),  # as long as it was, small
        ("figures/mlp.png", b"\x89PNG\r\n" + b"\1" * 100),  # large
        ("figures/mlp.png", None),
        ("data/more.parquet", b"PAR1\xff"),
    ],
)
def test_a_version_stays_what_it_is(hub, folder, send, path, content):
    send()
    before, seen = dict(hub.repositories[ZOO].refs), len(hub.seen)
    if content is None:
        (folder / path).unlink()
    else:
        write(folder, {path: content})
    with pytest.raises(MdbenchError, match=rf"has a v1 already, which differs in {path}; .* choose another$"):
        send()
    assert hub.repositories[ZOO].refs == before
    assert {one.path for one in hub.seen[seen:] if one.method != "GET"} == {"/api/repos/create"}


def test_what_arrived_is_not_sent_again(hub, send):
    hub.faults = [Fault("PUT", "^/lfs/", skip=1, times=1000)]
    with pytest.raises(
        MdbenchError, match=rf"^cannot upload to {ZOO}: .*; is there a network\? .* goes on from there$"
    ):
        send()
    assert refs(hub) == {"refs/heads/main"}
    assert len(hub.repositories[ZOO].commits) == 1
    assert len(sent(hub)) == 1
    assert any(one.status == 0 and one.received for one in hub.requests("PUT", "^/lfs/"))  # cut in the middle
    hub.faults = []
    send()
    assert sent(hub) == sorted([106, *map(len, SHARDS.values())])  # each of them once, over both attempts
    assert own(hub.repositories[ZOO].files("v1")) == FILES


def test_a_hiccup_is_nobodys_business(hub, send):
    hub.faults = [
        Fault("PUT", "^/lfs/", skip=1),
        Fault("POST", "/batch$", status=503),
        Fault("POST", "/preupload/", status=500),
    ]
    send()
    assert hub.faults == []
    assert own(hub.repositories[ZOO].files("v1")) == FILES


@pytest.mark.parametrize("lost", ["/commit/main$", "/tag/"])
def test_an_answer_that_is_lost(hub, send, lost):
    """The Hub obeyed, and nobody was told: doing it again does the rest, once."""
    hub.faults = [Fault("POST", lost, cut="answer")]
    with pytest.raises(MdbenchError, match="goes on from there"):
        send()
    send()
    assert len(hub.repositories[ZOO].commits) == 2
    assert refs(hub) == {"refs/heads/main", "refs/tags/v1"}
    assert own(hub.repositories[ZOO].files("v1")) == FILES
    assert len(hub.requests("POST", "/commit/")) == 1


def test_somebody_else_was_faster(hub, folder, send):
    send()
    zoo = hub.repositories[ZOO]

    def meanwhile():
        first = zoo.commits[zoo.find("main")]
        zoo.add("refs/heads/main", Commit("meanwhile", {**first.files, "data/theirs": Blob(b"x")}, first.oid))

    hub.faults = [Fault("POST", "/preupload/", then=meanwhile, cut="nothing")]
    write(folder, {"README.md": TWO})
    with pytest.raises(MdbenchError, match=r"412.*it has changed meanwhile: the same command looks anew"):
        send("v2")
    assert zoo.commits[zoo.find("main")].title == "meanwhile"
    hub.faults = [Fault("POST", "/tag/", then=meanwhile, cut="nothing")]
    send("v2")
    assert zoo.commits[zoo.find("main")].title == "meanwhile"
    assert own(zoo.files("v2")) == {**FILES, "README.md": TWO}  # what was sent, not what came after it


def test_ctrl_c_leaves_nothing_half_committed(hub, folder, send):
    process = None
    hub.faults = [Fault("PUT", "^/lfs/", skip=1, cut="nothing", then=lambda: process.send_signal(signal.SIGINT))]
    program = (
        "import sys, pathlib; from zoo_builder.publishing.hub import upload; "
        "upload(pathlib.Path(sys.argv[1]), 'lab/zoo', tag='v1', message='A zoo')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, folder], env=os.environ, stderr=subprocess.PIPE, text=True
    )
    _, said = process.communicate()
    assert "KeyboardInterrupt" in said
    assert process.returncode == -signal.SIGINT
    assert refs(hub) == {"refs/heads/main"}
    assert len(hub.repositories[ZOO].commits) == 1
    assert hub.requests("POST", "/commit/") == []
    send()
    assert sent(hub) == sorted([106, *map(len, SHARDS.values())])
    assert own(hub.repositories[ZOO].files("v1")) == FILES


@pytest.mark.parametrize(
    ("token", "repo", "wanted"),
    [
        (None, ZOO, "the Hub does not know who you are; log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_nobody", ZOO, "401 .*Invalid.*; log in with `hf auth login`"),
        ("hf_reader", ZOO, "403 .*may the token write.*`hf auth login`"),
        ("hf_stranger", ZOO, '403 .*rights .* namespace "lab".*is it yours to write'),
        ("hf_writer", "nowhere/zoo", '403 .*rights .* namespace "nowhere".*is it yours to write'),
        ("hf_writer", "lab/zoo/mlp", "a repository is called ORGANISATION/NAME"),
        ("hf_writer", "lab/bad name", "a repository is called ORGANISATION/NAME"),
    ],
)
def test_who_may_not(hub, send, monkeypatch, token, repo, wanted):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(MdbenchError, match=wanted) as caught:
        send(repo=repo)
    assert "\n" not in str(caught.value)
    assert hub.repositories == {}


def test_a_token_that_may_only_read(hub, send, folder, monkeypatch):
    send()
    write(folder, {"README.md": TWO})
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(MdbenchError, match=r"403 .*may the token write"):
        send("v2")
    assert refs(hub) == {"refs/heads/main", "refs/tags/v1"}


@pytest.mark.parametrize("where", ["/repos/create$", "/preupload/", "/commit/", "/tag/"])
def test_the_hub_is_ill(hub, send, where):
    hub.faults = [Fault("POST", where, times=1000, status=503)]
    with pytest.raises(
        MdbenchError, match=f"^cannot upload to {ZOO}: the Hub answers 503 .*; later, the same command"
    ) as caught:
        send()
    assert "\n" not in str(caught.value)
    hub.faults = []
    send()
    assert own(hub.repositories[ZOO].files("v1")) == FILES


def test_no_network(hub, send, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(MdbenchError, match=r"Connection refused; is there a network\?"):
        send()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MdbenchError, match="unset HF_HUB_OFFLINE"):
        send()


def test_a_card_that_the_hub_does_not_read(hub, folder, send):
    write(folder, {"README.md": b"---\nlicense: [\n---\n"})
    with pytest.raises(MdbenchError, match=r"Invalid metadata in README\.md") as caught:
        send()
    assert "\n" not in str(caught.value)
    assert sent(hub) == []


def test_a_file_that_goes_meanwhile(hub, folder, send):
    lost = folder / sorted(SHARDS)[0]
    hub.faults = [Fault("POST", "/batch$", then=lost.unlink, cut="nothing")]
    with pytest.raises(
        MdbenchError, match=rf"{lost}: No such file or directory; once that is mended, .* goes on from there"
    ):
        send()
    assert refs(hub) == {"refs/heads/main"}


def test_private(hub, send, folder):
    send(private=True)
    assert hub.repositories[ZOO].private
    send("v2")
    assert hub.repositories[ZOO].private
    send(repo="lab/open")
    write(folder, {"README.md": b"# Not for everybody\n"})
    with pytest.raises(MdbenchError, match="lab/open is public"):
        send("v2", repo="lab/open", private=True)
    assert hub.repositories["lab/open"].files()["README.md"] == FILES["README.md"]


@pytest.mark.parametrize(
    "readme", [None, b"# Mine\n", b"---\ntags:\n- model-diagnosis\n---\n", CARD[4:], b"\xef\xbb\xbf" + CARD]
)
def test_somebody_elses_repository_stays_as_it_is(hub, send, readme):
    """One that was just made is nobody's; one with files is ours by its card alone."""
    HfApi().create_repo(ZOO, repo_type="dataset")
    zoo = hub.repositories[ZOO]
    first = zoo.commits[zoo.find("main")]
    theirs = {"data/train.csv": Blob(b"1,2\n"), **({"README.md": Blob(readme)} if readme else {})}
    zoo.add("refs/heads/main", Commit("theirs", {**first.files, **theirs}, first.oid))
    before = dict(zoo.refs)
    with pytest.raises(MdbenchError, match=rf"^{ZOO} is there, and its README.md is not the card .* another name$"):
        send()
    assert zoo.refs == before
    assert hub.requests("POST", "/(preupload|commit|tag)/") == []
    zoo.add("refs/heads/main", Commit("away with it", first.files, zoo.find("main")))
    send()
    assert own(zoo.files("v1")) == FILES


def test_what_is_no_dataset(hub, tmp_path):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(MdbenchError, match=r"no README\.md"):
            upload(folder, ZOO, tag="v1", message="A zoo")
    assert hub.seen == []


def test_what_it_imports_is_declared():
    """What is there only because another package needs it goes with that package's next version."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["zoo"]
    declared = {re.split("[<>=]", one)[0].replace("-", "_") for one in extra}
    found = re.findall(
        r"^(?:import|from) (\w+)", (ROOT / "zoo_builder" / "publishing" / "hub.py").read_text(), re.MULTILINE
    )
    assert set(found) <= declared | {"mdbench", "zoo_builder"} | sys.stdlib_module_names
