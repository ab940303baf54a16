"""One-step change, against the definition spelled out row by row."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import toy

from mdbench.cases.cases import load_cases
from mdbench.cases.own import own_cases
from mdbench.cases.splits import split
from mdbench.errors import MdbenchError
from mdbench.scoring.prescription import prescribe, step_gains
from mdbench.tables.labels import Move
from mdbench.tables.loading import load_zoo
from mdbench.tables.manifest import Provenance
from mdbench.tables.zoo import Zoo

CLEAN, NOISY = toy.both()
MOVES = {
    "temperature_up": ("batch_size", -1),
    "temperature_down": ("batch_size", 1),
    "width": ("width", 1),
    "data": ("data_fraction", 1),
}
KNOBS = ["width", "batch_size", "data_fraction"]


def by_definition(table, row, move) -> tuple[float, float, float]:
    knob, sign = MOVES[move]
    same = np.all([table[k] == row[k] for k in KNOBS if k != knob], axis=0)
    ahead = table[same & (sign * (table[knob] - row[knob]) > 0)].sort_values(knob, ascending=sign > 0)
    gains = np.maximum(row["test_error"] - ahead["test_error"].to_numpy(), 0)
    return (gains[0], gains.mean(), gains.max()) if len(gains) else (0.0, 0.0, 0.0)


@pytest.mark.parametrize("move", MOVES)
def test_gains_are_those_of_the_definition(move):
    table = NOISY.configurations
    found = step_gains(NOISY, move)
    for place in np.random.default_rng(0).choice(len(table), 60, replace=False):
        np.testing.assert_allclose(found[:, place], by_definition(table, table.iloc[place], move), atol=1e-12)


@pytest.mark.parametrize("move", MOVES)
def test_the_optimal_step_gains_the_rfi(move):
    np.testing.assert_allclose(step_gains(NOISY, move)[2], NOISY.configurations[f"rfi_{move}"], atol=1e-12)


@pytest.mark.usefixtures("toy_home")
def test_an_optimizer_verdict_is_resolved_by_the_optimizer_task():
    class Oracle:
        """Knows the toy: its answers can be followed by hand."""

        name = "constant"
        zero_shot = True
        columns = {"width_vs_optimizer": ["train_error"], "optimizer": ["train_loss"]}

        def predict(self, models):
            if "train_error" in models:
                return np.where(models["train_error"] > 10, "width", "optimizer")
            return ["temperature_too_low"] * len(models)

    case = load_cases("cifar10/width_vs_optimizer/few-shot/1")[0]
    prescribed = prescribe([Oracle], case.name)
    (found,) = prescribed.cases
    assert not prescribed.failures
    both = case.model_copy(update={"also": ("optimizer",)})
    table = split(both, CLEAN, NOISY).test.table
    assert found.test_rows == len(table) < len(split(case, CLEAN, NOISY).test.table)
    moves = ["width" if error > 10 else "temperature_up" for error in table["train_error"]]
    expected = np.mean(
        [by_definition(NOISY.configurations, row, m) for (_, row), m in zip(table.iterrows(), moves, strict=True)],
        axis=0,
    )
    gains = {gain.rule: gain.mean for gain in found.gains if gain.diagnosis == "constant"}
    np.testing.assert_allclose(list(gains.values()), expected)


@pytest.mark.usefixtures("toy_home")
def test_no_diagnosis_gains_more_than_the_true_one_and_chance_lies_between():
    cases = load_cases("paper-moves")
    prescribed = prescribe(["md_tree", "majority"], "paper-moves")
    assert not prescribed.failures
    assert [one.case.name for one in prescribed.cases] == [case.name for case in cases]
    for one in prescribed.cases:
        best = {gain.rule: gain.mean for gain in one.gains if gain.diagnosis == "best possible"}
        for gain in one.gains:
            assert gain.mean >= 0
            assert gain.interval.low <= gain.mean <= gain.interval.high
            if gain.rule == "optimal":  # only there is the label's own criterion the gain
                assert gain.mean <= best["optimal"] + 1e-12
        by_rule = {gain.rule: gain.mean for gain in one.gains if gain.diagnosis == "md_tree"}
        assert by_rule["random"] <= by_rule["optimal"]
        assert by_rule["one"] <= by_rule["optimal"]


@pytest.mark.usefixtures("toy_home")
def test_a_random_diagnosis_gains_the_mean_over_verdicts():
    case = load_cases("cifar10/optimizer/few-shot/8")[0]
    (found,) = prescribe(["majority"], case.name).cases
    table = split(case, CLEAN, NOISY).test.table
    expected = (table["rfi_temperature_up"].mean() + table["rfi_temperature_down"].mean()) / 2
    gain = next(g for g in found.gains if (g.diagnosis, g.rule) == ("random", "optimal"))
    assert gain.mean == pytest.approx(expected)


def test_unclipped_gains_count_losses():
    table = NOISY.configurations
    found = step_gains(NOISY, "temperature_down", clipped=False)
    for place in np.random.default_rng(1).choice(len(table), 60, replace=False):
        row = table.iloc[place]
        same = (table["width"] == row["width"]) & (table["data_fraction"] == row["data_fraction"])
        ahead = (
            table[same & (table["batch_size"] > row["batch_size"])].sort_values("batch_size")["test_error"].to_numpy()
        )
        gains = row["test_error"] - ahead
        expected = (gains[0], gains.mean(), gains.max()) if len(gains) else (0, 0, 0)
        np.testing.assert_allclose(found[:, place], expected, atol=1e-12)
    assert found.min() < 0


@pytest.mark.usefixtures("toy_home")
def test_nothing_beats_the_best_possible():
    prescribed = prescribe(["validation_tree", "majority", "random"], "cifar10/width_vs_optimizer/few-shot/1")
    for one in prescribed.cases:
        best = {gain.rule: gain for gain in one.gains if gain.diagnosis == "best possible"}
        for gain in one.gains:
            assert gain.mean <= best[gain.rule].mean + 1e-12
            assert gain.unclipped <= best[gain.rule].unclipped + 1e-12
            assert gain.unclipped <= gain.mean + 1e-12


def two_knobs():
    """A zoo whose temperature two knobs turn; a smaller batch helps less than a larger learning rate does."""
    levels = {"batch_size": (8, 16, 32, 64), "learning_rate": (0.1, 0.2, 0.4), "width": (2, 4, 6, 8, 10, 12)}
    grid = pd.DataFrame(product(*levels.values()), columns=[*levels]).astype(float)
    heat = 0.5 * np.log2(64 / grid["batch_size"]) + 2 * np.log2(grid["learning_rate"] / 0.1)
    table = grid.assign(test_error=40 - grid["width"] + 0.7 * (heat - 2.2) ** 2, train_error=heat)
    moves = [
        Move("temperature_up", "batch_size", "down"),
        Move("temperature_down", "batch_size", "up"),
        Move("temperature_up", "learning_rate", "up"),
        Move("temperature_down", "learning_rate", "down"),
    ]
    return Zoo.from_table("two", "Two knobs", table, moves, Provenance(source="made up", license="", made_by="a test"))


class Warmer:
    """Always says the same, so that what is turned can be followed by hand."""

    name = "warmer"
    zero_shot = True
    columns = ["train_error"]

    def predict(self, models):
        return ["temperature_too_low"] * len(models)


@pytest.mark.parametrize(
    ("knob", "others", "way", "ends"),
    [
        (None, ["learning_rate", "width"], -1, ("batch_size", "learning_rate")),
        ("batch_size", ["learning_rate", "width"], -1, ("batch_size", "learning_rate")),
        ("learning_rate", ["batch_size", "width"], 1, ("learning_rate", "batch_size")),
    ],
)
def test_of_two_knobs_the_one_that_is_said_is_turned(tmp_path, knob, others, way, ends):
    two_knobs().save(tmp_path / "two")
    prescribed = prescribe(Warmer, "two/optimizer/held-out/*", zoo=tmp_path / "two", knob=knob)
    assert not prescribed.failures
    for one in prescribed.cases:
        turned, instead = ends
        assert set(one.knobs.values()) == {turned}
        assert one.instead == (instead,)
        zoo = load_zoo(tmp_path / "two")
        table = zoo.configurations
        (case,) = [case for case in own_cases(zoo) if case.name == one.case.name]
        gained = []
        for _, row in split(case, zoo, zoo).test.table.iterrows():
            line = table[(table[others] == row[others]).all(axis=1) & (way * (table[turned] - row[turned]) > 0)]
            line = line.sort_values(turned, ascending=way > 0)["test_error"]
            gained.append(row["test_error"] - line.iloc[0] if len(line) else 0.0)
        gain = next(gain for gain in one.gains if (gain.diagnosis, gain.rule) == ("warmer", "one"))
        assert gain.unclipped == pytest.approx(np.mean(gained))
        assert gain.mean == pytest.approx(np.maximum(gained, 0).mean())
        best = next(gain for gain in one.gains if (gain.diagnosis, gain.rule) == ("best possible", "one"))
        assert best.mean >= gain.mean
    assert prescribed.cases


def test_the_best_possible_is_of_both_knobs_and_a_knob_that_turns_nothing_is_refused(tmp_path):
    two_knobs().save(tmp_path / "two")
    said = [prescribe(Warmer, zoo=tmp_path / "two", knob=knob) for knob in ("batch_size", "learning_rate")]
    best = [[gain for one in some.cases for gain in one.gains if gain.diagnosis == "best possible"] for some in said]
    assert best[0] == best[1]
    with pytest.raises(MdbenchError, match=r"no move .* turns 'widht'; they turn batch_size, learning_rate"):
        prescribe(Warmer, zoo=tmp_path / "two", knob="widht")


def test_nobody_who_knows_when_to_stay_gains_more_than_what_is_called_the_best():
    """One who knows the grid, and abstains where both neighbours are worse, gains the best possible, losses counted too."""
    table = load_zoo("mnist1d-cnn").configurations
    line = table.sort_values("batch_size").groupby(["width", "data_fraction", "label_noise"])["test_error"]
    error = table["test_error"]
    down, up = (
        (error - line.shift(way).reindex(table.index)).fillna(0) for way in (1, -1)
    )  # a smaller batch, a larger one
    says = np.where(down >= up, "temperature_too_low", "temperature_too_high").astype(object)
    says[(np.maximum(down, up) < 0).to_numpy()] = None
    by_loss = dict(zip(table["train_loss"], says, strict=True))
    assert len(by_loss) == len(table)

    class Knows:
        name = "knows"
        zero_shot = True
        columns = ["train_loss"]

        def predict(self, models):
            return [by_loss[loss] for loss in models["train_loss"]]

    case = load_cases("mnist1d-cnn/optimizer/cross-noise/20")[0]
    (found,) = prescribe(Knows, case.name).cases
    asked = table[(table["label_noise"] > 0) & (table["optimizer"] != "none")].index
    assert (np.maximum(down, up)[asked] < 0).any()  # there is somebody who had better stay
    expected = np.maximum(np.maximum(down, up)[asked], 0).mean()
    for diagnosis in ("knows", "best possible"):
        gain = next(gain for gain in found.gains if (gain.diagnosis, gain.rule) == (diagnosis, "one"))
        assert gain.unclipped == pytest.approx(expected)
        assert gain.mean == pytest.approx(expected)


@pytest.mark.usefixtures("toy_home")
def test_it_is_a_line_in_a_terminal_and_a_table_in_a_notebook():
    prescribed = prescribe("majority", "cifar10/optimizer/few-shot/8")
    assert repr(prescribed) == "<Prescriptions: 3 diagnoses, 1 cases>"
    frame = prescribed.to_frame()
    assert len(frame) == 9
    shown = prescribed._repr_html_()
    assert all(f"<td>{gain:.2f}</td>" in shown for gain in frame["gain"])
