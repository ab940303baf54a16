"""Networks out of published zoos: the right ones, to the bit, and nothing from anybody who cannot be trusted."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import hub as hubs
import numpy as np
import pandas as pd
import pytest
import torch
from hub import Fault
from huggingface_hub import HfApi, constants
from publication import published
from safetensors import deserialize, safe_open
from safetensors.torch import load_file, save
from starlette.responses import Response, StreamingResponse
from tiny_zoo import build_here, contents, everything, write_spec

import zoo_builder
from mdbench.cli import main
from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from zoo_builder.building.built import Built, Source
from zoo_builder.publishing import places
from zoo_builder.publishing.card import UNFINISHED
from zoo_builder.publishing.download import Fetched, fetch, load_checkpoint
from zoo_builder.specification.network import networks

REPO = "lab/zoos"
NAME = "data_fraction=50/width=3/batch_size=8/seed=1"


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A finished build of 16 networks, which nobody may change."""
    folder = tmp_path_factory.mktemp("built")
    build_here(write_spec(folder), folder / "zoo")
    return folder / "zoo"


@pytest.fixture(scope="module")
def folder(build, tmp_path_factory):
    """The zoo as it is published, in four shards; nobody may change it."""
    folder = tmp_path_factory.mktemp("published")
    published(build, folder, networks=5)
    return folder


@pytest.fixture
def mine(folder, tmp_path):
    """A published zoo that may be changed."""
    return shutil.copytree(folder, tmp_path / "mine")


@pytest.fixture
def repository(hub, folder, monkeypatch):
    """The zoo on the Hub, for which every ``*.safetensors`` is a large file, whatever it begins with."""
    real = hubs.preupload

    def preupload(asked, files):
        large = {"uploadMode": "lfs"} if asked["path"].endswith(".safetensors") else {}
        return {**real(asked, files), **large}

    monkeypatch.setattr(hubs, "preupload", preupload)
    HfApi().create_repo(REPO, repo_type="dataset")
    HfApi().upload_folder(repo_id=REPO, repo_type="dataset", folder_path=folder)
    hub.seen.clear()
    return hub


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "data" / "tiny" / "checkpoints.parquet").set_index("checkpoint")


def of_shards(folder: Path) -> str:
    """A pattern of the addresses at which the Hub has the shards: large files are called by their digests."""
    return "|".join(sha256(path.read_bytes()).hexdigest() for path in folder.rglob("shard-*.safetensors"))


