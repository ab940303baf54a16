"""Zoos that nobody trained on: what `cases.toml` says of them, against the tables themselves."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import toy

from mdbench.cases.cases import Case, load_cases, read_registry
from mdbench.cases.splits import Pool, split
from mdbench.cases.unseen import bundled_tasks, others
from mdbench.errors import MdbenchError
from mdbench.methods.method import MethodError, as_method
from mdbench.methods.trial import ask, given_columns
from mdbench.tables.tasks import TASKS, offered_tasks
from zoo_builder.publishing.benchmark import splits_table

TEXT = """
[unseen]
name = "others-to-TEST/TASK/unseen"
scenario = "unseen"
about = "BUDGET % of the cells of the others"
budgets = [80]
seeds = [1, 2, 3]
kin = [["a", "twin"], ["b"], ["c"], ["far"]]

[[sweep]]
name = "a/b"
task = "optimizer"
train = "x"
test = "y"
scenario = "few-shot"
about = "BUDGET cells"
sample = "cells"
knobs = ["width"]
budgets = [1]
seeds = [1]

[selections]
outer = ["inner", "a/*"]
inner = ["others-to-a/*"]
"""
EVERY = offered_tasks(move for task in TASKS.values() for move in task.moves)
FOUR = {name: TASKS[name] for name in toy.TASKS}
ONE = {"optimizer": TASKS["optimizer"]}
SMALL = {"label_noise": (0,)}
#: Rows: 52, 208 and 104.
GRIDS = {"a": (2, 128), "b": (2, 4, 8, 16, 32, 64, 91, 128), "c": (4, 16, 64, 128)}


@pytest.fixture(scope="module")
def zoos():
    return {
        name: toy.own_zoo(name, widths=widths, fractions=(10, 100), seeds=2, **SMALL) for name, widths in GRIDS.items()
    }


@pytest.fixture(scope="module")
def case() -> Case:
    cases, _ = read_registry(TEXT, dict.fromkeys(("a", "b", "c", "far"), FOUR))
    return cases["others-to-far/failure_source/unseen/80"]


@pytest.fixture(scope="module")
def rows(zoos, case):
    return split(case, list(zoos.values()), toy.own_zoo("far", widths=(8, 128), fractions=(10, 100), seeds=2, **SMALL))


def test_every_zoo_is_asked_what_two_others_pose_and_its_kin_is_left_out():
    posing = {"a": FOUR, "twin": FOUR, "b": FOUR, "c": ONE, "unknown": FOUR}
    found = {(test, task): train for test, task, train in others([["a", "twin"], ["b"], ["c"]], posing)}
    assert found == {
        ("a", "optimizer"): ("b", "c"),
        ("twin", "optimizer"): ("b", "c"),
        ("b", "optimizer"): ("a", "c", "twin"),
        ("b", "width_vs_optimizer"): ("a", "twin"),
        ("b", "data_vs_optimizer"): ("a", "twin"),
        ("b", "failure_source"): ("a", "twin"),
        ("c", "optimizer"): ("a", "b", "twin"),
    }


def test_a_wide_task_is_learned_from_zoos_with_the_same_verdicts():
    some = offered_tasks(("temperature_up", "temperature_down", "longer"))
    assert set(some) == {"optimizer", "length_vs_optimizer", "failure_source_wide"}
    found = list(others([["a"], ["b"], ["c"]], {"a": some, "b": some, "c": EVERY}))
    assert {task for *_, task, _ in found} == {"optimizer", "length_vs_optimizer"}
    three = list(others([["a"], ["b"], ["c"]], dict.fromkeys("abc", some)))
    assert ("a", "failure_source_wide", ("b", "c")) in three


def test_the_template_makes_the_cases():
    cases, named = read_registry(TEXT, {"a": ONE, "b": ONE, "c": ONE})
    assert list(cases) == [f"others-to-{zoo}/optimizer/unseen/80" for zoo in "abc"] + ["a/b/1"]
    case = cases["others-to-b/optimizer/unseen/80"]
    assert (case.train, case.test, case.zoos) == (("a", "c"), "b", ("a", "c", "b"))
    assert case.drawn == "80 % of the cells of the others"
    assert Case.model_validate_json(case.model_dump_json()) == case
    assert named["outer"] == ("inner", "a/*")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["b"]', '["a"]', "zoo a is in several groups of kin"),
        ("[80]", "[0]", r"unseen\.budgets\.0"),
        ("[80]", "[101]", r"unseen\.budgets\.0"),
        ("kin = ", "kinship = ", r"unseen\.kin"),
    ],
)
def test_a_template_that_does_not_fit_says_where(old, new, message):
    with pytest.raises(MdbenchError, match=message):
        read_registry(TEXT.replace(old, new, 1))


def test_a_share_of_every_zoo_is_drawn_in_whole_cells_and_no_zoo_outweighs_the_middle_one(zoos, rows, case):
    """Counted anew from the tables: 4/5 of the cells, and of a zoo that is larger than the middle one as many fewer."""
    assert isinstance(rows.train, Pool)
    sizes = {name: len(part) for name, part in zip(zoos, rows.train.parts, strict=True)}
    assert len(rows.train) == sum(sizes.values())
    middle = sorted(sizes.values())[1]
    for sample in rows.samples:
        drawn = rows.train.ids[sample]
        for name, zoo in zoos.items():
            table = zoo.configurations[zoo.configurations["failure_source"].isin(TASKS["failure_source"].classes)]
            mine = table.loc[[row.removeprefix(f"{name}:") for row in drawn if row.startswith(f"{name}:")]]
            cells = table.groupby(["width", "data_fraction"]).ngroups
            wanted = math.ceil(cells * 0.8 * min(1, middle / sizes[name]))
            assert mine.groupby(["width", "data_fraction"]).ngroups == wanted
            assert len(mine) == len(table.merge(mine[["width", "data_fraction"]].drop_duplicates()))
    assert rows.distinct == list(range(len(case.seeds)))
    assert len(set(rows.digests)) == len(case.seeds)


def test_what_is_drawn_of_a_zoo_does_not_hang_on_the_others(zoos, case):
    asked = toy.own_zoo("far", widths=(8, 128), fractions=(10, 100), seeds=2, **SMALL)
    both = case.model_copy(update={"train": ("a", "c")})
    two, three = split(both, [zoos["a"], zoos["c"]], asked), split(case, list(zoos.values()), asked)
    for some, more in zip(two.samples, three.samples, strict=True):
        of_a = [
            {row for row in split_.train.ids[sample] if row.startswith("a:")}
            for split_, sample in ((two, some), (three, more))
        ]
        assert of_a[0] == of_a[1]


def test_rows_of_a_pool_are_those_of_its_zoos(zoos, rows):
    tables = [part.table for part in rows.train.parts]
    columns = ["train_error", "parameter_count"]
    assert np.array_equal(rows.train.matrix(columns), pd.concat(tables)[columns].to_numpy(dtype=float))
    assert rows.train.labels.tolist() == pd.concat(tables)["failure_source"].tolist()
    assert rows.train.codes.tolist() == [list(rows.task.classes).index(label) for label in rows.train.labels]


class Looks:
    """Says the first verdict, and remembers what it was shown."""

    def __init__(self):
        self.seen = []

    def __deepcopy__(self, memo):
        return self

    def fit(self, models, labels, task):
        self.seen.append(models.assign(label=labels.to_numpy()))
        self.first = task.classes[0]

    def predict(self, models):
        return [self.first] * len(models)


def without(zoo, *columns):
    """Return a zoo as if it had never measured some columns."""
    return replace(zoo, configurations=zoo.configurations.drop(columns=list(columns)))


def looking(*columns):
    looks = Looks()
    looks.columns = list(columns)
    return as_method(looks), looks


def test_a_method_gets_what_all_zoos_have_of_its_alternatives_else_most_with_nulls(zoos, case):
    far = toy.own_zoo("far", widths=(8, 128), fractions=(10, 100), seeds=2, **SMALL)
    bare = [without(zoos["a"], "mixup_cka"), zoos["b"], zoos["c"]]
    rows = split(case, bare, far)
    assert given_columns(looking("mixup_cka|output_cka")[0], rows) == ("output_cka",)
    assert given_columns(looking("output_cka|mixup_cka")[0], rows) == ("output_cka",)
    method, looks = looking("mixup_cka")
    assert ask(method, rows).columns == ("mixup_cka",)
    sizes = [int((rows.samples[0] < len(rows.train.parts[0])).sum()), len(rows.samples[0])]
    assert looks.seen[0]["mixup_cka"].isna().sum() == sizes[0]
    assert len(looks.seen[0]) == sizes[1]
    two = [without(zoos[name], "mixup_cka") for name in "ab"]
    fewer = split(case, [*two, without(zoos["c"], "output_cka")], far)
    assert given_columns(looking("mixup_cka|output_cka")[0], fewer) == ("output_cka",)  # two have it, and one the other
    with pytest.raises(MethodError, match=r"'mixup_cka', which zoo far does not have"):
        given_columns(looking("mixup_cka")[0], split(case, list(zoos.values()), without(far, "mixup_cka")))
    nobody = split(case, [without(zoo, "mixup_cka") for zoo in zoos.values()], far)
    with pytest.raises(MethodError, match=r"'mixup_cka', which zoo a, b, c does not have"):
        given_columns(looking("mixup_cka")[0], nobody)
    undeclared = as_method(Looks())
    assert "mixup_cka" in given_columns(undeclared, split(case, list(zoos.values()), far))
    assert "mixup_cka" not in given_columns(undeclared, rows)


def test_splits_have_a_row_for_each_zoo_that_is_learned_from(zoos, rows, case):
    table = splits_table([rows]).to_pandas()
    assert len(table) == 3 * len(case.seeds)
    for (seed, zoo), row in table.set_index(["seed", "train_zoo"]).iterrows():
        drawn = rows.train.ids[rows.samples[case.seeds.index(seed)]]
        assert [f"{zoo}:{name}" for name in row["train"]] == [name for name in drawn if name.startswith(f"{zoo}:")]
        assert row["test"].tolist() == rows.test.ids.tolist()


def test_every_zoo_of_this_package_has_its_kin_said():
    """A zoo that stands in no group would be asked about by nobody."""
    assert {case.test for case in load_cases("unseen")} == set(bundled_tasks())
    for case in load_cases("unseen"):
        assert case.test not in case.train
        assert len(case.train) > 1
