"""Zoos as a dataset: what `datasets`, the Hub and PyTorch make of it, and that nothing on the way is lost or half done."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from huggingface_hub import snapshot_download
from tiny_zoo import Faults, build_here, contents, everything, failing, here, write_spec

from mdbench.cli import main
from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from mdbench.tables.tasks import NONE, TASKS
from mdbench.tables.zoo import single_precision, write_tables
from zoo_builder import load_checkpoint
from zoo_builder.building.measuring import measure
from zoo_builder.publishing import publication as publish
from zoo_builder.publishing.card import UNFINISHED

REPO = "lab/zoo"
NETWORK = "data_fraction=50/width=3/batch_size=8/seed=1"
#: As a user has it: a process of its own, and the dataset's name. Labels come back as the words that the card has for them.
LOADING = """
import json, sys
from datasets import ClassLabel, get_dataset_config_names, load_dataset

name, out = sys.argv[1:]
said = {"default": list(load_dataset(name))}
for config in get_dataset_config_names(name):
    for split, part in load_dataset(name, config).items():
        part.to_parquet(f"{out}/{config}.{split}.parquet")
        words = {column: kind.names for column, kind in part.features.items() if isinstance(kind, ClassLabel)}
        said[f"{config}.{split}"] = words
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Zoos that nobody may change: one with its spectra measured, one with wrong labels, one without labels to diagnose."""
    home = tmp_path_factory.mktemp("builds")
    build_here(write_spec(home), home / "tiny")
    measure(home / "tiny", here, families=["spectra"])
    noisy = {"data_fraction": [50, 100], "label_noise": [0, 20], "width": [2], "batch_size": [4, 8]}
    build_here(write_spec(home, "noisy.toml", name="tiny-noisy", seeds="[0]", **noisy), home / "tiny-noisy")
    build_here(write_spec(home, "plain.toml", name="plain", seeds="[0]", width=[2, 3]), home / "plain")
    return home


@pytest.fixture(scope="module")
def dataset(builds, tmp_path_factory):
    """The first two, published; nobody may change it."""
    folder = tmp_path_factory.mktemp("published") / "zoos"
    publish.publish([builds / "tiny", builds / "tiny-noisy"], folder)
    return folder


@pytest.fixture
def hasty(monkeypatch):
    """Cards and figures that are made at once: a card says what the files are, digest by digest."""

    def front(folder, _zoos, configs, _version):
        paths = [folder / path for config in configs for path in config.parts.values()]
        return "\n".join([*UNFINISHED.splitlines()[1:4], *(sha256(path.read_bytes()).hexdigest() for path in paths)])

    monkeypatch.setattr(publish, "front_matter", front)
    monkeypatch.setattr(publish, "_labels", lambda zoo: b"\x89PNG" + zoo.name.encode())


def tables_of(folder: Path) -> dict[str, Path]:
    """Return the files that are to be loaded: config and split → file."""
    zoos = {f"{file.stem}.{file.parent.name.replace('-', '_')}": file for file in (folder / "data").glob("*/*.parquet")}
    return zoos | {f"{file.stem}.table": file for file in (folder / "data").glob("*.parquet")}


def mdbench(*arguments: str) -> int | None:
    """Run a command in this process; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mdbench", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code


# What others make of it


