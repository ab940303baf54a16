"""Splits against the published sampling, written out in the published way."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import toy
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdbench.cases.cases import load_cases
from mdbench.cases.own import own_cases
from mdbench.cases.splits import codes, split
from mdbench.errors import MdbenchError
from mdbench.scoring.evaluation import pose
from mdbench.sources.modeldiagnosis import MOVES
from mdbench.tables.labels import Move
from mdbench.tables.tasks import NONE, TASKS
from mdbench.tables.zoo import Zoo

CLEAN, NOISY = toy.both()
PUBLISHED = (42, 90, 38, 18, 72)


def published_sampling(frame: pd.DataFrame, case, seed: int) -> pd.DataFrame:
    """The sampling as PROTOCOL.md states it: one seeding and one choice a split, over ascending lists."""
    np.random.seed(seed)
    data, widths = sorted(set(frame["data_fraction"])), sorted(set(frame["width"]))
    k = int(case.budget)
    if case.sample == "cells":
        cells = [(d, w) for d in data for w in widths]
        chosen = {cells[i] for i in np.random.choice(list(range(len(cells))), size=k, replace=False)}
        return frame[[(d, w) in chosen for d, w in zip(frame["data_fraction"], frame["width"], strict=True)]]
    if case.sample == "levels":
        levels = data if case.knobs == ("data_fraction",) else widths
        return frame[frame[case.knobs[0]].isin(np.random.choice(levels, size=k, replace=False))]
    return frame[frame[case.knobs[0]] <= case.budget]


@pytest.mark.parametrize("case", load_cases("published"), ids=lambda case: case.name)
def test_every_case_samples_as_published(case):
    rows = split(case, CLEAN, NOISY)
    keep = CLEAN.configurations["width"] >= (32 if case.keep else 0)
    frame = CLEAN.configurations[keep & (CLEAN.configurations[case.task] != NONE)]
    for seed, sample in zip(case.seeds, rows.samples, strict=True):
        assert rows.train.ids[sample].tolist() == published_sampling(frame, case, seed).index.tolist()
    asked = NOISY.configurations
    asked = asked[(asked["width"] >= (32 if case.keep else 0)) & (asked[case.task] != NONE)]
    assert rows.test.ids.tolist() == asked.index.tolist()


@pytest.mark.parametrize("case", load_cases("levels"), ids=lambda case: case.name)
def test_each_level_is_one_training_sample(case):
    rows = split(case, CLEAN, NOISY)
    (knob,) = case.knobs
    learned = [set(rows.train.table[knob].iloc[sample]) for sample in rows.samples]
    assert [len(levels) for levels in learned] == [1] * len(learned)
    assert [levels.pop() for levels in learned] == sorted(set(rows.train.table[knob]))
    assert np.sort(np.concatenate(rows.samples)).tolist() == list(range(len(rows.train)))
    with pytest.raises(MdbenchError, match=f"{len(learned) + 1} levels wanted, but the train zoo has {len(learned)}"):
        split(case.model_copy(update={"seeds": (len(learned),)}), CLEAN, NOISY)


def test_the_published_sweeps_are_all_there():
    budgets = {}
    for case in load_cases("published"):
        budgets.setdefault(case.sweep.removeprefix("cifar10/"), []).append(case.budget)
    assert budgets == {
        "optimizer/few-shot": list(range(1, 25)),
        "optimizer/data-limited": list(range(10, 101, 10)),
        "optimizer/width-limited": list(toy.WIDTHS),
        "width_vs_optimizer/few-shot": list(range(1, 11)),
        "width_vs_optimizer/data-limited": list(range(10, 101, 10)),
        "data_vs_optimizer/few-shot": [1, 2, 3, 4, 5],
        "data_vs_optimizer/width-limited": [32, 45, 64, 91, 128],
    }
    assert all(case.seeds == PUBLISHED for case in load_cases("published"))


def test_cases_of_the_package_have_25_samples_the_first_five_of_which_came_first():
    for case in load_cases("bundled"):
        assert case.seeds[:5] == PUBLISHED
        assert len(set(case.seeds)) == len(case.seeds) == (5 if case.sample == "limit" else 25), case.name
    assert {case.seeds for case in load_cases("unseen")} == {PUBLISHED}


def test_rows_of_cases_once_published_stay():
    """Of the first five samples, as entries recorded them when these were all."""
    recorded: dict[str, tuple[str, ...]] = {}
    for file in sorted((ROOT / "leaderboard" / "entries").glob("*/entry.json")):
        recorded |= json.loads(file.read_text())["dataset"]["splits"]
    first = [case for case in load_cases("sisters") if case.name in recorded]
    assert len(first) == 12
    for one in pose(first)[0]:
        said = recorded[one.rows.case.name]
        assert one.rows.digests[: len(said)] == list(said)
        assert len(set(one.rows.digests)) == 25


@given(seed=st.integers(0, 2**32 - 1), budget=st.integers(1, 40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_cells_are_drawn_whole(seed, budget):
    case = load_cases("cifar10/optimizer/few-shot/8")[0].model_copy(update={"seeds": (seed,), "budget": float(budget)})
    rows = split(case, CLEAN, NOISY)
    sample = rows.train.table.iloc[rows.samples[0]]
    cells = sample[["data_fraction", "width"]].drop_duplicates()
    assert len(cells) == budget
    assert len(sample) == len(rows.train.table.merge(cells))


def test_equal_samples_are_known_as_such():
    limited = split(load_cases("cifar10/optimizer/data-limited/30")[0], CLEAN, NOISY)
    assert limited.distinct == [0] * 5
    assert len(set(limited.digests)) == 1
    random = split(load_cases("cifar10/optimizer/few-shot/8")[0], CLEAN, NOISY)
    assert random.distinct == list(range(5))
    assert len(set(random.digests)) == 5


def test_a_digest_does_not_depend_on_the_order_of_rows():
    case = load_cases("cifar10/width_vs_optimizer/few-shot/2")[0]
    turned = replace(NOISY, configurations=NOISY.configurations[::-1])
    assert split(case, CLEAN, NOISY).digests == split(case, CLEAN, turned).digests


def test_cells_of_test_rows_are_numbered_over_the_whole_zoo():
    rows = split(load_cases("cifar10/data_vs_optimizer/few-shot/1")[0], CLEAN, NOISY)
    assert rows.test.cell_count == 130
    assert len(np.unique(rows.test.cells)) == 50
    together = rows.test.table.assign(cell=rows.test.cells).groupby("cell")[["width", "data_fraction"]].nunique()
    assert (together == 1).all().all()


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"budget": 131.0}, "131 cells wanted, but the train zoo has 130"),
        ({"sample": "limit", "knobs": ("width",), "budget": 1.0}, "no training row has width up to 1"),
        ({"task": "failure_source", "keep": {"width": {"min": 999}}}, "no row of zoo cifar10-resnet18 takes part"),
        ({"knobs": ("depth",)}, "no column 'depth'"),
        ({"train_keep": {"width": {"max": 1}}}, "no row of zoo cifar10-resnet18 takes part"),
        ({"test_keep": {"width": {"max": 1}}}, "no row of zoo cifar10-resnet18-noise10 takes part"),
        ({"held_out": True, "budget": 130.0}, "its seeds train on every cell, and none is held out"),
    ],
)
def test_a_case_out_of_reach_says_so(update, message):
    case = load_cases("cifar10/optimizer/few-shot/8")[0]
    case = type(case).model_validate({**case.model_dump(), **update})
    with pytest.raises(MdbenchError, match=message):
        split(case, CLEAN, NOISY)


def wide(name, *knobs):
    """A zoo of temperature and of one or two more knobs."""
    grid = pd.DataFrame(product([16.0, 32, 64], *[[1.0, 2, 3]] * len(knobs)), columns=["batch_size", *knobs])
    known = {"width": Move("width", "width", "up"), "epochs": Move("longer", "epochs", "up")}
    table = grid.assign(test_error=np.random.default_rng(0).permutation(len(grid)).astype(float))
    return Zoo.from_table(name, "", table, [*MOVES[:2], *(known[knob] for knob in knobs)], CLEAN.provenance)


def test_a_wide_case_has_the_verdicts_that_both_zoos_offer_and_no_others():
    one, same, other = wide("one", "width", "epochs"), wide("same", "width", "epochs"), wide("other", "width")
    case = own_cases(one)[-1]
    assert case.task == "failure_source_wide"
    verdicts = ("temperature_too_low", "temperature_too_high", "width", "training_too_short")
    assert split(case, one, one).task.classes == verdicts
    apart = case.model_copy(update={"held_out": False})
    rows = split(apart, one, same)
    assert rows.train.task.classes == rows.test.task.classes == verdicts
    assert [verdicts[code] for code in rows.test.codes] == rows.test.labels.tolist()
    with pytest.raises(MdbenchError, match=r"width in zoo other, but .* both zoos must offer the same moves"):
        split(apart, one, other)


@given(st.lists(st.one_of(st.none(), st.text(max_size=3), st.floats(), st.lists(st.integers()), st.just("width"))))
def test_codes_take_anything(labels):
    task = TASKS["width_vs_optimizer"]
    objects = np.empty(len(labels), dtype=object)
    objects[:] = labels
    assert codes(objects, task).tolist() == [0 if label == "width" else -1 for label in labels]