def state_in(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """A network's tensors as the library reads them."""
    tensors = load_file(folder / rows(folder).loc[name, "shard"])
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def assert_is(module: torch.nn.Module, folder: Path, name: str = NAME) -> None:
    assert not module.training
    expected = state_in(folder, name)
    found = module.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def outputs(module: torch.nn.Module, data: Path) -> tuple[torch.Tensor, np.ndarray]:
    """Outputs on the test set, standardised by hand, and its labels."""
    with np.load(data) as arrays:
        train, test = (arrays[f"{part}_inputs"].astype(np.float64) for part in ("train", "test"))
        inputs = torch.from_numpy(((test - train.mean(0)) / train.std(0)).astype(np.float32))
        with torch.no_grad():
            return module(inputs), arrays["test_labels"]


# What comes out


@pytest.mark.parametrize("where", ["published", "build"])
def test_every_network_comes_back(build, folder, where):
    """Test errors, computed anew, are the tables' to the digit; outputs are those of the build's network."""
    source, table = folder if where == "published" else build, rows(folder)
    built = Built.open(build)
    of_build, known = Source.of(built), {one.name: one for one in networks(built.spec, built.material)}
    for name, unit in load_zoo(build).checkpoints["shard"].items():
        module = load_checkpoint(source, name)
        assert_is(module, folder, name)
        said, labels = outputs(module, build.parent / "data.npz")
        assert 100 * int((said.argmax(1).numpy() != labels).sum()) / len(labels) == table.loc[name, "test_error"]
        assert torch.equal(
            said, outputs(of_build.load(known[name], unit, table.loc[name, "sha256"]), build.parent / "data.npz")[0]
        )


@pytest.mark.parametrize(
    ("architecture", "shape", "axes"),
    [
        ('name = "cnn1d"', (2, 12), {"width": [2], "depth": [1, 2]}),
        ('name = "cnn2d"\ndepth = 2\noptions = {norm = false}', (1, 6, 6), {"width": [2, 3]}),
        ('name = "resnet18"\ndepth = 1', (1, 8, 8), {"width": [2]}),
        ('name = "transformer"\ndepth = 1', (2, 12), {"width": [4]}),
    ],
    ids=["cnn1d", "cnn2d", "resnet18", "transformer"],
)
def test_every_architecture_comes_back(tmp_path, architecture, shape, axes):
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"{part}_labels"] = np.arange(12) % 3
        arrays[f"{part}_inputs"] = rng.normal(size=(12, *shape)).astype(np.float32)
    np.savez(tmp_path / "data.npz", **arrays)
    build_here(write_spec(tmp_path, architecture=architecture, seeds="[0]", **axes), tmp_path / "build")
    zoo = published(tmp_path / "build", tmp_path / "out")
    for name in zoo.checkpoints.index:
        module = load_checkpoint(tmp_path / "out", name)
        assert_is(module, tmp_path / "out", name)
        assert module(torch.zeros(4, *shape)).shape == (4, 3)


def test_loading_draws_no_random_numbers_and_gives_a_network_of_its_own(folder):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, second = load_checkpoint(folder, NAME), load_checkpoint(folder, NAME)
    assert torch.rand(1) == expected
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert_is(second, folder)


def test_the_package_is_light_until_it_loads_something():
    code = "import sys, zoo_builder; assert not {'torch', 'pandas', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert zoo_builder.load_checkpoint is load_checkpoint
    with pytest.raises(AttributeError, match="zoo_builder attribute nothing"):
        _ = zoo_builder.nothing


def test_one_network_as_a_file(folder, tmp_path):
    path = fetch(folder, tmp_path / "out", checkpoint=NAME)
    assert path == tmp_path / "out" / "tiny,data_fraction=50,width=3,batch_size=8,seed=1.safetensors"
    found, expected = load_file(path), state_in(folder, NAME)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"zoo": "tiny", "checkpoint": NAME, "sha256": rows(folder).loc[NAME, "sha256"]}


# From the Hub


def test_one_network_from_the_hub_and_hardly_more(repository, folder):
    """The log of the server: of the large file, the header and the network's own bytes, each once."""
    module = load_checkpoint(REPO, NAME)
    assert_is(module, folder)
    shard = (folder / rows(folder).loc[NAME, "shard"]).read_bytes()
    (length,) = struct.unpack("<Q", shard[:8])
    own = sum(value.nbytes for value in state_in(folder, NAME).values())
    parts = repository.requests("GET", of_shards(folder))
    assert {one.status for one in parts} == {206}
    assert sum(one.sent for one in parts) == 8 + length + own < len(shard)
    commit = repository.repositories[REPO].find("main")
    asked = {one.path for one in repository.seen if "/resolve/" in one.path}
    tables = ["data/tiny/checkpoints.parquet", "data/tiny/spec.toml", "data/tiny/zoo.json"]
    expected = ["checkpoints/tiny/index.json", rows(folder).loc[NAME, "shard"], *tables]
    assert asked == {f"/datasets/{REPO}/resolve/{commit}/{path}" for path in expected}


def test_what_is_there_is_not_downloaded_twice(repository, folder):
    load_checkpoint(REPO, NAME)
    repository.seen.clear()
    assert_is(load_checkpoint(REPO, NAME), folder)
    assert {one.path for one in repository.seen if one.sent and one.status == 200} == {
        f"/api/datasets/{REPO}",
    } | {one.path for one in repository.seen if one.path.startswith(f"/api/datasets/{REPO}/revision/")}


