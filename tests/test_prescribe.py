"""One-step change, against the definition spelled out row by row."""

import numpy as np
import pytest
import toy

from mdbench.cases.cases import load_cases
from mdbench.cases.splits import split
from mdbench.scoring.prescription import prescribe, step_gains

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
    (found,), failures = prescribe([Oracle], [case])
    assert not failures
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
    prescriptions, failures = prescribe(["md_tree", "majority"], cases)
    assert not failures
    assert [one.case.name for one in prescriptions] == [case.name for case in cases]
    for one in prescriptions:
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
    (found,), _ = prescribe(["majority"], [case])
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
    cases = load_cases("cifar10/width_vs_optimizer/few-shot/1")
    for one in prescribe(["validation_tree", "majority", "random"], cases)[0]:
        best = {gain.rule: gain for gain in one.gains if gain.diagnosis == "best possible"}
        for gain in one.gains:
            assert gain.mean <= best[gain.rule].mean + 1e-12
            assert gain.unclipped <= best[gain.rule].unclipped + 1e-12
            assert gain.unclipped <= gain.mean + 1e-12
