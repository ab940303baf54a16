"""The table of trajectories: networks kept at steps of their training, layer by layer."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import toy

from mdbench.errors import MdbenchError
from mdbench.tables.loading import load_zoo
from mdbench.tables.manifest import MANIFEST, TRAJECTORY, table_digests
from mdbench.tables.schema import COLUMNS, Family, Need
from mdbench.tables.zoo import Zoo, write_tables
from zoo_builder.building.pairs import read_tables
from zoo_builder.publishing.publication import _configs

CONFIGURATIONS, CHECKPOINTS = toy.networks()
MOVES, PROVENANCE = toy.zoo().moves, toy.zoo().provenance
NAMES = CHECKPOINTS["checkpoint"].iloc[:2].tolist()


def steps(**changed) -> pd.DataFrame:
    """Two networks × three steps × two layers, the last one first: a table has the order that it is given."""
    rows = pd.MultiIndex.from_product([NAMES, [100, 0, 1], ["fc2", "fc1"]], names=["checkpoint", "step", "layer"])
    table = rows.to_frame(index=False).assign(alpha=np.linspace(2, 9.08, 12), mp_spikes=1.0, bulk_edge=4.0)
    return table.assign(**changed)


def zoo(trajectory: pd.DataFrame | None) -> Zoo:
    return Zoo.from_table("kept", "", CONFIGURATIONS, MOVES, PROVENANCE, checkpoints=CHECKPOINTS, trajectory=trajectory)


def test_it_comes_back_as_it_was_saved(tmp_path):
    made = zoo(steps())
    made.save(tmp_path / "kept")
    back = load_zoo(tmp_path / "kept").trajectory
    assert back is not None
    assert list(back) == ["checkpoint", "step", "layer", "bulk_edge", "alpha", "mp_spikes"]
    assert back[["checkpoint", "step", "layer"]].equals(steps()[["checkpoint", "step", "layer"]])
    np.testing.assert_allclose(back["alpha"], steps()["alpha"], rtol=1e-7)
    assert pq.read_schema(tmp_path / "kept" / TRAJECTORY).field("alpha").type == "float"
    assert load_zoo(tmp_path / "kept", layers=False).trajectory is None
    assert load_zoo(tmp_path / "kept", layers=False).digest == made.digest == zoo(None).digest
    assert TRAJECTORY in table_digests(tmp_path / "kept")
    rows = read_tables(tmp_path / "kept")[TRAJECTORY].index
    assert rows[0] == f"{NAMES[0]}: 100: fc2"
    assert rows.is_unique


def test_a_zoo_without_one_has_the_files_that_it_always_had(tmp_path):
    write_tables(zoo(steps()), tmp_path)
    assert "trajectory_sha256" in json.loads((tmp_path / MANIFEST).read_text())
    write_tables(zoo(None), tmp_path)
    assert not (tmp_path / TRAJECTORY).exists()
    assert "trajectory_sha256" not in json.loads((tmp_path / MANIFEST).read_text())
    assert load_zoo(tmp_path).trajectory is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (steps(step=-1), "trajectory: column 'step' must be whole numbers from 0 up"),
        (steps(step=0.5), "trajectory: column 'step' must be whole numbers from 0 up"),
        (steps(step=7), f"trajectory: layer 'fc2' of '{NAMES[0]}' at step 7 stands there twice"),
        (steps(checkpoint="nobody"), "trajectory: 'nobody' is a network that the zoo does not have"),
        (steps().drop(columns="step"), "trajectory: column 'step' is missing"),
        (steps(alpha="steep"), "trajectory: column 'alpha' is not numeric"),
        (steps(mood=1.0), "trajectory: column 'mood' is not one of"),
        (steps().iloc[:0], "trajectory: the table has no rows"),
    ],
)
def test_a_trajectory_that_does_not_fit_is_refused(table, message):
    with pytest.raises(MdbenchError, match=message):
        zoo(table)


def test_a_damaged_one_is_refused(tmp_path):
    zoo(steps()).save(tmp_path / "kept")
    (tmp_path / "kept" / TRAJECTORY).write_bytes(b"something else")
    with pytest.raises(MdbenchError, match=r"trajectory.parquet is not the file that zoo.json describes"):
        load_zoo(tmp_path / "kept")


def test_a_dataset_has_the_table_where_a_zoo_has_it():
    def tables(*trajectories):
        sources = [SimpleNamespace(zoo=replace(zoo(one), name=f"z-{at}")) for at, one in enumerate(trajectories)]
        return {config.name: config.parts for config in _configs(sources, [])}

    assert tables(None, steps())["trajectory"] == {"z_1": "data/z-1/trajectory.parquet"}
    assert list(tables(None, None)) == ["configurations", "checkpoints"]


def test_what_generates_and_what_ensembles_do_has_columns():
    completion, secrets = (Need.TOKENS,), (Need.TOKENS, Need.SECRETS)
    for name, unit, family, needs in (
        ("exact_completion", "%", Family.LANDSCAPE, completion),
        ("token_completion", "%", Family.LANDSCAPE, completion),
        ("secret_exposure", "bits", Family.ID, secrets),
        ("secret_extraction", "%", Family.ID, secrets),
        ("pairwise_kl", "nats", Family.VALIDATION, (Need.CLASSES, Need.TEST, Need.SEEDS)),
        ("shifted_error", "%", Family.VALIDATION, (Need.CLASSES, Need.TEST, Need.SEEDS)),
    ):
        column = COLUMNS[name]
        assert (column.unit, column.family, column.needs) == (unit, family, needs)
        assert column.source
        # What says how wrong predictions on test data are gives labels away, what is of training data does not.
        assert column.reveals_label == (family is Family.VALIDATION)
    assert {"exact_completion_std", "secret_exposure_std"} <= set(COLUMNS)