def test_everything_is_of_one_revision(repository, folder, tmp_path):
    """A tag stays what it was, and a change in the midst of loading does not mix two states."""
    HfApi().create_tag(REPO, tag="v1", repo_type="dataset")
    build_here(write_spec(tmp_path, training="epochs = 2"), tmp_path / "other")
    published(tmp_path / "other", tmp_path / "new", networks=7)

    def upload() -> None:
        files = {
            at: hubs.Blob(content, at.endswith("safetensors")) for at, content in contents(tmp_path / "new").items()
        }
        there = repository.repositories[REPO]
        there.objects |= {blob.sha256: blob.content for blob in files.values()}
        there.add("refs/heads/main", hubs.Commit("new", files))

    repository.faults.append(Fault("GET", r"/resolve/.*/spec\.toml", cut="nothing", then=upload))
    assert_is(load_checkpoint(REPO, NAME), folder)
    assert_is(load_checkpoint(REPO, NAME), tmp_path / "new")
    assert_is(load_checkpoint(f"hf:{REPO}", NAME, revision="v1"), folder)
    assert not torch.equal(state_in(folder, NAME)["1.weight"], state_in(tmp_path / "new", NAME)["1.weight"])


def test_a_server_that_ignores_ranges_is_read_all_the_same(repository, folder, monkeypatch):
    monkeypatch.setattr(hubs, "ranged", lambda request, content, headers: Response(content, headers=headers))
    assert_is(load_checkpoint(REPO, NAME), folder)
    assert {one.status for one in repository.requests("GET", of_shards(folder))} == {200}


def answered(how):
    """Answer ranges in a way of one's own; what is no range is answered as always."""
    real = hubs.ranged

    def answer(request, content, headers):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        return how(content, int(asked[1]), int(asked[2]) + 1) if asked else real(request, content, headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            lambda c, a, b: Response(c[a + 1 : b + 1], 206, {"Content-Range": f"bytes {a + 1}-{b}/{len(c)}"}),
            "others came",
        ),
        (lambda c, a, b: Response(c[a:b], 206), "others came"),
        (lambda c, a, b: Response(c[a:b], 206, {"Content-Range": "bytes x"}), "others came"),
        (lambda c, a, b: Response(c[a : b - 1], 206, {"Content-Range": f"bytes {a}-{b - 2}/{len(c)}"}), "too early"),
        (lambda c, a, b: Response(b"", 206, {"Content-Range": f"bytes {a}-{b - 1}/{len(c)}"}), "too early"),
        (
            lambda c, a, b: Response(c[:b][::-1], 206, {"Content-Range": f"bytes {a}-{b - 1}/{len(c)}"}),
            "not a safetensors file",
        ),
        (
            lambda c, a, b: Response(
                c[a:b] if a <= 8 else bytes(b - a), 206, {"Content-Range": f"bytes {a}-{b - 1}/{len(c)}"}
            ),
            "not those that the zoo's tables describe",
        ),
        (
            lambda c, a, b: Response(
                c[a:b], 206, {"Content-Range": f"bytes {a}-{b - 1}/{len(c)}", "Content-Encoding": "br"}
            ),
            "compressed",
        ),
        (lambda c, a, b: Response(status_code=416), "416"),
        (lambda c, a, b: Response(status_code=404), "404"),
    ],
    ids=["later", "unsaid", "nonsense", "short", "empty", "reversed", "zeros", "compressed", "416", "404"],
)
def test_an_answer_that_is_wrong_is_refused(repository, monkeypatch, answer, said):
    monkeypatch.setattr(hubs, "ranged", answered(answer))
    with pytest.raises(MdbenchError, match=said):
        load_checkpoint(REPO, NAME)