def test_through_the_hub_and_back(hub, builds, tmp_path, home, capsys):
    assert not mdbench("zoo", "publish", str(builds / "tiny"), str(builds / "tiny-noisy"), "--repo", REPO)
    folder = home / "published" / REPO
    assert f"uploaded: {hub.endpoint}/datasets/{REPO}/tree/v1.0.0" in capsys.readouterr().out

    snapshot_download(REPO, repo_type="dataset", revision="v1.0.0", local_dir=tmp_path / "back")
    back = {path: content for path, content in contents(tmp_path / "back").items() if not path.startswith(".")}
    assert back == contents(folder)

    command = [sys.executable, "-c", LOADING, REPO, str(tmp_path)]
    said = json.loads(subprocess.run(command, check=True, env=os.environ, capture_output=True).stdout)
    assert said.pop("default") == ["tiny", "tiny_noisy"]
    files = tables_of(folder)
    assert said.keys() == files.keys()
    for name, file in files.items():
        found, original = pd.read_parquet(tmp_path / f"{name}.parquet"), pd.read_parquet(file)
        labels = [task for task in TASKS if task in found]
        assert {task: said[name][task] for task in labels} == {task: [*TASKS[task].classes, NONE] for task in labels}
        assert set(said[name]) == set(labels)
        for task in labels:
            found[task] = found[task].map(dict(enumerate(said[name][task]))).astype(object)
        pd.testing.assert_frame_equal(found[list(original)], original, check_dtype=not labels)
        assert found.drop(columns=list(original)).isna().all(axis=None)  # columns of the other zoo

    with np.load(builds / "data.npz") as arrays:
        train, test = (arrays[f"{part}_inputs"].astype(np.float64) for part in ("train", "test"))
        inputs, labels = torch.from_numpy((test - train.mean(0)) / train.std(0)).float(), arrays["test_labels"]
    with torch.no_grad():
        wrong = load_checkpoint(REPO, NETWORK)(inputs).argmax(1).numpy() != labels
    stored = pd.read_parquet(files["checkpoints.tiny"]).set_index("checkpoint")["test_error"]
    assert 100 * int(wrong.sum()) / len(labels) == stored[NETWORK]

    shutil.rmtree(folder / "data" / "tiny-noisy")  # by hand: the rest of it goes too
    assert not mdbench("zoo", "publish", str(builds / "tiny"), "--repo", REPO, "--tables-only", "--version", "1.1.0")
    assert not any("noisy" in path or "shard" in path for path in hub.repositories[REPO].files("v1.1.0"))
    assert hub.repositories[REPO].files("v1.0.0").keys() - {".gitattributes"} == back.keys()


def test_two_zoos_have_columns_of_their_own(dataset):
    """The one was measured and the other not, the one has wrong labels and the other not; nothing is made up for either."""
    one, other = (
        set(pd.read_parquet(dataset / "data" / name / "checkpoints.parquet")) for name in ("tiny", "tiny-noisy")
    )
    assert "label_noise" in other - one
    assert any(name.startswith("stable_rank") or "alpha" in name for name in one - other)
    assert (dataset / "data" / "tiny" / "layers.parquet").is_file()
    assert not (dataset / "data" / "tiny-noisy" / "layers.parquet").exists()


def test_the_tables_are_the_zoos(builds, dataset):
    """What is published of a zoo is a zoo that says the same; only where its networks are is another place."""
    for name in ("tiny", "tiny-noisy"):
        one, other = load_zoo(builds / name), load_zoo(dataset / "data" / name)
        assert single_precision(one).digest == other.digest
        labels = [*one.knobs, "test_error", *(name for name in one.configurations if name.startswith("rfi_"))]
        pd.testing.assert_frame_equal(one.configurations[labels], other.configurations[labels], check_exact=True)
        same = [name for name in one.configurations if not name.endswith("_quantile")]  # what rounding makes equal ties
        pd.testing.assert_frame_equal(one.configurations[same], other.configurations[same], rtol=1e-6)
        assert one.provenance == other.provenance
        shards = other.checkpoints["shard"]
        assert all((dataset / path).is_file() for path in shards)
        pd.testing.assert_frame_equal(
            one.checkpoints.drop(columns="shard"), other.checkpoints.drop(columns="shard"), check_exact=True
        )


