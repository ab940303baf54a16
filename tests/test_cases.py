import pytest
import toy

from mdbench.cases.cases import load_cases, read_registry, selections
from mdbench.errors import MdbenchError

SWEEP = """
[[sweep]]
name = "a/b"
task = "optimizer"
train = "x"
test = "y"
scenario = "few-shot"
about = "BUDGET cells"
sample = "cells"
knobs = ["width"]
budgets = [1, 2]
seeds = [1]
"""
TAIL = "\n[selections]\nmine = ['a/*']\n"


def test_paper_is_the_published_cases_and_data_at_its_smallest_budgets():
    assert [case.name.removeprefix("cifar10/") for case in load_cases("paper")] == [
        "optimizer/few-shot/8",
        "optimizer/data-limited/10",
        "optimizer/width-limited/2",
        "width_vs_optimizer/few-shot/1",
        "width_vs_optimizer/data-limited/10",
        "data_vs_optimizer/few-shot/1",
        "data_vs_optimizer/width-limited/32",
    ]


def test_cases_are_found_by_selection_sweep_pattern_and_name():
    assert load_cases("published") == [
        case for case in load_cases("all") if case.name.startswith("cifar10/") and case.scenario != "each-level"
    ]
    assert len(load_cases("cifar10/optimizer/few-shot")) == 24
    assert len(load_cases("*/few-shot/1")) == 3
    one = "cifar10/optimizer/few-shot/8"
    assert [case.name for case in load_cases([one, one])] == [one]
    # in the registry's order, whatever the order of asking
    assert load_cases(["paper", one])[0].name == one


def test_a_task_selects_all_its_cases():
    assert load_cases("optimizer") == [case for case in load_cases("all") if case.task == "optimizer"]


def test_no_name_at_all_is_refused():
    with pytest.raises(
        MdbenchError, match=r"no case is named; there are the selections core, .* the tasks optimizer, "
    ):
        load_cases([])


def test_core_is_zoos_that_nobody_trained_on_and_sisters():
    assert load_cases() == load_cases("core") == [*load_cases("unseen"), *load_cases("sisters")]


def test_sisters_are_asked_every_task_under_three_shifts_and_one_zoo_is_learned_from():
    core = load_cases("sisters")
    assert {case.train for case in core} == {"mnist1d-cnn"}
    assert {(case.task, case.scenario, case.test) for case in core} == {
        (task, *shift)
        for task in toy.TASKS
        for shift in (
            ("cross-noise", "mnist1d-cnn"),
            ("cross-dataset", "fashion-cnn"),
            ("cross-architecture", "mnist1d-mlp"),
        )
    }
    assert len(core) == 12


def test_bundled_cases_need_no_imported_zoo():
    assert {zoo for case in load_cases("bundled") for zoo in (case.train, case.test)} == {
        "mnist1d-cnn",
        "fashion-cnn",
        "mnist1d-mlp",
    }
    assert {case.name for case in load_cases("sisters")} <= {case.name for case in load_cases("bundled")}


@pytest.mark.parametrize("name", selections())
def test_every_selection_finds_cases(name):
    assert load_cases(name)


def test_an_unknown_case_names_its_nearest_neighbour():
    with pytest.raises(MdbenchError, match=r"'papers' does not exist.*nearest: paper"):
        load_cases("papers")
    with pytest.raises(MdbenchError, match=r"nearest: cifar10/optimizer/few-shot/\d"):
        load_cases(["paper", "cifar10/optimizer/few-shot/25"])


def test_a_registry_is_read():
    cases, named = read_registry(SWEEP + TAIL)
    assert list(cases) == ["a/b/1", "a/b/2"]
    assert cases["a/b/2"].drawn == "2 cells"
    assert named == {"mine": ("a/*",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[", "not TOML"),
        (SWEEP.replace('"optimizer"', '"fortune"') + TAIL, "sweep.0.task"),
        (SWEEP.replace("seeds = [1]", "") + TAIL, "sweep.0.seeds"),
        (SWEEP + "colour = 1" + TAIL, "sweep.0.colour"),
        (SWEEP + SWEEP + TAIL, "'a/b/1' stands there twice"),
        (SWEEP + "held_out = true" + TAIL, "train and test must be the same"),
        (SWEEP.replace("[1, 2]", "[0]") + TAIL, "whole numbers from 1"),
        (SWEEP.replace("[1, 2]", "[1.5]") + TAIL, "whole numbers from 1"),
        (
            SWEEP.replace('["width"]', '["width", "depth"]').replace('"cells"\n', '"levels"\n') + TAIL,
            "exactly one knob",
        ),
    ],
)
def test_a_registry_that_does_not_fit_says_where(text, message):
    with pytest.raises(MdbenchError, match=message):
        read_registry(text)


SPREAD = (
    SWEEP.replace('"a/b"', '"TRAIN-to-TEST/TASK/x"')
    .replace('"optimizer"', '["optimizer", "failure_source"]')
    .replace('"x"\n', '["one", "two"]\n', 1)
    .replace('"y"', '["TRAIN", "three"]')
    .replace('"BUDGET cells"', '"TASK of TRAIN asked of TEST, BUDGET cells"')
)


def test_a_sweep_is_spread_over_its_lists():
    """One sweep for each of train × test × task, in this order; the words stand for what was chosen."""
    cases, _ = read_registry(SPREAD.replace("[1, 2]", "[3]") + TAIL.replace("a/*", "*"))
    by_hand = [
        (train, train if test == "TRAIN" else test, task)
        for train in ("one", "two")
        for test in ("TRAIN", "three")
        for task in ("optimizer", "failure_source")
    ]
    assert [(case.train, case.test, case.task) for case in cases.values()] == by_hand
    assert list(cases) == [f"{train}-to-{test}/{task}/x/3" for train, test, task in by_hand]
    assert [case.drawn for case in cases.values()] == [
        f"{task} of {train} asked of {test}, 3 cells" for train, test, task in by_hand
    ]


def test_a_sweep_without_lists_says_the_words_too():
    cases, _ = read_registry(SWEEP.replace('"a/b"', '"TRAIN/TASK/TEST"').replace('"y"', '"TRAIN"') + TAIL)
    assert list(cases) == ["x/optimizer/x/1", "x/optimizer/x/2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SPREAD.replace('"TRAIN-to-TEST/TASK/x"', '"TRAIN/TASK"'), "'one/optimizer/1' stands there twice"),
        (SPREAD.replace("failure_source", "fortune"), r"sweep\.1\.task"),
        (SPREAD.replace('["one", "two"]', "[1]"), r"sweep\.0\.train"),
        (SPREAD.replace('["one", "two"]', '[["one"]]'), r"sweep\.0\.train"),
        ("sweep = [1]", r"sweep\.0"),
        ("sweep = 1", "sweep"),
    ],
)
def test_a_spread_that_does_not_fit_says_where(text, message):
    with pytest.raises(MdbenchError, match=message):
        read_registry(text + TAIL)