def test_who_asks_is_said_to_the_hub_and_to_no_other_host(repository, folder, tmp_path, monkeypatch):
    """Networks are on another host, to which the Hub leads; tables may be."""
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    files = repository.repositories[REPO].commits[repository.repositories[REPO].find("main")].files
    files["data/tiny/checkpoints.parquet"] = replace(files["data/tiny/checkpoints.parquet"], large=True)
    table = files["data/tiny/checkpoints.parquet"]
    repository.repositories[REPO].objects[table.sha256] = table.content
    assert_is(load_checkpoint(REPO, NAME), folder)
    fetch(REPO, tmp_path / "all")
    hosts = {host: {one.token for one in repository.seen if one.host == host} for host in ("127.0.0.1", "localhost")}
    assert hosts == {"127.0.0.1": {"Bearer hf_reader"}, "localhost": {None}}
    assert {one.path.rsplit("/", 1)[1] for one in repository.seen if one.host == "localhost"} >= {table.sha256}


def test_lengths_have_to_fit(repository, monkeypatch, tmp_path):
    there = repository.repositories[REPO]
    real = hubs.ranged

    def longer(request, content, headers):
        return real(request, content + b"more", headers)

    monkeypatch.setattr(hubs, "ranged", longer)
    with pytest.raises(MdbenchError, match=r"index\.json has \d+ bytes where it comes from, and \d+ in the"):
        load_checkpoint(REPO, NAME)
    monkeypatch.setattr(hubs, "ranged", lambda r, c, h: longer(r, c, h) if r.headers.get("range") else real(r, c, h))
    with pytest.raises(MdbenchError, match=r"safetensors has \d+ bytes where it comes from, and \d+ in the"):
        load_checkpoint(REPO, NAME)
    monkeypatch.setattr(hubs, "ranged", real)
    # An index that speaks of more than there is.
    files = there.commits[there.find("main")].files
    path = "checkpoints/tiny/index.json"
    said = json.loads(files[path].content)
    said["shards"][0]["bytes"] += 7
    there.add("refs/heads/main", hubs.Commit("more", files | {path: hubs.Blob(json.dumps(said).encode())}))
    with pytest.raises(MdbenchError, match=r"has .* bytes there, 7 fewer than it should"):
        fetch(REPO, tmp_path / "out")


@pytest.mark.parametrize(("what", "said"), [("api", "the list of its files has more than 262144"), ("index", "index")])
def test_an_answer_without_an_end_is_cut(repository, monkeypatch, what, said):
    sent: list[int] = []
    real = hubs.Hub.__call__

    def pieces():
        for _ in range(5_000):
            sent.append(2**16)
            yield b" " * 2**16

    async def endless(self, scope, receive, send):
        if f"/{what}" in scope["path"]:
            await StreamingResponse(pieces())(scope, receive, send)
        else:
            await real(self, scope, receive, send)

    monkeypatch.setattr(hubs.Hub, "__call__", endless)
    monkeypatch.setattr(places, "_LARGEST_LISTING", 2**18)
    with pytest.raises(MdbenchError, match=said):
        load_checkpoint(REPO, NAME)
    assert sum(sent) < 2**26


def test_a_longer_answer_is_cut(repository, folder, monkeypatch):
    longer = answered(lambda c, a, b: Response(c[a : b + 9], 206, {"Content-Range": f"bytes {a}-{b - 1}/{len(c)}"}))
    monkeypatch.setattr(hubs, "ranged", longer)
    assert_is(load_checkpoint(REPO, NAME), folder)


def test_faults_on_the_way(repository, folder, monkeypatch):
    repository.faults.append(Fault("GET", of_shards(folder), status=503))
    assert_is(load_checkpoint(REPO, NAME), folder)  # tried again
    repository.faults.append(Fault("GET", of_shards(folder), skip=2, cut="answer"))
    with pytest.raises(MdbenchError, match="is the network there"):
        load_checkpoint(REPO, NAME)
    with pytest.raises(MdbenchError, match="lab/none is no dataset repository"):
        load_checkpoint("lab/none", NAME)
    with pytest.raises(MdbenchError, match="has no revision v7"):
        load_checkpoint(REPO, NAME, revision="v7")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MdbenchError, match="is the network there"):
        load_checkpoint(REPO, NAME)