def test_elsewhere_and_from_another_working_directory_the_bytes_are_the_same(builds, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(builds)
    monkeypatch.setenv("MDBENCH_HOME", "nowhere")
    to = Path(os.path.relpath(tmp_path / "elsewhere"))
    written = publish.publish(["./tiny", "./tiny-noisy"], to)
    assert contents(tmp_path / "elsewhere") == contents(dataset)
    assert sorted(path.relative_to(to).as_posix() for path in written) == sorted(contents(dataset))
    assert {"README.md", "croissant.json", "figures/tiny.png", "checkpoints/tiny/index.json"} <= contents(
        dataset
    ).keys()


# Again, and otherwise


def test_published_again_the_same_bytes_and_no_shard_is_written_anew(hasty, builds, tmp_path):
    to = tmp_path / "to"
    publish.publish([builds / "tiny"], to)
    before = everything(to)
    publish.publish([builds / "tiny"], to)
    assert contents(to) == {path: content for path, (*_, content) in before.items()}
    shards = [path for path in before if path.endswith(".safetensors")]
    assert shards
    assert all(everything(to)[path] == before[path] for path in shards)


def test_a_zoo_leaves_with_its_files_and_with_nothing_else(hasty, builds, tmp_path):
    to, alone = tmp_path / "to", tmp_path / "alone"
    publish.publish([builds / "tiny"], alone)
    publish.publish([builds / "tiny", builds / "tiny-noisy"], to)
    theirs = {
        "LICENSE": b"mine",
        "data/notes/x.txt": b"mine",
        "data/tiny-noisy/notes.txt": b"mine",
        "figures/own.svg": b"mine",
    }
    for path, content in theirs.items():
        (to / path).parent.mkdir(exist_ok=True)
        (to / path).write_bytes(content)
    publish.publish([builds / "tiny"], to)
    assert contents(to) == contents(alone) | theirs
    assert not (to / "checkpoints" / "tiny-noisy").exists()


def test_tables_only(hasty, builds, tmp_path):
    to, alone = tmp_path / "to", tmp_path / "alone"
    publish.publish([builds / "tiny"], to)
    publish.publish([builds / "tiny"], to, networks=False)
    publish.publish([builds / "tiny"], alone, networks=False)
    assert contents(to) == contents(alone)
    assert not (to / "checkpoints").exists()
    assert "The networks are not in this folder" in (to / "README.md").read_text()
    unbuilt = tmp_path / "unbuilt"  # tables are enough for tables
    shutil.copytree(alone / "data" / "tiny", unbuilt)
    publish.publish([unbuilt], tmp_path / "of-tables", networks=False)
    assert contents(tmp_path / "of-tables") == contents(alone)


def test_a_zoo_without_labels_has_no_cases_and_no_figure(builds, tmp_path):
    to = tmp_path / "to"
    publish.publish([builds / "plain"], to, networks=False)
    assert contents(to).keys() == {
        "README.md",
        "croissant.json",
        *(f"data/plain/{name}" for name in ("zoo.json", "spec.toml", "configurations.parquet", "checkpoints.parquet")),
    }
    assert ".png" not in (to / "README.md").read_text()


def test_what_a_kill_left_is_removed(hasty, builds, tmp_path):
    to = tmp_path / "to"
    publish.publish([builds / "tiny"], to)
    before = contents(to)
    for path in (
        ".README.md.12",
        ".croissant.json.7",
        "data/.cases.parquet.9",
        "figures/.tiny.png.3",
        "data/tiny/.zoo.json.5",
    ):
        (to / path).write_bytes(b"half")
    publish.publish([builds / "tiny"], to)
    assert contents(to) == before


# Interrupted


@pytest.fixture
def hastier(hasty, monkeypatch):
    """What is computed of a zoo is computed once."""
    sources, cases = cache(publish._source), cache(lambda *zoos: publish_cases(zoos))
    publish_cases = publish.cases_of
    monkeypatch.setattr(publish, "_source", sources)
    monkeypatch.setattr(publish, "cases_of", lambda zoos: cases(*zoos))
    monkeypatch.setattr(publish, "card", lambda front, *_, **__: f"---\n{front}\n---\n")


@pytest.mark.parametrize(
    ("networks", "empty", "step"),
    [(False, True, 3), (False, False, 3), (True, False, 17)],
    ids=["new", "old", "networks"],
)
def test_interrupted_anywhere_it_goes_on(hastier, builds, tmp_path, networks, empty, step):
    """From nothing, and in the place of another dataset, which has a zoo that stays and one that leaves.

    Four of five times it is interrupted again before it has come to its end.
    """
    old, new = [builds / "plain", builds / "tiny-noisy"], [builds / "tiny-noisy", builds / "tiny"]
    start, work = tmp_path / "old", tmp_path / "work"
    publish.publish(old, start, networks=networks)
    publish.publish(new, tmp_path / "new", networks=networks)
    if empty:
        shutil.rmtree(start)
        start.mkdir()
    before, after = contents(start), contents(tmp_path / "new")
    shutil.copytree(start, work)
    with Faults(work, failing(errno.ENOSPC)).watching() as counted:
        publish.publish(new, work, networks=networks)
    assert contents(work) == after
    for turn, at in enumerate(range(1, len(counted.calls) + 1, step)):
        if turn % 5 == 0:
            shutil.rmtree(work)
            shutil.copytree(start, work)
        with Faults(work, failing(errno.ENOSPC), at).watching() as faults, suppress(MdbenchError):
            publish.publish(new, work, networks=networks)
        assert len(faults.calls) >= at or contents(work) == after
        there = contents(work)
        if "README.md" in there and there["README.md"] not in (UNFINISHED.encode(), before.get("README.md")):
            assert there == after
        elif there.get("README.md") == before.get("README.md"):
            assert there == before
        if turn % 5 == 4:
            publish.publish(new, work, networks=networks)
            assert contents(work) == after, (at, counted.calls[at - 1])


def test_interrupted_while_files_are_removed_it_goes_on(hastier, builds, tmp_path, monkeypatch):
    publish.publish([builds / "tiny-noisy", builds / "tiny"], tmp_path / "old")
    publish.publish([builds / "tiny"], tmp_path / "new")
    after, work, real = contents(tmp_path / "new"), tmp_path / "work", os.unlink
    left = [0]

    def unlink(path, *arguments, **options):
        if str(path).startswith(str(work)) and Path(path).exists():
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        real(path, *arguments, **options)

    for at in range(1, 50):
        shutil.copytree(tmp_path / "old", work)
        left[0] = at
        monkeypatch.setattr(os, "unlink", unlink)
        try:
            publish.publish([builds / "tiny"], work)
        except KeyboardInterrupt:
            assert (work / "README.md").read_text() == UNFINISHED
        monkeypatch.setattr(os, "unlink", real)
        if left[0] > 0:
            break
        publish.publish([builds / "tiny"], work)
        assert contents(work) == after
        shutil.rmtree(work)
    assert at > 9


def test_an_unfinished_dataset_cannot_be_loaded(hasty, builds, tmp_path, monkeypatch):
    from datasets import load_dataset

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "front_matter", stopped)
    with pytest.raises(KeyboardInterrupt):
        publish.publish([builds / "tiny"], tmp_path / "to")
    assert (tmp_path / "to" / "data" / "tiny" / "zoo.json").is_file()
    with pytest.raises(FileNotFoundError, match="unfinished"):
        load_dataset(str(tmp_path / "to"), cache_dir=str(tmp_path / "cache"))


