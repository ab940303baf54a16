"""A zoo one of whose axes is text, through everything that asks about axes: the optimizer, by name."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import toy

import mdbench
from leaderboard.site.zoo_card import zoo_card
from mdbench.cases.own import own_cases
from mdbench.cases.splits import split
from mdbench.errors import MdbenchError
from mdbench.showing.plots import phase
from mdbench.tables.labels import Move
from mdbench.tables.loading import load_zoo
from mdbench.tables.schema import knob_column
from mdbench.tables.tasks import NONE
from mdbench.tables.zoo import Zoo, write_tables
from zoo_builder.building.tables import assemble
from zoo_builder.reporting import datareport, summary
from zoo_builder.specification.axes import configuration_name
from zoo_builder.specification.spec import parse_spec

MOVES = (
    Move("temperature_up", "batch_size", "down"),
    Move("temperature_down", "batch_size", "up"),
    Move("width", "width", "up"),
    Move("longer", "steps", "up"),
)
NAMES = ("sgd", "adam", "adamw")


def table() -> pd.DataFrame:
    """Optimizers × steps × widths × batch sizes, the optimizers apart by far more than anything else."""
    points = pd.DataFrame(
        product(NAMES, [100, 200], toy.WIDTHS[:4], toy.BATCHES[::3]),
        columns=["optimizer_name", "steps", "width", "batch_size"],
    )
    plain = toy.table(noise=0).query("data_fraction == 10")[["width", "batch_size", "test_error"]]
    merged = points.merge(plain, on=["width", "batch_size"])
    worse = merged["optimizer_name"].map({"sgd": 30, "adam": 0, "adamw": 20})
    error = merged["test_error"] + worse - 0.02 * merged["steps"] * (merged["width"] > 2)
    return merged.assign(
        test_error=error, train_error=error / 2, train_loss=error / 30, test_loss=error / 30, log_hessian_trace=-error
    )


def zoo(**changed) -> Zoo:
    return Zoo.from_table("mixed", "mixed", table().assign(**changed), MOVES, toy.zoo().provenance)


ZOO = zoo()


def test_labels_compare_within_a_name_and_never_across():
    for name in NAMES:
        own = table().query("optimizer_name == @name").drop(columns="optimizer_name")
        alone = Zoo.from_table("alone", "", own, MOVES, ZOO.provenance).configurations
        there = ZOO.configurations[ZOO.configurations["optimizer_name"] == name]
        for column in ("rfi_longer", "rfi_width", "failure_source_wide_margin"):
            np.testing.assert_allclose(there[column], alone[column], atol=1e-12)
        for task in ("optimizer", "length_vs_optimizer", "failure_source_wide"):
            assert there[task].tolist() == alone[task].tolist()
    assert set(ZOO.configurations["optimizer"]) <= {"temperature_too_low", "temperature_too_high", NONE}


def test_its_points_are_named_and_its_levels_sorted():
    assert ZOO.configurations.index[0] == "optimizer_name=sgd/steps=100/width=2/batch_size=16"
    assert ZOO.levels("optimizer_name") == sorted(NAMES)
    assert ZOO.levels("steps") == [100, 200]
    assert ZOO.cell_knobs == ["steps", "width", "optimizer_name"]
    assert ZOO.cells.nunique() == 2 * 4 * 3


def test_it_comes_back_as_it_was_saved(tmp_path):
    ZOO.save(tmp_path / "mixed")
    back = load_zoo(tmp_path / "mixed")
    assert back.digest == ZOO.digest
    assert list(back.tasks) == list(ZOO.tasks)
    assert back.configurations["optimizer_name"].tolist() == ZOO.configurations["optimizer_name"].tolist()
    assert zoo(steps=table()["steps"].astype(float)).digest == ZOO.digest


def test_its_own_cases_are_asked_and_answered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cases = own_cases(ZOO)
    assert {case.task for case in cases} == set(ZOO.tasks)
    assert all("optimizer_name" in case.knobs for case in cases)
    ZOO.save(tmp_path / "mixed")
    found = mdbench.evaluate("random", zoo=tmp_path / "mixed", workers=1, progress=None)
    assert not found.failures
    assert {score.case for score in found.scores} == {case.name for case in cases}


def test_ranges_of_names_are_refused_in_a_sentence():
    case = own_cases(ZOO)[0].model_copy(update={"held_out": False})
    limit = case.model_copy(update={"sample": "limit", "knobs": ("optimizer_name",), "budget": 1.0})
    keep = type(case).model_validate({**case.model_dump(), "keep": {"optimizer_name": {"min": 0}}})
    for refused in (limit, keep):
        with pytest.raises(MdbenchError, match="the values of 'optimizer_name' are names without an order"):
            split(refused, ZOO, ZOO)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer_name": 1.0}, "column 'optimizer_name' is not text"),
        ({"optimizer_name": None}, "column 'optimizer_name' is not text"),
        ({"optimizer_name": ""}, "column 'optimizer_name' is not text"),
        ({"steps": "many"}, "column 'steps' is not numeric"),
        ({"steps": 0.5}, "knob 'steps' has values that are not whole"),
        ({"steps": np.nan}, "row 1: knob 'steps' has no finite value"),
        ({"optimizer_name": "sgd"}, "optimizer_name sgd, .* stands there 3 times"),
    ],
)
def test_what_is_no_axis_says_why(changed, message):
    with pytest.raises(MdbenchError, match=message):
        zoo(**changed)


SPEC = """
name = "named"
seeds = [0, 1]
dataset = {name = "mnist1d"}
architecture = {name = "mlp", width = 4}
axes = [
    {knob = "optimizer", values = ["sgd", "adam"]},
    {knob = "steps", values = [10, 20]},
    {knob = "batch_size", values = [16, 32]},
]
"""


def test_a_built_zoo_has_it_under_its_columns_name(tmp_path):
    spec = parse_spec(SPEC, "here")
    networks = [
        {
            "checkpoint": f"{configuration_name(point)}/seed={seed}",
            "configuration": configuration_name(point),
            **{knob_column(knob): value for knob, value in point.items()},
            "steps": int(point["steps"]),
            "seed": seed,
            "data_amount": 4000.0,
            "parameter_count": 100.0,
            "train_error": 1.0,
            "train_loss": 1.0,
            "test_error": 50.0 + seed - point["steps"] + point["batch_size"] / 4,
            "test_loss": 1.0,
            "generalization_gap": 1.0,
            "diverged": False,
            "diverged_at": None,
            "sha256": "0",
            "seconds": 1.0,
        }
        for point in spec.points()
        for seed in spec.seeds
    ]
    made = assemble(spec, pd.DataFrame(networks).astype({"diverged_at": "Int64"}), "0", "the tests")
    assert made.configurations.index[0] == "optimizer=sgd/steps=10/batch_size=16"
    assert made.knobs == ["steps", "batch_size", "optimizer_name"]
    assert list(made.tasks) == ["optimizer", "length_vs_optimizer", "failure_source_wide"]
    # Ten steps more make up for ten points, half a batch for four.
    assert made.configurations["failure_source_wide"].tolist()[:4] == [
        "training_too_short",
        "training_too_short",
        NONE,
        "temperature_too_low",
    ]
    assert made.configurations["rfi_longer"].tolist()[:4] == [10, 10, 0, 0]
    assert made.configurations["rfi_longer_se"].eq(0).all()
    write_tables(made, tmp_path)
    back = load_zoo(tmp_path)
    assert back.digest == made.digest
    assert back.checkpoints is not None
    assert back.checkpoints["steps"].tolist() == made.checkpoints["steps"].tolist()


def test_no_move_turns_it():
    with pytest.raises(MdbenchError, match="turns 'optimizer_name', whose values are names without an order"):
        Zoo.from_table("z", "", table(), (*MOVES, Move("longer", "optimizer_name", "up")), ZOO.provenance)


def test_its_report_counts_within_its_names(tmp_path):
    text = datareport.compose(ZOO, tmp_path)
    assert "| optimizer name |  | 3 | adam, adamw, sgd |" in text
    assert "| steps |  | 2 | 100, 200 |" in text
    assert ", optimizer name adam" in text
    correlations = summary.correlations(ZOO)
    assert "optimizer_name" not in correlations.index
    # Within each optimizer the test error is the trace's negative: across them too, but no level mixes them.
    assert "optimizer_name" in summary.held(ZOO)["data"]
    assert correlations.loc["log_hessian_trace", "data_levels"] == 2 * 3
    assert correlations.loc["log_hessian_trace", "data_mean"] == pytest.approx(-1)


def test_a_report_says_less_where_less_is_what_a_move_does(tmp_path):
    moves = (Move("regularization_up", "dropout", "up"), Move("regularization_down", "dropout", "down"))
    grid = pd.DataFrame({"dropout": [0.0, 0.1, 0.2, 0.5], "test_error": [30.0, 20, 25, 40]})
    made = Zoo.from_table("dropped", "", grid, moves, ZOO.provenance)
    weak, strong = "regularization_too_weak", "regularization_too_strong"
    assert made.configurations["regularization"].tolist() == [weak, NONE, strong, strong]
    text = datareport.compose(made, tmp_path)
    assert "**Regularization up.** Where the grid has more of it, more of it helps in 1 (33.3 %) of 3 rows" in text
    assert "**Regularization down.** Where the grid has less of it, less of it helps in 2 (66.7 %) of 3 rows" in text


def test_it_is_drawn_at_its_first_name_and_not_itself():
    phase(ZOO, "failure_source_wide")
    with pytest.raises(MdbenchError, match="column 'optimizer_name' holds texts"):
        phase(ZOO, "optimizer_name")


def test_its_card_has_its_names():
    card = zoo_card(ZOO, [])
    assert card["levels"]["optimizer_name"] == sorted(NAMES)
    assert card["figure"]["points"][0] == [100, 2.0, 16.0, "sgd"]