def test_a_repository_without_networks(hub):
    HfApi().create_repo(REPO, repo_type="dataset")
    with pytest.raises(MdbenchError, match="holds no networks"):
        load_checkpoint(REPO, NAME)


def test_all_of_it_from_the_hub(repository, folder, tmp_path):
    seen: list[Fetched] = []
    assert fetch(REPO, tmp_path / "out", progress=seen.append) == tmp_path / "out"
    assert contents(tmp_path / "out") == contents(folder)
    assert load_zoo(tmp_path / "out" / "data" / "tiny").digest == load_zoo(folder / "data" / "tiny").digest
    total = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert seen[-1] == Fetched(total, total)
    assert [one.bytes_done for one in seen] == sorted(one.bytes_done for one in seen)
    before = everything(tmp_path / "out" / "checkpoints")
    repository.seen.clear()
    fetch(REPO, tmp_path / "out", zoo="tiny")
    assert repository.requests("GET", of_shards(folder)) == []
    after = everything(tmp_path / "out" / "checkpoints")
    assert {at: known for at, known in after.items() if at.endswith("safetensors")} == {
        at: known for at, known in before.items() if at.endswith("safetensors")
    }


def test_an_interrupted_download_goes_on_within_a_shard(repository, folder, tmp_path):
    repository.faults.append(Fault("GET", of_shards(folder), skip=1, cut="answer"))
    with pytest.raises(MdbenchError, match=r"is the network there\? What is fetched already is kept"):
        fetch(REPO, tmp_path / "out")
    home = tmp_path / "out" / "checkpoints" / "tiny"
    part = next(home.glob(".*.part"))
    second = (folder / "checkpoints" / "tiny" / "shard-00002.safetensors").read_bytes()
    assert part.read_bytes() == second[: len(second) // 2]
    assert [path.name for path in home.glob("[!.]*")] == ["shard-00001.safetensors"]
    repository.seen.clear()
    fetch(REPO, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)
    ranges = [one.range for one in repository.requests("GET", of_shards(folder))]
    assert ranges[0] == f"bytes={len(second) // 2}-{len(second) - 1}"
    assert len(ranges) == 3  # the first shard was there


def test_damage_is_found_and_does_not_stay(repository, folder, tmp_path):
    repository.faults.append(Fault("GET", of_shards(folder), cut="answer"))
    with pytest.raises(MdbenchError):
        fetch(REPO, tmp_path / "out")
    part = next((tmp_path / "out").rglob(".*.part"))
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(MdbenchError, match=r"shard-00001\.safetensors is damaged"):
        fetch(REPO, tmp_path / "out")
    assert list((tmp_path / "out").rglob("*.part")) == []
    fetch(REPO, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)


# The command


@pytest.fixture
def mdbench(monkeypatch, capsys):
    """Run ``mdbench zoo fetch``; return exit code, output and errors."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mdbench", "zoo", "fetch", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_the_command(mdbench, repository, folder, tmp_path):
    code, out, error = mdbench("--repo", REPO, "--out", tmp_path / "out", "--json")
    assert (code, error) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1] == {"event": "written", "files": [str(tmp_path / "out")]}
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert contents(tmp_path / "out") == contents(folder)
    code, out, error = mdbench(
        "--repo", REPO, "--zoo", "tiny", "--checkpoint", NAME, "--out", tmp_path, "--revision", "main"
    )
    assert (code, error) == (0, "")
    assert out == f"wrote {tmp_path / 'tiny,data_fraction=50,width=3,batch_size=8,seed=1.safetensors'}\n"
    code, out, error = mdbench("--repo", REPO, "--checkpoint", "width=3", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert "has no network 'width=3'" in error


@pytest.fixture
def hearing():
    """The command does not hear a second Ctrl-C: of this process, the other tests want that it does."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hearing")