# Refused


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"README.md": "# My work\n"}, "README.md is not the card of a dataset of zoos, and would be lost"),
        ({"README.md": "---\ntags:\n- model-diagnosis\n---\n"}, "is not the card"),
        ({"data/mine.csv": "1,2\n"}, "data is there, but no card"),
        ({"checkpoints/mine.pt": ""}, "checkpoints is there, but no card"),
        ({"croissant.json": "{}"}, "croissant.json is there, but no card"),
    ],
)
@pytest.mark.parametrize("run", [publish.publish, publish.preview])
def test_what_is_somebody_elses_stays(builds, tmp_path, run, files, message):
    for path, text in files.items():
        (tmp_path / "to" / path).parent.mkdir(parents=True)
        (tmp_path / "to" / path).write_text(text)
    before = everything(tmp_path / "to")
    with pytest.raises(MdbenchError, match=message):
        run([builds / "tiny"], tmp_path / "to")
    assert everything(tmp_path / "to") == before


def test_a_file_in_the_folders_place(builds, tmp_path):
    (tmp_path / "to").write_text("mine")
    with pytest.raises(MdbenchError, match="is it a folder, and yours to write"):
        publish.publish([builds / "tiny"], tmp_path / "to")
    assert (tmp_path / "to").read_text() == "mine"


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0\n", "1.0.x", "١.0.0"])
def test_what_is_no_version(builds, tmp_path, version):
    with pytest.raises(MdbenchError, match="is no version; one is three numbers"):
        publish.publish([builds / "tiny"], tmp_path / "to", version=version)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("repo", ["zoo", "lab/zoo/more", "lab/", "lab/my zoo", "lab/zoo\n", 'lab/"); import os'])
