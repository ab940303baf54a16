"""The tables of a built zoo, recomputed by plain means: what they say is what the networks are."""

import hashlib
import math
import statistics
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from tiny_zoo import CLASSES, FEATURES, TRAIN, build_here, write_spec

from mdbench.cli import main
from mdbench.tables.loading import load_zoo
from mdbench.tables.schema import COLUMNS, Need

#: Relative and absolute: what single networks' numbers in the file are rounded to, and what that makes of spreads.
SINGLE = (1e-5, 1e-4)
MEASURED = ("test_error", "test_loss", "train_error", "train_loss", "generalization_gap")
METHOD = """
from sklearn.tree import DecisionTreeClassifier
columns = ["train_error"]
method = DecisionTreeClassifier(max_depth=1)
"""
#: Every second seed of these networks begins with a bias that is not a number.
FRAGILE = """
import torch
from zoo_builder.models import mlp

def fragile(shape, classes, width):
    network = mlp(shape, classes, width, 1)
    if torch.rand(()) < 0.5:
        network[-1].bias.data.fill_(float("nan"))
    return network
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A finished build, which nobody may change."""
    folder = tmp_path_factory.mktemp("built")
    spec = write_spec(
        folder, training="epochs = 3", seeds="[4, 0, 1]", data_fraction=[50, 100], width=[2, 3], batch_size=[4, 8, 16]
    )
    build_here(spec, folder / "zoo")
    return folder / "zoo"


def read(folder: Path, name: str) -> list[dict]:
    return pd.read_parquet(folder / f"{name}.parquet").to_dict("records")


def test_there_is_a_row_for_every_network(built):
    spec = tomllib.loads((built / "spec.toml").read_text())
    knobs = {axis["knob"]: axis["values"] for axis in spec["axes"]}
    rows = read(built, "checkpoints")
    wanted = [
        (fraction, width, batch, seed)
        for fraction in knobs["data_fraction"]
        for width in knobs["width"]
        for batch in knobs["batch_size"]
        for seed in sorted(spec["seeds"])
    ]
    assert [(row["data_fraction"], row["width"], row["batch_size"], row["seed"]) for row in rows] == wanted
    for row, (fraction, width, batch, seed) in zip(rows, wanted, strict=True):
        assert row["configuration"] == f"data_fraction={fraction}/width={width}/batch_size={batch}"
        assert row["checkpoint"] == f"{row['configuration']}/seed={seed}"
        assert row["data_amount"] == TRAIN * fraction / 100
        assert row["steps"] == math.ceil(3 * row["data_amount"] / batch)
        # A hidden layer without bias, scale and shift of its normalization, and a last layer with bias.
        assert row["parameter_count"] == FEATURES * width + 2 * width + width * CLASSES + CLASSES
        assert row["epochs"] == 3
        assert not row["diverged"]
        assert pd.isna(row["diverged_at"])
        # All but the test error have single precision in the file.
        assert row["generalization_gap"] == pytest.approx(row["test_error"] - row["train_error"], abs=1e-5)


def test_the_networks_are_in_their_shards_with_their_digests(built):
    shards = {}
    for row in read(built, "checkpoints"):
        shard = shards.setdefault(row["shard"], load_file(built / row["shard"]))
        mine = {}
        for key in [key for key in shard if key.startswith(f"{row['checkpoint']}/")]:
            mine[key.removeprefix(f"{row['checkpoint']}/")] = shard.pop(key)
        assert (
            sum(value.numel() for name, value in mine.items() if "running" not in name and "num_" not in name)
            == (row["parameter_count"])
        )
        said = hashlib.sha256()
        for name in sorted(mine):
            said.update(f"{name} {mine[name].dtype} {tuple(mine[name].shape)}\n".encode())
            said.update(bytes(mine[name].contiguous().view(-1).numpy().data))
        assert said.hexdigest() == row["sha256"]
    assert {shard: list(left) for shard, left in shards.items()} == {shard: [] for shard in shards}
    assert set(shards) == {str(path.relative_to(built)) for path in built.glob("units/*/checkpoints.safetensors")}