def test_ctrl_c_says_what_is_kept(mdbench, repository, folder, tmp_path):
    interrupt = Fault("GET", of_shards(folder), skip=2, cut="nothing", then=lambda: os.kill(os.getpid(), signal.SIGINT))
    repository.faults.append(interrupt)
    code, _, error = mdbench("--repo", REPO, "--out", tmp_path / "out")
    assert (code, error) == (130, "stopped; what has arrived is kept, and the same command goes on from there\n")
    kept = contents(tmp_path / "out" / "checkpoints" / "tiny")
    assert {"shard-00001.safetensors", "shard-00002.safetensors"} <= set(kept)
    assert mdbench("--repo", REPO, "--out", tmp_path / "out")[0] == 0
    assert contents(tmp_path / "out") == contents(folder)


# Wrong questions


def test_a_network_that_is_not_there(folder, build):
    with pytest.raises(MdbenchError, match=rf"has no network .*nearest names are .*{NAME}"):
        load_checkpoint(folder, NAME.replace("width=3", "width=4"))
    with pytest.raises(MdbenchError, match="no networks of a zoo 'large'; there are tiny"):
        load_checkpoint(folder, NAME, zoo="large")
    with pytest.raises(MdbenchError, match="neither a folder here, nor ORG/NAME"):
        load_checkpoint(folder / "nowhere" / "at" / "all", NAME)
    with pytest.raises(MdbenchError, match="has no revisions"):
        load_checkpoint(folder, NAME, revision="v1")
    with pytest.raises(MdbenchError, match="whose networks are here already"):
        fetch(build, folder / "nothing")
    with pytest.raises(MdbenchError, match="holds no networks"):
        load_checkpoint(folder / "data", NAME)


def test_a_name_in_several_zoos(mine, tmp_path):
    build_here(write_spec(tmp_path, name="other", training="epochs = 2"), tmp_path / "build")
    published(tmp_path / "build", mine)
    with pytest.raises(MdbenchError, match="other and tiny have a network"):
        load_checkpoint(mine, NAME)
    assert_is(load_checkpoint(mine, NAME, zoo="tiny"), mine)
    expected = load_file(mine / "checkpoints" / "other" / "shard-00001.safetensors")[f"{NAME}/1.weight"]
    assert torch.equal(load_checkpoint(mine, NAME, zoo="other").state_dict()["1.weight"], expected)


# What may come from anybody


def rewrite(folder: Path, change) -> None:
    """Change the table of networks, and let everything that vouches for it agree."""
    home = folder / "data" / "tiny"
    table = pd.read_parquet(home / "checkpoints.parquet")
    change(table)
    table.to_parquet(home / "checkpoints.parquet")
    said = json.loads((home / "zoo.json").read_text())
    said["checkpoints_sha256"] = sha256((home / "checkpoints.parquet").read_bytes()).hexdigest()
    (home / "zoo.json").write_text(json.dumps(said))


def respecify(folder: Path, old: str, new: str) -> None:
    """Change the specification, likewise."""
    path, index = folder / "data" / "tiny" / "spec.toml", folder / "checkpoints" / "tiny" / "index.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    said = json.loads(index.read_text())
    said["spec_sha256"] = sha256(path.read_bytes()).hexdigest()
    index.write_text(json.dumps(said))