def test_what_is_no_repository(builds, tmp_path, repo):
    with pytest.raises(MdbenchError, match="is no dataset on the Hub"):
        publish.publish([builds / "tiny"], tmp_path / "to", repo=repo)
    assert not (tmp_path / "to").exists()


def renamed(build: Path, to: Path, name: str) -> Path:
    """Copy a zoo's tables under another name."""
    write_tables(replace(load_zoo(build), name=name), to)
    shutil.copy(build / "spec.toml", to)
    return to


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tiny"], "two of the zoos are called 'tiny'"),
        (["a-b", "c", "a.b"], "the zoos 'a-b' and 'a.b' are one to `datasets`"),
        (["../../escaped"], "'../../escaped' is no name for a zoo"),
        (["Tiny"], "'Tiny' is no name for a zoo"),
        (["."], "'.' is no name for a zoo"),
    ],
)
def test_names_that_cannot_stand_side_by_side(builds, tmp_path, names, message):
    zoos = [renamed(builds / "tiny", tmp_path / str(at), name) for at, name in enumerate(names)]
    with pytest.raises(MdbenchError, match=message):
        publish.publish([builds / "tiny", *zoos], tmp_path / "to", networks=False)
    assert not (tmp_path / "to").exists()


def spoilt(build: Path, to: Path, how: str) -> Path:
    shutil.copytree(build, to)
    match how:
        case "edited":
            (to / "spec.toml").write_text((to / "spec.toml").read_text() + "# really\n")
        case "gone":
            (to / "spec.toml").unlink()
        case "unfinished":
            shutil.rmtree(next((to / "units").iterdir()))
        case "tables":
            shutil.rmtree(to / "units")
            (to / "build.json").unlink()
        case "damaged":
            table = to / "checkpoints.parquet"
            table.write_bytes(table.read_bytes()[:-1] + b"\0")
    return to


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("edited", "spec.toml is not the specification that zoo tiny was built from"),
        ("gone", "spec.toml cannot be read"),
        ("unfinished", "is not built to its end: 1 of 4 units are missing"),
        ("tables", "build.json"),
        ("damaged", "SHA-256 differs"),
    ],
)
@pytest.mark.parametrize("run", [publish.publish, publish.preview])
def test_zoos_that_are_not_what_they_were(builds, tmp_path, run, how, message):
    zoo = spoilt(builds / "tiny", tmp_path / "zoo", how)
    with pytest.raises(MdbenchError, match=message):
        run([zoo], tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_means_alone_are_not_published(tmp_path):
    toy.zoo("means").save(tmp_path / "means")
    with pytest.raises(MdbenchError, match="only means are known of zoo means"):
        publish.publish([tmp_path / "means"], tmp_path / "to")
    with pytest.raises(MdbenchError, match="no zoo to publish"):
        publish.publish([], tmp_path / "to")


# On the command line


def test_a_dry_run_writes_and_uploads_nothing_and_says_what_would_be(hub, hasty, builds, tmp_path, home, capsys):
    to = tmp_path / "to"
    for options in ([], ["--tables-only"]):
        home_before = everything(home) if home.exists() else {}
        assert not mdbench("zoo", "publish", str(builds / "tiny"), "--repo", REPO, "--dry-run", "--json", *options)
        said = json.loads(capsys.readouterr().out)
        assert (everything(home) if home.exists() else {}) == home_before
        assert hub.seen == []
        assert not mdbench("zoo", "publish", str(builds / "tiny"), "--to", str(to), "--json", *options)
        capsys.readouterr()
        sizes = {path: len(content) for path, content in contents(to).items()}
        assert said["repo"] == REPO
        assert said["files"].keys() == sizes.keys()
        for path, size in said["files"].items():
            if path not in ("README.md", "croissant.json"):
                assert size == sizes[path], path


def test_it_says_where_to(builds, tmp_path, capsys):
    assert mdbench("zoo", "publish", str(builds / "tiny")) == 2
    assert "say where to: --to FOLDER, or --repo ORG/NAME" in capsys.readouterr().err
    assert mdbench("zoo", "publish", str(tmp_path / "nothing"), "--to", str(tmp_path / "to")) == 2
    assert "is not there" in capsys.readouterr().err
