"""The networks of a zoo as files to publish: which is where, and that they are the build's to the bit."""

import errno
import json
import os
import shutil
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from publication import published
from safetensors.torch import load_file
from tiny_zoo import FEATURES, Faults, build_here, contents, everything, failing, write_spec

from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from zoo_builder.publishing import shards

PLACE = "checkpoints/tiny"


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A finished build of 16 networks, which nobody may change."""
    folder = tmp_path_factory.mktemp("built")
    build_here(write_spec(folder), folder / "zoo")
    return folder / "zoo"


def zoo_of(*parameters: int) -> SimpleNamespace:
    table = pd.DataFrame({"parameter_count": [float(count) for count in parameters], "shard": "", "sha256": ""})
    return SimpleNamespace(name="some", checkpoints=table)


def numbers(zoo, **limits: int) -> list[int]:
    return [int(path.split("-")[1].split(".")[0]) for path in shards.assigned(zoo, **limits)["shard"]]


def test_shards_are_filled_in_order():
    by_hand = {
        (10, 10, 10): [1, 1, 1],  # 4 bytes a parameter: exactly full
        (10, 10, 11): [1, 1, 2],
        (31, 1, 1): [1, 2, 2],  # more than a shard takes, and alone in it
        (1, 31, 1): [1, 2, 3],
        (1, 1, 1, 1, 1): [1, 1, 1, 2, 2],
    }
    for parameters, expected in by_hand.items():
        assert numbers(zoo_of(*parameters), limit=120, networks=3) == expected
    assert shards.assigned(zoo_of(1))["shard"].tolist() == ["checkpoints/some/shard-00001.safetensors"]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 300), st.integers(1, 9))
def test_no_shard_is_overfull_and_none_is_cut_early(parameters, limit, most):
    found = numbers(zoo_of(*parameters), limit=limit, networks=most)
    assert found == sorted(found)
    assert set(found) == set(range(1, max(found) + 1))
    inside = {number: [4 * n for n, at in zip(parameters, found, strict=True) if at == number] for number in found}
    for number, sizes in inside.items():
        assert len(sizes) == 1 or (len(sizes) <= most and sum(sizes) <= limit)
        following = inside.get(number + 1)
        assert following is None or len(sizes) == most or sum(sizes) + following[0] > limit


def test_the_files_hold_the_builds_networks_where_the_table_says(build, tmp_path):
    zoo = published(build, tmp_path / "out", networks=5)
    original = load_zoo(build).checkpoints
    assert zoo.checkpoints["shard"].nunique() == 4
    for path, rows in zoo.checkpoints.groupby("shard"):
        tensors = load_file(tmp_path / "out" / path)
        expected = {}
        for name, unit in original.loc[rows.index, "shard"].items():
            there = load_file(build / unit)
            expected |= {key: value for key, value in there.items() if key.startswith(f"{name}/")}
        assert tensors.keys() == expected.keys()
        for key, value in tensors.items():
            assert value.dtype == expected[key].dtype
            assert torch.equal(value, expected[key])


def test_the_index_says_what_is_there(build, tmp_path):
    published(build, tmp_path / "out", networks=5)
    said = json.loads((tmp_path / "out" / PLACE / "index.json").read_text())
    assert said["zoo"] == "tiny"
    assert (said["input_shape"], said["classes"]) == ([FEATURES], 3)
    assert said["spec_sha256"] == sha256((build / "spec.toml").read_bytes()).hexdigest()
    there = contents(tmp_path / "out" / PLACE)
    there.pop("index.json")
    assert {shard["name"]: (shard["sha256"], shard["bytes"]) for shard in said["shards"]} == {
        name: (sha256(content).hexdigest(), len(content)) for name, content in there.items()
    }
    assert [shard["networks"] for shard in said["shards"]] == [5, 5, 5, 1]
    assert shards.read_index(tmp_path / "out" / PLACE / "index.json").model_dump(mode="json") == said


def test_written_again_nothing_changes_and_elsewhere_the_bytes_are_the_same(build, tmp_path):
    for name in ("once", "twice"):
        published(build, tmp_path / name, networks=5)
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")
    before = everything(tmp_path / "once" / PLACE)
    published(build, tmp_path / "once", networks=5)
    after = everything(tmp_path / "once" / PLACE)
    assert {name: known for name, known in after.items() if name != "index.json"} == {
        name: known for name, known in before.items() if name != "index.json"
    }
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")


def test_interrupted_anywhere_it_goes_on(build, tmp_path):
    expected = published(build, tmp_path / "whole", networks=5)
    whole = contents(tmp_path / "whole" / PLACE)
    counted = Faults(tmp_path / "counted", lambda call: None)
    with counted.watching():
        shards.write(build, expected, tmp_path / "counted")
    assert len(counted.calls) > 15
    for at in range(1, len(counted.calls) + 1, 4):
        out = tmp_path / f"out{at}"
        with Faults(out, failing(errno.ENOSPC), at).watching(), pytest.raises(MdbenchError, match="make room"):
            shards.write(build, expected, out)
        left = everything(out / PLACE) if (out / PLACE).exists() else {}
        assert {name: known[2] for name, known in left.items()}.items() <= whole.items()
        shards.write(build, expected, out)
        now = everything(out / PLACE)
        assert {name: known[2] for name, known in now.items()} == whole
        assert {name: now[name] for name in left if name != "index.json"} == {
            name: known for name, known in left.items() if name != "index.json"
        }


def test_what_a_kill_left_and_what_does_not_belong_is_put_right(build, tmp_path):
    zoo = published(build, tmp_path / "out", networks=5)
    home = tmp_path / "out" / PLACE
    whole = contents(home)
    (home / "shard-00002.safetensors").write_bytes(whole["shard-00002.safetensors"][:-1])
    (home / "shard-00009.safetensors").write_bytes(b"of an earlier cut")
    (home / f".shard-00003.safetensors.{os.getpid()}").write_bytes(b"half")
    shards.write(build, zoo, tmp_path / "out")
    assert contents(home) == whole


def test_a_network_that_is_not_the_tables_is_refused(build, tmp_path):
    zoo = load_zoo(build)
    table = shards.assigned(zoo, networks=5)
    table.loc[table.index[7], "sha256"] = "0" * 64
    with pytest.raises(MdbenchError, match=f"tensors of {table.index[7]} are not those"):
        shards.write(build, replace(zoo, checkpoints=table), tmp_path)
    assert list(contents(tmp_path / PLACE)) == ["shard-00001.safetensors"]  # the second is that of the network


def test_a_damaged_unit_is_refused(build, tmp_path):
    shutil.copytree(build, tmp_path / "zoo")
    zoo = load_zoo(build)
    unit = tmp_path / "zoo" / zoo.checkpoints["shard"].iloc[0]
    content = bytearray(unit.read_bytes())
    content[-1] ^= 1
    unit.write_bytes(content)
    with pytest.raises(MdbenchError, match="is damaged"):
        shards.write(tmp_path / "zoo", replace(zoo, checkpoints=shards.assigned(zoo)), tmp_path / "out")


def test_a_zoo_that_was_not_built_has_no_shards():
    with pytest.raises(MdbenchError, match="only a zoo that was built"):
        shards.assigned(next(iter(toy.both())))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "newer"),
        ({"extra": 1}, "extra"),
        ({"zoo": "../tiny"}, "zoo"),
        ({"input_shape": []}, "input_shape"),
        ({"input_shape": [0]}, "input_shape"),
        ({"input_shape": [2**20, 2**20]}, "larger than any"),
        ({"input_shape": ["6"]}, "input_shape"),
        ({"classes": 2**40}, "classes"),
        ({"spec_sha256": "A" * 64}, "spec_sha256"),
        ({"shards": []}, "shards"),
        ({"shards": [{"name": "../shard-00001.safetensors"}]}, "name"),
        ({"shards": [{"name": "shard-00001.safetensors\n"}]}, "name"),
        ({"shards": [{"bytes": -1}]}, "bytes"),
        ({"shards": [{"bytes": 2**60}]}, "bytes"),
        ({"shards": [{}, {}]}, "twice"),
    ],
    ids=str,
)
def test_an_index_that_says_something_else_is_refused(tmp_path, change, said):
    shard = {"name": "shard-00001.safetensors", "sha256": "0" * 64, "bytes": 100, "networks": 1}
    sound = {"format": 1, "zoo": "tiny", "input_shape": [6], "classes": 3, "spec_sha256": "0" * 64, "shards": [shard]}
    (tmp_path / "index.json").write_text(json.dumps(sound))
    assert shards.read_index(tmp_path / "index.json").shard(f"{PLACE}/shard-00001.safetensors").bytes == 100
    changed = {**sound, **change}
    changed["shards"] = [{**shard, **one} for one in changed["shards"]]
    (tmp_path / "index.json").write_text(json.dumps(changed))
    with pytest.raises(MdbenchError, match=said):
        shards.read_index(tmp_path / "index.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 100_000])
def test_an_index_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(MdbenchError, match=r"index\.json cannot be read"):
        shards.read_index(tmp_path / "index.json")
    with pytest.raises(MdbenchError, match="cannot be read"):
        shards.read_index(tmp_path / "nothing.json")