def test_the_errors_are_those_of_the_networks_in_the_shards(built):
    """One network by hand, in NumPy: linear, normalization, ReLU, linear."""
    with np.load(built.parent / "data.npz") as data:
        mean, spread = data["train_inputs"].mean(0, dtype=float), data["train_inputs"].std(0, dtype=float)
        inputs, labels = (data["test_inputs"] - mean) / spread, data["test_labels"]
    for row in read(built, "checkpoints"):
        one = {
            key.removeprefix(f"{row['checkpoint']}/"): value.double().numpy()
            for key, value in load_file(built / row["shard"]).items()
            if key.startswith(f"{row['checkpoint']}/")
        }
        hidden = inputs @ one["1.weight"].T - one["2.running_mean"]
        hidden = hidden / np.sqrt(one["2.running_var"] + 1e-5) * one["2.weight"] + one["2.bias"]
        logits = np.maximum(hidden, 0) @ one["4.weight"].T + one["4.bias"]
        loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
        assert row["test_error"] == pytest.approx(100 * (logits.argmax(1) != labels).mean())
        assert row["test_loss"] == pytest.approx(loss.mean(), rel=1e-4)


def test_configurations_are_the_means_over_their_networks(built):
    rows = read(built, "checkpoints")
    configurations = read(built, "configurations")
    assert [one["configuration"] for one in configurations] == list(dict.fromkeys(row["configuration"] for row in rows))
    for one in configurations:
        mine = [row for row in rows if row["configuration"] == one["configuration"]]
        assert (one["seeds"], one["diverged_seeds"]) == (3, 0) == (len(mine), sum(row["diverged"] for row in mine))
        for column in MEASURED:
            values = [row[column] for row in mine]
            mean, spread = (1e-12, 1e-9) if column == "test_error" else SINGLE
            assert one[column] == pytest.approx(statistics.mean(values), rel=mean, abs=mean)
            assert one[f"{column}_std"] == pytest.approx(statistics.stdev(values), rel=spread, abs=spread)
        for column in ("width", "batch_size", "data_fraction", "data_amount", "parameter_count"):
            assert {row[column] for row in mine} == {one[column]}


def test_labels_come_with_their_standard_errors(built):
    """The room for improvement by width, recomputed: of two widths, the other one if it is wider and better."""
    table = pd.read_parquet(built / "configurations.parquet")
    moves = ("temperature_up", "temperature_down", "width", "data")
    tasks = ("optimizer", "width_vs_optimizer", "data_vs_optimizer", "failure_source")
    for task in tasks:
        assert {task, f"{task}_margin", f"{task}_margin_se"} <= set(table)
        assert table[task].notna().all()
    for move in moves:
        assert {f"rfi_{move}", f"rfi_{move}_se"} <= set(table)
    assert set(table) <= set(COLUMNS)
    networks = {(row["configuration"], row["seed"]): row["test_error"] for row in read(built, "checkpoints")}
    for one in table.to_dict("records"):
        wider = one["configuration"].replace("width=2", "width=3")
        gains = [networks[one["configuration"], seed] - networks[wider, seed] for seed in (0, 1, 4)]
        gain = statistics.mean(gains)
        assert one["rfi_width"] == pytest.approx(max(gain, 0), abs=1e-9)
        error = statistics.stdev(gains) / math.sqrt(3) if gain > 1e-9 else 0
        assert one["rfi_width_se"] == pytest.approx(error, abs=1e-9)


def test_what_training_took_is_in_a_table_of_its_own(built):
    table = pd.read_parquet(built / "timings.parquet")
    assert list(table) == ["checkpoint", "seconds"]
    assert (table["seconds"] > 0).all()
    assert sorted(table["checkpoint"]) == sorted(row["checkpoint"] for row in read(built, "checkpoints"))
    assert "seconds" not in pd.read_parquet(built / "checkpoints.parquet")


