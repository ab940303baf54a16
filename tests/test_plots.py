"""Figures: what is drawn is what the tables say."""

import numpy as np
import pytest
import toy
from matplotlib.colors import to_rgba

import mdbench
from mdbench.errors import MdbenchError
from mdbench.showing.plots import VERDICT_COLOURS, accuracy_against_budget, phase, phases, save

ZOO = toy.zoo()


def test_a_phase_plot_shows_the_values_of_the_grid(tmp_path):
    figure = phase(ZOO, "train_error")
    panels = [axes for axes in figure.axes if axes.images]
    assert [panel.get_title(loc="left") for panel in panels] == [
        "10 % of the data",
        "50 % of the data",
        "100 % of the data",
    ]
    table = ZOO.configurations[ZOO.configurations["data_fraction"] == 50]
    expected = table.pivot_table(index="batch_size", columns="width", values="train_error")
    np.testing.assert_allclose(panels[1].images[0].get_array(), expected)
    save(figure, tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_labels_are_drawn_as_themselves():
    figure = phase(ZOO, "failure_source")
    shown = figure.axes[0].images[0].get_array()
    table = ZOO.configurations[ZOO.configurations["data_fraction"] == 10]
    verdicts = ["temperature_too_low", "temperature_too_high", "width", "data", "none"]
    expected = table.assign(at=table["failure_source"].map(verdicts.index)).pivot_table(
        index="batch_size", columns="width", values="at"
    )
    np.testing.assert_array_equal(shown, expected)
    assert [text.get_text() for text in figure.axes[-1].get_yticklabels()] == verdicts


@pytest.mark.parametrize("column", [c for c in ZOO.configurations if c != "configuration"])
def test_every_column_can_be_drawn(column, tmp_path):
    save(phase(ZOO, column), tmp_path / "a.png")


def test_a_grid_without_the_knobs_says_so():
    from mdbench.tables.labels import Move
    from mdbench.tables.zoo import Zoo

    table = toy.table().query("width == 2 and data_fraction == 10")[["batch_size", "test_error"]]
    narrow = Zoo.from_table("n", "n", table, [Move("temperature_up", "batch_size", "down")], ZOO.provenance)
    with pytest.raises(MdbenchError, match="no knob 'width'"):
        phase(narrow, "test_error")
    with pytest.raises(MdbenchError, match="has no column 'output_cka'"):
        phase(narrow, "output_cka")


def test_a_page_of_phase_plots_shows_each_column_at_its_own_point(tmp_path):
    panels = [
        ("train_error", {"data_fraction": 20}),
        ("optimizer", {"data_fraction": 90}),
        ("output_cka", {"data_fraction": 20}),
    ]
    figure = phases(ZOO, panels, across=2)
    drawn = [axes for axes in figure.axes if axes.images and axes.get_xlim()[1] > 5]
    assert [axes.get_title(loc="left") for axes in drawn] == [
        "train_error, %\ndata fraction 20 %",
        "optimizer\ndata fraction 90 %",
        "output_cka\ndata fraction 20 %",
    ]
    for axes, (column, at) in zip(drawn, panels, strict=True):
        table = ZOO.configurations[ZOO.configurations["data_fraction"] == at["data_fraction"]]
        if column == "optimizer":
            table = table.assign(
                optimizer=table["optimizer"].map(["temperature_too_low", "temperature_too_high", "none"].index)
            )
        np.testing.assert_allclose(
            axes.images[0].get_array(), table.pivot_table(index="batch_size", columns="width", values=column)
        )
    shown = {text.get_text(): patch.get_facecolor() for text, patch in zip(*legend_of(figure), strict=True)}
    assert set(shown) <= {"temperature_too_low", "temperature_too_high", "no verdict"}
    assert shown["temperature_too_low"] == to_rgba(VERDICT_COLOURS["temperature_too_low"])
    save(figure, tmp_path / "a.png")
    with pytest.raises(MdbenchError, match="nothing to draw"):
        phases(ZOO, [])
    with pytest.raises(MdbenchError, match="has no column 'penultimate_cka'"):
        phases(ZOO, [("penultimate_cka", {})])


def legend_of(figure):
    return figure.legends[0].get_texts(), figure.legends[0].get_patches()


def test_a_column_without_numbers_is_drawn_as_such_and_gaps_stay_gaps(tmp_path):
    from mdbench.tables.zoo import Zoo

    table = toy.table().query("data_fraction == 10").assign(output_cka=np.nan)
    table.loc[(table["width"] == 2) & (table["batch_size"] == 16), "train_loss"] = np.nan
    zoo = Zoo.from_table("n", "n", table, ZOO.moves[:2], ZOO.provenance)
    figure = phases(zoo, [("output_cka", {}), ("train_loss", {"data_fraction": 10})])
    empty, gap = (axes for axes in figure.axes if axes.images and axes.get_xlim()[1] > 5)
    assert [text.get_text() for text in empty.texts] == ["no numbers"]
    shown = np.ma.filled(gap.images[0].get_array(), np.nan)
    assert shown.shape == (len(toy.BATCHES), len(toy.WIDTHS))
    assert np.argwhere(np.isnan(shown)).tolist() == [[0, 0]]
    save(figure, tmp_path / "a.png")


@pytest.mark.usefixtures("toy_home")
def test_curves_go_through_the_scores():
    result = mdbench.evaluate(
        ["majority", "barrier_rule"], ["cifar10/optimizer/width-limited", "cifar10/data_vs_optimizer/few-shot"]
    )
    figure = accuracy_against_budget(result)
    first, second = (axes for axes in figure.axes if axes.lines)
    scores = [s for s in result.scores if s.method == "majority" and "width-limited" in s.case]
    x, y = first.lines[0].get_data()
    assert list(x) == list(toy.WIDTHS)
    np.testing.assert_allclose(y, [s.accuracy for s in scores])
    assert len(second.lines) == 1  # barrier_rule does not answer this task
    assert list(second.lines[0].get_xdata()) == [
        np.mean([split.train_rows for split in record.splits])
        for record in result.cases
        if "data_vs" in record.case.name
    ]
