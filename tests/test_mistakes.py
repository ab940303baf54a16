"""What a method confuses, where, and how sure it was; against counts made by hand and by scikit-learn."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix
from typer.testing import CliRunner

import mdbench
from mdbench.cli import app
from mdbench.scoring.mistakes import axes_of, by_axes, by_margin, confusion, mistakes, two_axes

CASE = "mnist1d-cnn/failure_source/cross-noise/20"
PREDICTIONS = pd.DataFrame(
    [
        # seed, row, predicted, true, p_a, p_b
        (1, "width=2/batch_size=8", "b", "a", 0.1, 0.9),
        (2, "width=2/batch_size=8", "a", "a", 0.8, 0.2),
        (1, "width=4/batch_size=8", "b", "b", 0.4, 0.6),
        (2, "width=4/batch_size=8", None, "b", 0.5, 0.5),
        (1, "width=4/batch_size=16", "a", "b", 0.6, 0.4),
        (2, "width=4/batch_size=16", "a", "b", 0.8, 0.2),
    ],
    columns=["seed", "row", "predicted", "true", "p_a", "p_b"],
).assign(method="m", case="c")


def test_confusion_by_hand():
    counts = confusion(PREDICTIONS)
    assert counts.loc[("m", "c", "a")].to_dict() == {"a": 1, "b": 1, "no answer": 0}
    assert counts.loc[("m", "c", "b")].to_dict() == {"a": 2, "b": 1, "no answer": 1}


def test_the_surest_mistakes_come_first():
    found = mistakes(PREDICTIONS)
    rows = found[["row", "true", "said", "wrong", "confidence"]].astype({"said": str, "true": str})
    assert rows.iloc[0].tolist() == ["width=2/batch_size=8", "a", "b", 50, pytest.approx(90)]
    assert rows.iloc[1].tolist() == ["width=4/batch_size=16", "b", "a", 100, pytest.approx(70)]
    assert len(rows) == 2  # of the third network nothing wrong was said: it was right, and abstained
    without = mistakes(PREDICTIONS.drop(columns=["p_a", "p_b"]))
    assert without["row"][0] == "width=4/batch_size=16"  # wrong most often
    assert without["confidence"].isna().all()


def test_confidence_is_that_of_what_is_said_most_often():
    def of_a_network(*answers):
        rows = [(seed, "width=2", said, "a", 1 - sure, sure) for seed, (said, sure) in enumerate(answers)]
        return pd.DataFrame(rows, columns=["seed", "row", "predicted", "true", "p_a", "p_b"]).assign(
            method="m", case="c"
        )

    wrong = mistakes(of_a_network((None, 0.5), ("b", 0.8), ("b", 0.6), ("a", 0.1))).iloc[0]
    assert (wrong["said"], wrong["wrong"], wrong["confidence"]) == ("b", 50, pytest.approx(70))
    assert mistakes(of_a_network(("a", 0.1))).empty


def test_abstentions_do_not_outvote_a_wrong_verdict():
    """Two seeds abstain and one is wrong and sure: the wrong verdict is the mistake. Who only abstains makes none."""
    answers = {"width=2": [(None, 0.5), (None, 0.5), ("b", 0.9)], "width=4": [(None, 0.5)] * 3}
    rows = [(row, said, "a", 1 - p, p) for row, some in answers.items() for said, p in some]
    predictions = pd.DataFrame(rows, columns=["row", "predicted", "true", "p_a", "p_b"]).assign(method="m", case="c")
    found = mistakes(predictions)
    assert found["row"].tolist() == ["width=2"]
    assert (found["said"][0], found["wrong"][0], found["confidence"][0]) == (
        "b",
        pytest.approx(100 / 3),
        pytest.approx(90),
    )


def test_margins_are_those_of_the_zoo_that_was_asked(tmp_path):
    """A zoo in a folder, which no name finds: its margins are shown too."""
    zoo = mdbench.load_zoo("mnist1d-cnn")
    replace(zoo, name="mine").save(tmp_path / "elsewhere")
    arguments = ["--cases", "mine/optimizer/cross-noise/*", "--beside", "", "--mistakes", "--workers", "0"]
    said = CliRunner().invoke(app, ["evaluate", "majority", "--zoo", str(tmp_path / "elsewhere"), *arguments])
    assert said.exit_code == 0, said.output
    table = zoo.configurations[(zoo.configurations["label_noise"] > 0) & (zoo.configurations["optimizer"] != "none")]
    margins = table["optimizer_margin"] / table["optimizer_margin_se"]
    for name, low, high in (("0 to 1", 0, 1), ("1 to 2", 1, 2), ("2 to 4", 2, 4), ("above 4", 4, np.inf)):
        networks = int(((margins > low) & (margins <= high)).sum())
        assert re.search(rf"\n{name} +{networks} ", said.output)


def test_accuracy_over_the_grid_and_over_margins():
    grid = by_axes(PREDICTIONS, "width", "batch_size")
    assert grid.loc[2, 8] == 50
    assert grid.loc[4, 8] == 50
    assert grid.loc[4, 16] == 0
    assert np.isnan(grid.loc[2].get(16, np.nan))
    margins = pd.Series({"width=2/batch_size=8": 0.5, "width=4/batch_size=8": 9.0})
    table = by_margin(PREDICTIONS, margins)
    assert table["accuracy"].to_dict() == {"0 to 1": 50, "above 4": 50, "no standard error": 0}
    assert table["networks"].tolist() == [1, 1, 1]


def test_axes_are_read_from_names_and_chosen():
    points = axes_of(pd.Series(["width=2/batch_size=8/optimizer=adam", "width=4/batch_size=8/optimizer=sgd"]))
    assert points["width"].tolist() == [2, 4]
    assert two_axes(points) == ("width", "optimizer")
    assert two_axes(points.assign(batch_size=[1, 2])) == ("width", "batch_size")
    assert two_axes(points[["batch_size"]]) is None


def test_of_a_real_case_they_are_what_scikit_learn_counts():
    result = mdbench.evaluate("logistic_regression", CASE)
    predictions, verdicts = result.predictions.astype({"true": str, "predicted": str}), result.cases[0].classes
    counts = (
        result.confusion().loc[("logistic_regression", CASE)].reindex(index=verdicts, columns=verdicts, fill_value=0)
    )
    expected = confusion_matrix(predictions["true"], predictions["predicted"], labels=list(verdicts))
    np.testing.assert_array_equal(counts, expected)
    wrong = result.mistakes()
    names = mdbench.load_zoo("mnist1d-cnn").configurations.index
    assert set(wrong["row"]) <= set(names)
    assert wrong["confidence"].is_monotonic_decreasing
    missed = predictions[predictions["true"] != predictions["predicted"]]
    assert set(wrong["row"]) == set(missed["row"].astype(str))


def test_the_command_shows_them():
    said = CliRunner().invoke(
        app, ["evaluate", "logistic_regression", "--cases", CASE, "--beside", "", "--mistakes", "--workers", "0"]
    )
    assert said.exit_code == 0, said.output
    for text in ("what was true", "by width ↓ and batch_size →", "margin over its standard error", "surest mistakes"):
        assert text in said.output
    result = mdbench.evaluate("logistic_regression", CASE)
    assert result.mistakes()["row"][0] in said.output
