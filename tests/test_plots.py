"""Figures: what is drawn is what the tables say."""

import numpy as np
import pandas as pd
import pytest
import toy
from matplotlib.colors import to_rgba

import mdbench
from mdbench.errors import MdbenchError
from mdbench.scoring.student import Difference, Interval
from mdbench.showing.plots import (
    SEEN_COLOURS,
    VERDICT_COLOURS,
    accuracy_against_budget,
    levels_at,
    phase,
    phases,
    save,
    scores_by_panel,
)

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


def noisy():
    """The toy zoo, twice: clean, and with wrong labels, where errors are larger by one point; at one depth."""
    from mdbench.tables.zoo import Zoo

    parts = [toy.table().assign(label_noise=noise, depth=3) for noise in (0, 10)]
    for noise, part in zip((0, 1), parts, strict=True):
        part["train_loss"] = part["train_loss"] + noise
    return Zoo.from_table("noisy", "Noisy", pd.concat(parts, ignore_index=True), ZOO.moves, ZOO.provenance)


def test_one_more_knob_has_a_row_of_panels_and_the_title_says_the_rest():
    zoo = noisy()
    figure = phase(zoo, "train_loss")
    panels = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left")]
    assert [panel.get_title(loc="left") for panel in panels[2:4]] == [
        "100 % of the data\nlabel noise 0 %",
        "10 % of the data\nlabel noise 10 %",
    ]
    np.testing.assert_allclose(panels[3].images[0].get_array() - panels[0].images[0].get_array(), 1)
    shown = 6 * len(toy.WIDTHS) * len(toy.BATCHES)
    assert (
        figure.get_suptitle() == f"train_loss · Noisy\ndepth 3, {shown:,} of {len(zoo.configurations):,} configurations"
    )

    at = levels_at(zoo, ["label_noise=10"])
    alone = phase(zoo, "train_loss", at)
    (first, *_), said = (axes for axes in alone.axes if axes.images), alone.get_suptitle()
    np.testing.assert_allclose(first.images[0].get_array(), panels[3].images[0].get_array())
    assert said.endswith(f"label noise 10 %, depth 3, {shown // 2:,} of {len(zoo.configurations):,} configurations")
    with pytest.raises(MdbenchError, match="has no label_noise=5; it has 0, 10"):
        levels_at(zoo, ["label_noise=5"])
    with pytest.raises(MdbenchError, match="'width=2' is no knob=value of zoo noisy; its knobs are"):
        levels_at(zoo, ["width=2"])


@pytest.mark.parametrize("said", ["label_noise=10.0", " label_noise = 1e1", "label_noise=010"])
def test_a_level_is_a_number_however_it_is_written(said):
    assert levels_at(mdbench.load_zoo("mnist1d-cnn"), [said, "label_noise=10"]) == {"label_noise": 10}


def test_a_knob_is_at_one_level():
    with pytest.raises(MdbenchError, match="label_noise is at one level at a time, not at 10 and 0"):
        levels_at(mdbench.load_zoo("mnist1d-cnn"), ["label_noise=10", "label_noise=0"])


def test_the_baseline_that_draws_stands_among_those_that_see_nothing():
    one = Difference(50.0, Interval(40.0, 60.0), 1.0)
    sees = {"random": ("landscape", "validation"), "majority": (), "validation_tree": ("landscape", "validation")}
    figure = scores_by_panel({("s", "t"): dict.fromkeys(sees, one)}, sees)
    colours = {
        label.get_text(): line.get_color()
        for label, line in zip(figure.axes[0].get_yticklabels(), figure.axes[0].lines[1::2], strict=True)
    }
    assert colours == {
        "validation_tree": SEEN_COLOURS["validation"],
        "majority": SEEN_COLOURS["nothing"],
        "random": SEEN_COLOURS["nothing"],
    }


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
    assert first.get_title(loc="left") == "cifar10\noptimizer\nwidth-limited"
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
