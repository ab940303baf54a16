"""The real client against the hub of the tests: what it reads is what it wrote, to the byte."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import httpx2
import pandas as pd
import pytest
from hub import Fault
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

ZOO = "lab/zoo"
CARD = "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files: tables/*.parquet\n---\n# A zoo\n"
BYTES = random.Random(0).randbytes(300_000)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "zoo"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "checkpoints" / "0.bin").write_bytes(BYTES)
    return folder


@pytest.fixture
def zoo(hub, folder):
    """The data set, with a first upload in it."""
    HfApi().create_repo(ZOO, repo_type="dataset")
    HfApi().upload_folder(repo_id=ZOO, repo_type="dataset", folder_path=folder)
    return hub.repositories[ZOO]


def test_a_folder_comes_back_to_the_byte(hub, zoo, folder, tmp_path):
    assert {path: blob.large for path, blob in zoo.commits[zoo.find("main")].files.items()} == {
        ".gitattributes": False,
        "README.md": False,
        "checkpoints/0.bin": True,
    }
    assert [one.received for one in hub.requests("PUT", "^/lfs/")] == [len(BYTES)]
    back = snapshot_download(ZOO, repo_type="dataset", local_dir=tmp_path / "back", ignore_patterns=".gitattributes")
    assert {path: content for path, content in contents(tmp_path / "back").items() if ".cache" not in path} == contents(
        folder
    )
    assert back == str(tmp_path / "back")


def test_names_of_files_are_those_of_git(zoo, folder, tmp_path):
    """Git itself says what a file is called: the file, and the pointer that git-lfs has in its place."""
    files = {
        one.path: one
        for one in HfApi().list_repo_tree(ZOO, repo_type="dataset", recursive=True)
        if hasattr(one, "size")
    }
    said = subprocess.run(["git", "hash-object", folder / "README.md"], capture_output=True, text=True, check=True)
    assert files["README.md"].blob_id == said.stdout.strip()
    digest = hashlib.sha256(BYTES).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 300000\n".encode()
    said = subprocess.run(["git", "hash-object", "--stdin"], input=pointer, capture_output=True, check=True)
    large = files["checkpoints/0.bin"]
    assert (large.blob_id, large.lfs.sha256, large.lfs.size) == (said.stdout.decode().strip(), digest, 300_000)
    assert large.lfs.pointer_size == len(pointer)
    asked = HfApi().get_paths_info(ZOO, ["README.md", "checkpoints", "nothing"], repo_type="dataset", expand=True)
    assert [one.path for one in asked] == ["README.md", "checkpoints"]
    assert asked[0].blob_id == files["README.md"].blob_id
    assert {one.last_commit.oid for one in asked} == {zoo.find("main")}


def test_a_part_of_a_file(hub, zoo):
    with HfFileSystem().open(f"datasets/{ZOO}/checkpoints/0.bin", block_size=1000) as file:
        file.seek(123_456)
        assert file.read(10) == BYTES[123_456:123_466]
    parts = [one for one in hub.requests("GET", "^/lfs/") if one.range]
    assert [one.status for one in parts] == [206]
    assert sum(one.sent for one in parts) < 3000


@pytest.mark.parametrize(
    ("asked", "status", "said", "content"),
    [
        ("bytes=0-9", 206, "bytes 0-9/300000", BYTES[:10]),
        ("bytes=299990-", 206, "bytes 299990-299999/300000", BYTES[-10:]),
        ("bytes=-7", 206, "bytes 299993-299999/300000", BYTES[-7:]),
        ("bytes=299999-400000", 206, "bytes 299999-299999/300000", BYTES[-1:]),
        ("bytes=300000-", 416, "bytes */300000", b""),
    ],
)
def test_ranges(hub, zoo, asked, status, said, content):
    where = f"{hub.endpoint}/datasets/{ZOO}/resolve/main/checkpoints/0.bin"
    answer = httpx2.get(where, headers={"Range": asked}, follow_redirects=True)
    assert (answer.status_code, answer.headers["content-range"], answer.content) == (status, said, content)


def test_revisions_stay_what_they_are(hub, zoo):
    api = HfApi()
    first = api.dataset_info(ZOO).sha
    api.create_tag(ZOO, tag="v1", repo_type="dataset")
    change = [CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("checkpoints/", is_folder=True)]
    second = api.create_commit(ZOO, change, commit_message="second", repo_type="dataset", parent_commit=first).oid
    assert api.list_repo_files(ZOO, repo_type="dataset", revision="v1") == [
        ".gitattributes",
        "README.md",
        "checkpoints/0.bin",
    ]
    assert api.list_repo_files(ZOO, repo_type="dataset") == [".gitattributes", "README.md", "new.txt"]
    refs = api.list_repo_refs(ZOO, repo_type="dataset")
    assert {ref.ref: ref.target_commit for ref in refs.branches + refs.tags} == {
        "refs/heads/main": second,
        "refs/tags/v1": first,
    }
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(ZOO, tag="v1", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="412"):  # somebody else was faster
        api.create_commit(
            ZOO, [CommitOperationAdd("a", b"")], commit_message="x", repo_type="dataset", parent_commit=first
        )
    with pytest.raises(RevisionNotFoundError):
        api.list_repo_files(ZOO, repo_type="dataset", revision="v2")


def test_pull_requests(hub, zoo, monkeypatch):
    """Anybody may open one; what it holds is not on the branch."""
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    api, operation = HfApi(), CommitOperationAdd("entries/mine.json", b"{}")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_commit(ZOO, [operation], commit_message="mine", repo_type="dataset")
    pull = api.create_commit(ZOO, [operation], commit_message="mine", repo_type="dataset", create_pr=True)
    assert (pull.pr_revision, pull.pr_num, pull.pr_url) == (
        "refs/pr/1",
        1,
        f"{hub.endpoint}/datasets/{ZOO}/discussions/1",
    )
    there = api.hf_hub_download(ZOO, "entries/mine.json", repo_type="dataset", revision="refs/pr/1")
    assert Path(there).read_bytes() == b"{}"
    assert "entries/mine.json" not in api.list_repo_files(ZOO, repo_type="dataset")
    refs = api.list_repo_refs(ZOO, repo_type="dataset", include_pull_requests=True)
    assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests] == [("refs/pr/1", pull.oid)]
    assert hub.repositories[ZOO].commits[pull.oid].author == "stranger"


def test_who_may_do_what(hub, monkeypatch):
    api = HfApi()
    api.create_repo("lab/secret", repo_type="dataset", private=True)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("lab/secret", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("elsewhere/zoo", repo_type="dataset")
    assert api.dataset_info("lab/secret").private
    for token, status in (("hf_stranger", 404), ("hf_reader", 200), (False, 401), ("hf_nobody", 401)):
        answer = httpx2.get(
            f"{hub.endpoint}/api/datasets/lab/secret", headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        assert answer.status_code == status
    for token in ("hf_stranger", False):
        with pytest.raises(RepositoryNotFoundError):
            api.list_repo_files("lab/secret", repo_type="dataset", token=token)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi().create_tag("lab/secret", tag="v1", repo_type="dataset")


def test_what_is_sent_is_checked(hub, zoo):
    digest = hashlib.sha256(b"promised").hexdigest()
    for content, size in ((b"another", 8), (b"promised", 7)):
        assert httpx2.put(f"{hub.endpoint}/lfs/{ZOO}/{digest}/{size}", content=content).status_code == 400
    assert digest not in zoo.objects
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": {"path": "a", "oid": digest}}]
    body = "\n".join(httpx2.Request("POST", hub.endpoint, json=line).read().decode() for line in lines)
    token = {"Authorization": "Bearer hf_writer"}
    answer = httpx2.post(f"{hub.endpoint}/api/datasets/{ZOO}/commit/main", content=body, headers=token)
    assert answer.status_code == 400
    assert len(zoo.commits) == 2


def test_faults(hub, zoo):
    where = f"{hub.endpoint}/datasets/{ZOO}/resolve/main/README.md"
    hub.faults = [Fault("GET", "README", skip=1, times=1, status=503), Fault("GET", "whoami", cut="answer")]
    assert [httpx2.get(where).status_code for _ in range(3)] == [200, 503, 200]
    with pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(f"{hub.endpoint}/api/whoami-v2", headers={"Authorization": "Bearer hf_writer"})
    hub.faults = [Fault("PUT", "^/lfs/"), Fault("POST", "/tag/", cut="answer")]
    digest = hashlib.sha256(b"new" * 100_000).hexdigest()
    with pytest.raises(httpx2.TransportError):
        httpx2.put(f"{hub.endpoint}/lfs/{ZOO}/{digest}/300000", content=b"new" * 100_000)
    assert digest not in zoo.objects
    with pytest.raises(httpx2.TransportError):
        HfApi().create_tag(ZOO, tag="v1", repo_type="dataset")
    assert zoo.find("v1") == zoo.find("main")  # obeyed, though nobody was told
    assert [one.status for one in hub.requests("PUT", digest)] == [0]


def test_load_dataset(hub, zoo, folder, tmp_path):
    """As a user has it: a process of its own, the data set's name and nothing else; what it says comes back as a file."""
    table = pd.DataFrame({"network": ["a", "b", "c"], "test_error": [0.5, 0.25, 0.125]})
    (folder / "tables").mkdir()
    table.to_parquet(folder / "tables" / "train.parquet")
    HfApi().upload_folder(repo_id=ZOO, repo_type="dataset", folder_path=folder, delete_patterns="nothing")
    program = "import sys, datasets; datasets.load_dataset(sys.argv[1], split='train').to_parquet(sys.argv[2])"
    out = tmp_path / "out.parquet"
    subprocess.run([sys.executable, "-c", program, ZOO, out], check=True, env=os.environ, capture_output=True)
    pd.testing.assert_frame_equal(pd.read_parquet(out), table)
