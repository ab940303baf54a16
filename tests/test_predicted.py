"""What a zoo's error is of: kept with the zoo, said of it, and above 100 % where it is relative."""

import json
from dataclasses import replace

import numpy as np
import pytest
import toy
from typer.testing import CliRunner

import mdbench
from mdbench.cases.own import own_cases
from mdbench.cli import app
from mdbench.errors import MdbenchError
from mdbench.scoring.prescription import step_gains
from mdbench.showing.plots import phase
from mdbench.tables.loading import load_zoo
from mdbench.tables.manifest import MANIFEST
from mdbench.tables.predicted import Predicted
from mdbench.tables.zoo import Zoo
from zoo_builder.building.tables import predicted_of
from zoo_builder.publishing.card import card
from zoo_builder.reporting import datareport
from zoo_builder.specification.datasets.dataset import Dataset

PLAIN = toy.zoo("plain")


def relative(predicted: Predicted = Predicted.VALUES) -> Zoo:
    """The toy zoo with three times its errors, up to 270 %, and all else the same."""
    table = toy.table()
    table = table.assign(test_error=3 * table["test_error"], train_error=3 * table["train_error"])
    return Zoo.from_table("relative", "", table, PLAIN.moves, PLAIN.provenance, predicted=predicted)


@pytest.mark.parametrize("predicted", list(Predicted))
def test_it_is_kept_with_the_zoo(tmp_path, predicted):
    relative(predicted).save(tmp_path / "zoo")
    said = json.loads((tmp_path / "zoo" / MANIFEST).read_text())
    assert ("predicted" in said) == (predicted is not Predicted.CLASSES)
    assert load_zoo(tmp_path / "zoo").predicted is predicted
    assert len({relative(one).digest for one in Predicted}) == len(Predicted)


def test_a_zoo_that_says_something_else_is_refused(tmp_path):
    relative().save(tmp_path / "zoo")
    path = tmp_path / "zoo" / MANIFEST
    path.write_text(path.read_text().replace('"values"', '"dreams"'))
    with pytest.raises(MdbenchError, match=r"zoo.json cannot be read: .*predicted"):
        load_zoo(tmp_path / "zoo")


def test_labels_of_a_relative_error_are_those_of_its_third():
    zoo = relative()
    assert zoo.configurations["test_error"].max() > 100
    for task in toy.TASKS:
        assert zoo.configurations[task].tolist() == PLAIN.configurations[task].tolist()
        found, plain = zoo.configurations[f"{task}_margin"], PLAIN.configurations[f"{task}_margin"]
        np.testing.assert_allclose(found, 3 * plain, atol=1e-9)
    np.testing.assert_allclose(step_gains(zoo, "width"), 3 * step_gains(PLAIN, "width"), atol=1e-9)


def test_a_relative_error_goes_through_cases_and_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    zoo = relative()
    zoo.save(tmp_path / "relative")
    found = mdbench.evaluate("random", zoo=tmp_path / "relative", workers=1, progress=None)
    assert not found.failures
    assert len(found.scores) == len(own_cases(zoo))
    drawn = phase(zoo, "test_error").axes[0].images[0]
    assert drawn.get_clim()[1] > 100


def test_report_and_card_say_what_it_is(tmp_path, monkeypatch):
    for predicted in Predicted:
        if predicted is not Predicted.CLASSES:  # all have the same figures
            monkeypatch.setattr(datareport.plots, "save", lambda figure, path: None)
        (tmp_path / predicted).mkdir()
        text = datareport.compose(relative(predicted), tmp_path / predicted)
        assert f"| what it is | {predicted.error} |" in text
        assert ("mean squared error" in text) == (predicted in (Predicted.VALUES, Predicted.SOLUTION))
    front = "---\n---"
    said = card(front, [relative()], [], "1.0.0", networks=False)
    assert "The test error of `relative`: relative L2 error" in said
    assert "The test error of" not in card(front, [PLAIN], [], "1.0.0", networks=False)


def test_what_networks_of_a_data_set_predict():
    inputs = np.zeros((3, 2), np.float32)
    targets = np.zeros((3, 1), np.float32)
    plain = Dataset("d", inputs, targets, inputs, targets, 1, "values")
    assert predicted_of(plain) is Predicted.VALUES
    assert predicted_of(replace(plain, baseline="zero")) is Predicted.SOLUTION
    assert predicted_of(replace(plain, kind="positions")) is Predicted.POSITIONS
    assert predicted_of(replace(plain, kind="classes")) is Predicted.CLASSES


def test_the_command_that_lists_columns_says_that_a_zoo_says_it():
    said = CliRunner().invoke(app, ["columns"]).output
    lines = [line.strip() for line in said.splitlines()]
    start, end = lines.index("test_error"), lines.index("test_error_std")
    about = " ".join(lines[start:end])
    assert "relative L2 error" in about
    assert "as the zoo says" in about
