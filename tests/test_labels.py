"""RFI and labels against the definition, spelled out point by point."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mdbench.labels import Move, derive, label, room_for_improvement
from mdbench.tasks import NONE, TASKS

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


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 4), min_size=1, max_size=30))
def test_a_label_is_the_verdict_that_leads_and_none_where_the_lead_is_shared(rows):
    rfi = pd.DataFrame(rows, columns=["temperature_up", "temperature_down", "width", "data"], dtype=float)
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