def test_a_built_zoo_is_loaded_and_evaluated_on(built, method_file, monkeypatch, capsys):
    zoo = load_zoo(built)
    assert (zoo.name, len(zoo.configurations), len(zoo.checkpoints)) == ("tiny", 12, 36)
    method = method_file(METHOD)
    monkeypatch.setattr(
        sys, "argv", ["mdbench", "evaluate", str(method), "--zoo", str(built), "--beside", "", "--workers", "0"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    out, errors = capsys.readouterr()
    assert ended.value.code in (None, 0), errors
    assert "mine" in out


@pytest.fixture
def fragile(tmp_path, monkeypatch):
    (tmp_path / "fragile_networks.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fragile_networks", raising=False)
    return 'name = "fragile_networks:fragile"'


def test_networks_that_diverge_are_in_no_mean(tmp_path, fragile):
    build_here(write_spec(tmp_path, architecture=fragile, seeds="[0, 1, 2, 3, 4, 5]"), tmp_path / "zoo")
    rows = read(tmp_path / "zoo", "checkpoints")
    diverged = [row for row in rows if row["diverged"]]
    assert 0 < len(diverged) < len(rows)
    for row in rows:
        assert all(math.isnan(row[column]) == row["diverged"] for column in MEASURED)
        assert row["diverged_at"] == 0 if row["diverged"] else pd.isna(row["diverged_at"])
        assert row["steps"] > 0
        assert len(row["sha256"]) == 64
        assert (tmp_path / "zoo" / row["shard"]).is_file()
    for one in read(tmp_path / "zoo", "configurations"):
        mine = [row for row in rows if row["configuration"] == one["configuration"]]
        kept = [row for row in mine if not row["diverged"]]
        assert 2 <= len(kept) < 6
        assert (one["seeds"], one["diverged_seeds"]) == (len(kept), 6 - len(kept))
        for column in MEASURED:
            values = [row[column] for row in kept]
            mean, spread = (1e-12, 1e-9) if column == "test_error" else SINGLE
            assert one[column] == pytest.approx(statistics.mean(values), rel=mean, abs=mean)
            assert one[f"{column}_std"] == pytest.approx(statistics.stdev(values), rel=spread, abs=spread)
        assert one["failure_source"] is not None
    assert len(load_zoo(tmp_path / "zoo").checkpoints) == len(rows)


def test_a_point_where_every_network_diverged_has_no_label(tmp_path):
    """Steps of 1e30 on networks without normalization; at the other points nothing happens to anybody."""
    spec = write_spec(
        tmp_path,
        architecture='name = "mlp"\ndepth = 1\noptions = { norm = false }',
        training="epochs = 4",
        width=[2, 3],
        data_fraction=[50, 100],
        learning_rate=[0.01, 0.1, 1e30],
    )
    build_here(spec, tmp_path / "zoo")
    rows = read(tmp_path / "zoo", "checkpoints")
    for row in rows:
        assert row["diverged"] == (row["learning_rate"] == 1e30)
        if row["diverged"]:
            assert 0 < row["diverged_at"] <= row["steps"]
            assert all(math.isnan(row[column]) for column in MEASURED)
    zoo = load_zoo(tmp_path / "zoo")
    for name, one in zoo.configurations.iterrows():
        wild = "learning_rate=1e+30" in name
        assert (one["diverged_seeds"], one["seeds"]) == ((2, 0) if wild else (0, 2))
        assert pd.isna(one["test_error"]) == pd.isna(one["test_error_std"]) == wild
        for column in zoo.configurations:
            if column.startswith("rfi_") or COLUMNS[column].family == "label":
                assert pd.isna(one[column]) == wild, column


def test_a_zoo_in_which_everything_diverged_is_built_and_said(tmp_path, monkeypatch, capsys, method_file):
    spec = write_spec(
        tmp_path,
        architecture='name = "mlp"\ndepth = 1\noptions = { norm = false }',
        training="epochs = 4\nlearning_rate = 1e30",
    )
    build_here(spec, tmp_path / "zoo")
    zoo = load_zoo(tmp_path / "zoo")
    assert zoo.checkpoints["diverged"].all()
    assert zoo.configurations["test_error"].isna().all()
    assert zoo.configurations["failure_source"].isna().all()

    method = method_file(METHOD)
    monkeypatch.setattr(
        sys, "argv", ["mdbench", "evaluate", str(method), "--zoo", str(tmp_path / "zoo"), "--beside", ""]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: zoo tiny makes no cases of its own: ")
    assert error.count("\n") == 1


def test_a_single_seed_has_no_spread(tmp_path):
    build_here(write_spec(tmp_path, seeds="[7]"), tmp_path / "zoo")
    table = pd.read_parquet(tmp_path / "zoo" / "configurations.parquet")
    assert (table["seeds"] == 1).all()
    spreads = [column for column in table if column.endswith("_std")]
    needing = [column for column in table if Need.SEEDS in COLUMNS[column].needs and not column.endswith("_se")]
    assert set(needing) == set(spreads) > {"test_error_std"}
    assert table[needing].isna().all(axis=None)
    assert table["failure_source"].notna().all()
    load_zoo(tmp_path / "zoo")
