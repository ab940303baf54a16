"""Coordinates against closed forms, and what must not change them: the loss's unit, the size of weights, other rows."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mdbench.errors import MdbenchError
from mdbench.tables import COLUMNS, VISIBLE_FAMILIES, load_zoo
from mdbench.tables.coordinates import COORDINATES, columns_for, coordinates_of

DOCS = Path(__file__).parents[1] / "docs" / "methods.md"
ONE = {
    "train_loss": np.exp(-2.0),
    "test_loss": np.exp(1.0),
    "train_error": 0.9,
    "test_error": 9.9,
    "mode_connectivity_peak": -7.9,
    "mode_connectivity_peak_loss": -np.exp(0.5),
    "log_hessian_trace": np.log(60.0),
    "hessian_trace": 60.0,
    "hessian_top_eigenvalue": 40.0,
    "train_disagreement": 1.9,
    "test_disagreement": 7.9,
    "train_margin": -4.0,
    "train_margin_p10": -1.0,
    "linear_barrier": 4.0,
    "linear_barrier_log_loss": -0.3,
    "mp_spikes_mean": 0.0,
    "parameter_count": 2000.0,
    "data_amount": 500.0,
    "recipe_epochs": 10.0,
    "recipe_steps_per_epoch": 4.0,
    "recipe_learning_rate": 0.5,
    "recipe_momentum": 0.75,
}
EXPECTED = {
    "log_loss": -2,
    "loss_gap": 3,
    "log_error": 0,
    "error_gap": np.log(10),
    "relative_peak": np.log(8),
    "barrier": np.tanh(14.6),
    "relative_peak_loss": 2.5,
    "scaled_trace": np.log(60) + 1,
    "relative_trace": np.log(60) + 2,
    "log_rest": np.log(20),
    "disagreement": np.log(4),
    "train_disagreement_share": np.log(2),
    "margin": -0.25,
    "line_error": np.log(5),
    "line_log_loss": np.log(0.05),
    "log_spikes": 0,
    "parameters_per_example": np.log(4),
    "log_steps": np.log(40),
    "noise_scale": np.log(8),
}
#: Unchanged where the loss is taken in another unit; the others are no functions of the loss, or follow it on purpose.
WITHOUT_UNIT = (
    "relative_trace",
    "relative_peak_loss",
    "loss_gap",
    "loss_tail",
    "relative_sharpness",
    "relative_depth",
    "top_share",
)
LOSSES = ("train_loss", "test_loss", "mode_connectivity_peak_loss", "train_loss_p99", "sharpness_average")
CURVATURES = ("hessian_trace", "hessian_top_eigenvalue")
LOGARITHMS = ("log_hessian_trace", "log_hessian_top_eigenvalue")
DEPTHS = ("topology_random_2d_depth",)


@pytest.fixture(scope="module")
def table():
    return load_zoo("fashion-cnn", layers=False).configurations


@pytest.mark.parametrize("name", EXPECTED)
def test_closed_forms(name):
    found = coordinates_of(pd.DataFrame([ONE]), [name])
    assert found[name].tolist() == pytest.approx([EXPECTED[name]], rel=1e-12, abs=1e-12)


def test_another_unit_of_the_loss_changes_none_without_a_unit(table):
    scaled = table.copy()
    for column in (*LOSSES, *CURVATURES, *DEPTHS):
        scaled[column] = 7 * table[column]
    for column in LOGARITHMS:
        scaled[column] = table[column] + np.log(7)
    before, after = (coordinates_of(some, WITHOUT_UNIT) for some in (table, scaled))
    pd.testing.assert_frame_equal(before, after, rtol=1e-9, atol=1e-9)
    moved = coordinates_of(scaled, ["log_loss", "scaled_trace"]) - coordinates_of(table, ["log_loss", "scaled_trace"])
    np.testing.assert_allclose(moved, np.log(7) * np.array([[1, 0.5]] * len(table)), rtol=1e-9)


def test_larger_logits_change_no_margin(table):
    scaled = table.assign(train_margin=3 * table["train_margin"], train_margin_p10=3 * table["train_margin_p10"])
    pd.testing.assert_frame_equal(coordinates_of(table, ["margin"]), coordinates_of(scaled, ["margin"]))


def test_a_barrier_changes_its_sign_a_third_of_a_point_below_the_ends():
    peaks = pd.DataFrame({"mode_connectivity_peak": [-9.0, -9.6, -9.8, -20.0], "train_error": 10.0})
    found = coordinates_of(peaks, ["barrier"])["barrier"]
    assert (found > 0).tolist() == [False, False, True, True]
    assert found.between(-1, 1).all()


def test_each_row_is_by_itself(table):
    whole = coordinates_of(table, list(COORDINATES))
    some = table.sample(frac=0.3, random_state=1)
    pd.testing.assert_frame_equal(coordinates_of(some, list(COORDINATES)), whole.loc[some.index])


def test_what_cannot_be_computed_is_missing_and_nothing_else():
    there = pd.DataFrame({"train_loss": [0.0, np.nan, 1.0], "train_error": 5.0}, index=["a", "b", "c"])
    found = coordinates_of(there, ["log_loss", "log_error", "similarity"])
    assert found["log_loss"].isna().tolist() == [True, True, False]
    assert found["log_error"].notna().all()
    assert found["similarity"].isna().all()
    either = coordinates_of(there.assign(output_cka=0.5), ["similarity"])
    assert (either["similarity"] == 0.5).all()
    assert (coordinates_of(there.assign(output_cka=0.5, mixup_cka=0.25), ["similarity"])["similarity"] == 0.25).all()


def test_the_zoos_of_the_package_have_them(table):
    recipe = {name for name, one in COORDINATES.items() if any(column.startswith("recipe_") for column in one.columns)}
    found = coordinates_of(table, [name for name in COORDINATES if name not in recipe])
    assert found.notna().mean().min() > 0.95


def test_methods_may_see_what_they_are_made_of():
    for coordinate in COORDINATES.values():
        for column in (one for text in coordinate.columns for one in text.split("|")):
            assert COLUMNS[column].family in VISIBLE_FAMILIES
            assert not COLUMNS[column].relative
    assert columns_for(["log_loss", "loss_gap", "similarity"]) == ["train_loss|", "test_loss|", "mixup_cka|output_cka|"]
    with pytest.raises(MdbenchError, match="there is no coordinate 'luck'; there are: log_loss, "):
        coordinates_of(pd.DataFrame({"train_loss": [1.0]}), ["luck"])


def test_the_docs_list_them():
    text = DOCS.read_text(encoding="utf-8").split("## Coordinates", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    said = {name: (meaning, tuple(re.findall(r"`([^`]+)`", columns))) for name, meaning, columns in rows}
    expected = {
        one.name: (one.meaning, tuple(column.replace("|", "\\|") for column in one.columns))
        for one in COORDINATES.values()
    }
    assert said == expected