@pytest.mark.parametrize(
    "value", ["../../../secret", "/etc/passwd", "checkpoints/tiny/index.json", "units/x/checkpoints.safetensors"]
)
def test_a_table_cannot_name_other_files(mine, value):
    rewrite(mine, lambda table: table.__setitem__("shard", value))
    with pytest.raises(MdbenchError, match="none of the files of networks"):
        load_checkpoint(mine, NAME)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("sha256", "0" * 64, "not those that the zoo's tables describe"),
        ("sha256", 7, "do not say the sha256"),
        ("sha256", None, "do not say the sha256"),
        ("shard", None, "do not say the shard"),
        ("width", 2.0, "not one that the specification describes"),
        ("width", "3", "not one that the specification describes"),
        ("width", float("nan"), "not one that the specification describes"),
        ("seed", 7, "not one that the specification describes"),
        ("checkpoint", NAME, "16 networks"),
    ],
)
def test_a_table_that_says_something_else_is_refused(mine, column, value, said):
    rewrite(mine, lambda table: table.__setitem__(column, value))
    with pytest.raises(MdbenchError, match=said):
        load_checkpoint(mine, NAME)


def test_a_name_cannot_leave_the_folder(mine, tmp_path):
    rewrite(mine, lambda table: table.__setitem__("checkpoint", table["checkpoint"].replace(NAME, "../../evil")))
    with pytest.raises(MdbenchError, match="not one that the specification describes"):
        fetch(mine, tmp_path / "out", checkpoint="../../evil")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "mlp"\ndepth = 1', 'name = "mlp"\ndepth = 1000000000', "fewer tensors than"),
        ('name = "mlp"\ndepth = 1', 'name = "mlp"\ndepth = 2', "not those of the module"),
        ('name = "mlp"\ndepth = 1', 'name = "cnn1d"\ndepth = 1', "wants inputs of shape"),
        ('name = "tiny"', 'name = "huge"', "not one that the specification describes"),
        ("values = [2, 3]", "values = [2, 4]", "not one that the specification describes"),
        ('name = "tiny"', "name = " + "[" * 100_000, "cannot be read"),
        ('name = "tiny"', "name = 1" + "0" * 10_000, "."),
        ('name = "tiny"', "#" * 2**20, "more than any specification"),
    ],
)
def test_a_specification_that_does_not_fit_is_refused(mine, old, new, said):
    respecify(mine, old, new)
    with pytest.raises(MdbenchError, match=said):
        load_checkpoint(mine, NAME)


def test_a_network_wider_than_its_tensors_takes_no_memory(mine):
    """Table, index, file and specification agree on a network of 10¹¹ units, whose tensors are those of one of 3."""
    state, home = state_in(mine, NAME), mine / "checkpoints" / "tiny"
    wide = NAME.replace("width=3", "width=1e+11")
    content = save({f"{wide}/{name}": value for name, value in state.items()})
    (home / "shard-00009.safetensors").write_bytes(content)
    shard = {"name": "shard-00009.safetensors", "sha256": sha256(content).hexdigest(), "bytes": len(content)}
    said = json.loads((home / "index.json").read_text())
    said["shards"].append({**shard, "networks": 1})
    (home / "index.json").write_text(json.dumps(said))

    def change(table):
        row = table["checkpoint"] == NAME
        table.loc[row, ["checkpoint", "width", "shard"]] = [wide, 1e11, "checkpoints/tiny/shard-00009.safetensors"]

    rewrite(mine, change)
    respecify(mine, "values = [2, 3]", "values = [2, 1e11]")
    with pytest.raises(MdbenchError, match="not those of the module"):  # a lack of memory would be said otherwise
        load_checkpoint(mine, wide)


def test_tensors_that_do_not_fit_are_not_read(mine, monkeypatch):
    respecify(mine, 'name = "mlp"\ndepth = 1', 'name = "mlp"\ndepth = 2')
    monkeypatch.setattr("zoo_builder.publishing.download.read_tensors", lambda *_: pytest.fail("they are read"))
    with pytest.raises(MdbenchError, match="not those of the module"):
        load_checkpoint(mine, NAME)


