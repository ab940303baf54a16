"""RFI and labels against the definition, spelled out point by point."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdbench.tables.labels import Move, derive, label, room_for_improvement
from mdbench.tables.tasks import NONE, TASKS, offered_tasks

KNOBS = ["width", "batch_size", "data_fraction"]
MOVES = [
    Move("temperature_up", "batch_size", "down"),
    Move("temperature_down", "batch_size", "up"),
    Move("width", "width", "up"),
    Move("data", "data_fraction", "up"),
]


@st.composite
def grids(draw):
    """A grid of one to three knobs with any of its points missing, coarse accuracies (for ties), some unknown."""
    knobs = KNOBS[: draw(st.integers(1, 3))]
    points = draw(st.lists(st.tuples(*[st.integers(0, 3)] * len(knobs)), min_size=1, max_size=25, unique=True))
    accuracy = draw(st.lists(st.one_of(st.integers(0, 6), st.just(np.nan)), min_size=len(points), max_size=len(points)))
    index = [f"row {i}" for i in range(len(points))]
    return pd.DataFrame(points, columns=knobs, index=index, dtype=float), pd.Series(accuracy, index=index, dtype=float)


def by_definition(grid: pd.DataFrame, accuracy: pd.Series, knob: str, sign: int) -> list[float]:
    values = []
    for i in grid.index:
        reachable = [
            accuracy[j]
            for j in grid.index
            if all(grid.at[i, k] == grid.at[j, k] for k in grid if k != knob)
            and sign * (grid.at[j, knob] - grid.at[i, knob]) >= 0
            and not np.isnan(accuracy[j])
        ]
        values.append(np.nan if np.isnan(accuracy[i]) else max(reachable) - accuracy[i])
    return values


@given(grids(), st.sampled_from(["up", "down"]), st.data())
def test_rfi_is_the_best_accuracy_on_the_way_minus_ones_own(grid_and_accuracy, step, data):
    grid, accuracy = grid_and_accuracy
    knob = data.draw(st.sampled_from(list(grid.columns)))
    found = room_for_improvement(grid, accuracy, [Move("move", knob, step)])
    np.testing.assert_array_equal(found, by_definition(grid, accuracy, knob, 1 if step == "up" else -1))
    assert list(found.index) == list(grid.index)


@given(grids(), st.randoms())
def test_rfi_belongs_to_the_row_whatever_the_order(grid_and_accuracy, random):
    grid, accuracy = grid_and_accuracy
    order = list(grid.index)
    random.shuffle(order)
    move = [Move("move", "width", "up")]
    found = room_for_improvement(grid, accuracy, move)
    shuffled = room_for_improvement(grid.loc[order], accuracy.loc[order], move)
    pd.testing.assert_series_equal(shuffled.loc[grid.index], found)


def test_knobs_that_do_the_same_count_with_the_better_one():
    grid = pd.DataFrame({"width": [1.0, 2, 1], "batch_size": [1.0, 1, 2]})
    accuracy = pd.Series([50.0, 60, 70])
    moves = [Move("temperature_up", "width", "up"), Move("temperature_up", "batch_size", "up")]
    assert room_for_improvement(grid, accuracy, moves).tolist() == [20, 0, 0]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 7), min_size=1, max_size=30))
def test_a_label_is_the_verdict_that_leads_and_none_where_the_lead_is_shared(rows):
    rfi = pd.DataFrame(rows, columns=list(TASKS["failure_source_wide"].moves), dtype=float)
    for task in TASKS.values():
        labels, margin = label(rfi, task)
        for i, row in rfi.iterrows():
            best = {verdict: max(row[move] for move in moves) for verdict, moves in task.verdicts.items()}
            top = max(best.values())
            leaders = [verdict for verdict, value in best.items() if value == top]
            assert labels[i] == (leaders[0] if len(leaders) == 1 else NONE)
            assert margin[i] == sorted(best.values())[-1] - sorted(best.values())[-2]


def test_an_unknown_accuracy_has_no_label():
    grid = pd.DataFrame({"width": [1.0, 2], "batch_size": [1.0, 1], "data_fraction": [1.0, 1]})
    derived = derive(grid, pd.Series([np.nan, 40.0]), MOVES)
    assert derived["optimizer"].tolist() == [None, NONE]
    assert np.isnan(derived["rfi_width"][0])


def test_a_task_whose_moves_the_grid_does_not_have_gets_no_label():
    derived = derive(pd.DataFrame({"batch_size": [1.0, 2]}), pd.Series([40.0, 30]), MOVES[:2])
    assert derived["optimizer"].tolist() == ["temperature_too_high", NONE]
    assert "width_vs_optimizer" not in derived
    assert "failure_source" not in derived


LENGTH = [
    Move("longer", "epochs", "up"),
    Move("regularization_up", "weight_decay", "up"),
    Move("regularization_down", "weight_decay", "down"),
]


def test_training_longer_and_regularization_on_a_grid_by_hand():
    grid = pd.DataFrame({"epochs": [10.0] * 3 + [20.0] * 3, "weight_decay": [0.0, 1e-4, 1e-3] * 2})
    derived = derive(grid, pd.Series([30.0, 25, 28, 20, 24, 29]), LENGTH)
    assert derived["rfi_longer"].tolist() == [10, 1, 0, 0, 0, 0]
    assert derived["rfi_regularization_up"].tolist() == [5, 0, 0, 0, 0, 0]
    assert derived["rfi_regularization_down"].tolist() == [0, 0, 3, 0, 4, 9]
    weak, strong, short = "regularization_too_weak", "regularization_too_strong", "training_too_short"
    assert derived["regularization"].tolist() == [weak, NONE, strong, NONE, strong, strong]
    assert derived["regularization_margin"].tolist() == [5, 0, 3, 0, 4, 9]
    assert derived["failure_source_wide"].tolist() == [short, short, strong, NONE, strong, strong]
    assert derived["failure_source_wide_margin"].tolist() == [5, 1, 3, 0, 4, 9]
    assert "length_vs_optimizer" not in derived


def test_errors_above_a_hundred_per_cent_are_compared_like_others():
    grid = pd.DataFrame({"batch_size": [1.0, 2, 4], "width": [1.0, 1, 1]})
    derived = derive(grid, pd.Series([250.0, 120, 99]), MOVES[:3])
    assert derived["rfi_temperature_down"].tolist() == [151, 21, 0]
    assert derived["optimizer"].tolist() == ["temperature_too_high", "temperature_too_high", NONE]
    assert derived["optimizer_margin"].tolist() == [151, 21, 0]


def test_longer_or_a_better_temperature_by_hand():
    grid = pd.DataFrame({"steps": [100.0, 100, 200, 200], "batch_size": [16.0, 32, 16, 32]})
    moves = [*MOVES[:2], Move("longer", "steps", "up")]
    derived = derive(grid, pd.Series([40.0, 30, 33, 29]), moves)
    assert derived["length_vs_optimizer"].tolist() == ["optimizer", "training_too_short", "optimizer", NONE]
    assert derived["length_vs_optimizer_margin"].tolist() == [3, 1, 4, 0]


@pytest.mark.parametrize(
    ("moves", "tasks"),
    [
        (MOVES, ["optimizer", "width_vs_optimizer", "data_vs_optimizer", "failure_source"]),
        (MOVES[:2], ["optimizer"]),
        (MOVES[:1], []),
        (MOVES[2:], ["failure_source_wide"]),
        (MOVES[:3], ["optimizer", "width_vs_optimizer", "failure_source_wide"]),
        (LENGTH, ["regularization", "failure_source_wide"]),
        (LENGTH[1:], ["regularization"]),
        (MOVES + LENGTH, list(TASKS)),
    ],
)
def test_the_wide_task_has_the_verdicts_of_the_zoos_moves_and_asks_nothing_twice(moves, tasks):
    names = [move.name for move in moves]
    found = offered_tasks(names)
    assert list(found) == tasks
    for name, task in found.items():
        assert task.classes == tuple(v for v, some in TASKS[name].verdicts.items() if set(some) <= set(names))
        assert name == "failure_source_wide" or task is TASKS[name]


# --- standard errors ------------------------------------------------------------------------------------------------


def standard_error(by_seed: pd.DataFrame, one: str, other: str) -> float:
    if one == other:
        return 0.0
    both = [by_seed.at[one, s] - by_seed.at[other, s] for s in by_seed]
    both = [difference for difference in both if not np.isnan(difference)]
    return np.std(both, ddof=1) / np.sqrt(len(both)) if len(both) > 1 else np.nan


def walk(grid: pd.DataFrame, accuracy: pd.Series, start: str, moves: list[Move]) -> str:
    """Walk from a point, step by step, and return the first of the best points met."""
    best = start
    for move in moves:
        line = [j for j in grid.index if all(grid.at[j, k] == grid.at[start, k] for k in grid if k != move.knob)]
        line = [j for j in line if move.sign * (grid.at[j, move.knob] - grid.at[start, move.knob]) > 0]
        for j in sorted(line, key=lambda j: move.sign * grid.at[j, move.knob]):
            if accuracy[j] > accuracy[best]:
                best = j
    return best


@given(grids(), st.integers(1, 3), st.data())
def test_standard_errors_are_of_the_points_that_a_walk_meets(grid_and_accuracy, seeds, data):
    grid, _ = grid_and_accuracy
    value = st.one_of(st.integers(0, 6), st.just(np.nan))
    rows = data.draw(st.lists(st.tuples(*[value] * seeds), min_size=len(grid), max_size=len(grid)))
    by_seed = pd.DataFrame(rows, index=grid.index, dtype=float)
    error = by_seed.mean(axis=1)
    moves = [move for move in MOVES if move.knob in grid]
    if data.draw(st.booleans()):  # a second knob that does the same
        moves.append(Move("temperature_up", "width", "down"))
    derived = derive(grid, error, moves, by_seed)
    names = dict.fromkeys(move.name for move in moves)
    assert [c for c in derived if c.startswith("rfi") and not c.endswith("_se")] == [f"rfi_{name}" for name in names]
    for i in grid.index:
        ends = {name: walk(grid, 100 - error, i, [m for m in moves if m.name == name]) for name in names}
        gain = {name: error[i] - error[end] for name, end in ends.items()}
        for name, end in ends.items():
            expected = np.nan if np.isnan(error[i]) else standard_error(by_seed, end, i)
            np.testing.assert_allclose(derived.at[i, f"rfi_{name}_se"], expected, atol=1e-12)
        for task in list(TASKS.values())[:4]:
            if not set(task.moves) <= set(names):
                assert f"{task.name}_margin_se" not in derived
                continue
            expected = np.nan
            if not np.isnan(error[i]):
                tips = [max(some, key=lambda move: gain[move]) for some in task.verdicts.values()]
                first, second = sorted(tips, key=lambda move: -gain[move])[:2]
                expected = standard_error(by_seed, ends[first], ends[second])
            np.testing.assert_allclose(derived.at[i, f"{task.name}_margin_se"], expected, atol=1e-12)


@given(grids())
def test_seeds_change_no_label(grid_and_accuracy):
    grid, accuracy = grid_and_accuracy
    moves = [move for move in MOVES if move.knob in grid]
    plain = derive(grid, 100 - accuracy, moves)
    more = derive(grid, 100 - accuracy, moves, pd.DataFrame({0: 100 - accuracy, 1: 99 - accuracy}))
    pd.testing.assert_frame_equal(more[list(plain)], plain)


def test_the_standard_error_on_a_line_in_closed_form():
    """Errors 40, 30, 20 with seeds ±1 apart: paired, what the seeds share cancels."""
    grid = pd.DataFrame({"batch_size": [1.0, 2, 4]})
    by_seed = pd.DataFrame({0: [39.0, 29, 19], 1: [41.0, 31, 21], 2: [40.0, 30, 23]})
    derived = derive(grid, by_seed.mean(axis=1), MOVES[:2], by_seed)
    # From the first point to the last the seeds gain 20, 20 and 17: standard deviation √3, over √3 seeds.
    np.testing.assert_allclose(derived["rfi_temperature_down_se"], [1, 1, 0])
    np.testing.assert_allclose(derived["rfi_temperature_up_se"], 0)
    np.testing.assert_allclose(derived["optimizer_margin_se"], [1, 1, 0])


@pytest.mark.parametrize("left", [1, 2])
def test_a_network_that_diverged_is_left_out_with_its_pair(left):
    grid = pd.DataFrame({"batch_size": [1.0, 2]})
    by_seed = pd.DataFrame({0: [40.0, 30], 1: [44.0, 30] if left == 2 else [np.nan, 30], 2: [np.nan, 25]})
    derived = derive(grid, by_seed.mean(axis=1), MOVES[:2], by_seed)
    np.testing.assert_allclose(derived["rfi_temperature_down_se"], [2.0 if left == 2 else np.nan, 0])