def test_code_is_run_for_those_who_trust_it_alone(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(
        "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nfrom zoo_builder.specification.models import mlp\n"
        "def net(shape, classes, width):\n    return mlp(shape, classes, width, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    build_here(write_spec(tmp_path, architecture='name = "theirs:net"'), tmp_path / "build")
    published(tmp_path / "build", tmp_path / "out")
    for source in (tmp_path / "out", tmp_path / "build"):
        monkeypatch.delitem(sys.modules, "theirs", raising=False)
        (tmp_path / "theirs.ran").unlink()
        with pytest.raises(MdbenchError, match=r"theirs:net; .* pass trust_code=True"):
            load_checkpoint(source, NAME)
        fetch(source, tmp_path / "file", checkpoint=NAME)
        assert not (tmp_path / "theirs.ran").exists()
        assert_is(load_checkpoint(source, NAME, trust_code=True), tmp_path / "out")
        assert (tmp_path / "theirs.ran").exists()


@pytest.mark.parametrize("file", ["spec.toml", "checkpoints.parquet", "zoo.json", "index.json"])
def test_a_file_that_is_damaged_or_missing_is_refused(mine, file):
    path = next(mine.rglob(file))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(MdbenchError):
        load_checkpoint(mine, NAME)
    path.unlink()
    with pytest.raises(MdbenchError):
        load_checkpoint(mine, NAME)


def test_another_specification_is_refused(mine):
    path = mine / "data" / "tiny" / "spec.toml"
    path.write_text(path.read_text() + "# the same, but for this line\n")
    with pytest.raises(MdbenchError, match="not the specification that the networks were made from"):
        load_checkpoint(mine, NAME)


def test_a_damaged_shard_is_refused(mine, tmp_path):
    path = mine / rows(mine).loc[NAME, "shard"]
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    for at in (*range(0, 8 + length, 47), *range(8 + length, len(whole), 11)):
        content = bytearray(whole)
        content[at] ^= 0x10
        path.write_bytes(content)
        with suppress(MdbenchError):
            assert_same(load_checkpoint(mine, NAME).state_dict(), whole)  # the damage is another network's
    with pytest.raises(MdbenchError, match="is damaged"):
        fetch(mine, tmp_path / "out")
    path.write_bytes(whole[:-1])
    with pytest.raises(MdbenchError, match="too early"):
        fetch(mine, tmp_path / "out")


def assert_same(state: dict[str, torch.Tensor], shard: bytes) -> None:
    expected = {name: entry["data"] for name, entry in deserialize(shard)}
    assert {key: value.numpy().tobytes() for key, value in state.items()} == {
        name.removeprefix(f"{NAME}/"): bytes(value) for name, value in expected.items() if name.startswith(f"{NAME}/")
    }


def test_large_files_are_not_downloaded_as_a_whole(mine, monkeypatch):
    monkeypatch.setattr(places, "LARGEST", 100)
    with pytest.raises(MdbenchError, match="more than any such file"):
        load_checkpoint(mine, NAME)


def test_what_is_unfinished_is_not_read(mine, tmp_path):
    (mine / "README.md").write_text(UNFINISHED)
    for read in (lambda: fetch(mine, tmp_path / "out"), lambda: load_checkpoint(mine, NAME)):
        with pytest.raises(MdbenchError, match=r"mine is unfinished: .* `mdbench zoo publish` goes on"):
            read()
    assert not (tmp_path / "out").exists()


def test_two_that_fetch_into_one_folder_are_one_too_many(folder, tmp_path):
    refused = []

    def another(_: Fetched) -> None:
        with pytest.raises(MdbenchError) as told:
            fetch(folder, tmp_path / "out")
        refused.append(str(told.value))

    fetch(folder, tmp_path / "out", progress=another)
    assert set(refused) == {f"another fetching is at work in {tmp_path / 'out'}; wait for it, or stop it"}
    sent = {path.relative_to(folder) for path in folder.rglob("shard-*.safetensors")}
    assert sent == {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("shard-*.safetensors")}
