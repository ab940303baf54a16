"""The benchmark as tables, against the rows that the cases themselves draw and against the words of `cases.toml`."""

import tomllib
from importlib import resources
from itertools import product

import numpy as np
import pandas as pd
import pytest
import toy

from mdbench.cases.cases import load_cases
from mdbench.cases.own import own_cases
from mdbench.cases.splits import split
from mdbench.errors import MdbenchError
from mdbench.tables.tasks import NONE, TASKS
from zoo_builder.publishing.benchmark import cases_of, cases_table, splits_table

BUNDLED = ("mnist1d-cnn", "mnist1d-mlp")
FRACTIONS, WIDTHS = (10, 20, 40, 100), (2, 4, 8, 16, 32, 128)


@pytest.fixture(scope="module")
def zoos():
    """Toy zoos under the names of bundled ones, which the benchmark's cases can be posed to."""
    return [
        toy.own_zoo(name, widths=WIDTHS, fractions=FRACTIONS, label_noise=(0, 10, 20), seeds=2 + at)
        for at, name in enumerate(BUNDLED)
    ]


@pytest.fixture(scope="module")
def posed(zoos):
    return cases_of(zoos)


def test_the_cases_are_those_of_the_zoos_that_are_there(zoos, posed):
    assert [one.case for one in posed] == [
        case for case in load_cases("all") if case.train in BUNDLED and case.test in BUNDLED
    ]
    assert {one.case.scenario for one in posed} == {
        "cross-noise",
        "data-limited",
        "width-limited",
        "cross-architecture",
    }
    assert {one.case.test for one in cases_of(zoos[:1])} == {BUNDLED[0]}


def test_a_case_says_what_is_asked(posed):
    table = cases_table(posed).to_pandas().set_index("case")
    core = {case.name for case in load_cases("core")}
    sweeps = tomllib.loads(resources.files("mdbench.cases").joinpath("cases.toml").read_text())["sweep"]
    assert list(table.index) == [one.case.name for one in posed]
    assert {name for name, row in table.iterrows() if row["core"]} == core & set(table.index)
    for name, row in table.iterrows():
        assert name.split("/")[1:] == [row["task"], row["scenario"], f"{row['budget']:g}"]
        assert f"{row['sweep']}/{row['budget']:g}" == name
        assert row["question"] == TASKS[row["task"]].question
        assert tuple(row["classes"]) == TASKS[row["task"]].classes
        assert f"{row['budget']:g}" in row["training_rows"]
        assert not any(word in row["training_rows"] for word in ("BUDGET", "TRAIN", "TEST", "TASK"))
        assert any(
            row["train_zoos"].tolist()[0] in sweep["train"]
            and row["seeds"].tolist() == sweep["seeds"]
            and row["budget"] in sweep["budgets"]
            for sweep in sweeps
        )


def test_a_split_is_the_rows_that_the_case_draws(zoos, posed):
    by_name = {zoo.name: zoo for zoo in zoos}
    table = splits_table(posed).to_pandas()
    assert len(table) == sum(len(one.case.seeds) for one in posed)
    assert not table.duplicated(subset=["case", "seed"]).any()
    rows = table.set_index(["case", "seed"])
    for case in load_cases("all"):
        if {case.train, case.test} <= set(BUNDLED):
            drawn = split(case, by_name[case.train], by_name[case.test])
            for seed, sample in zip(case.seeds, drawn.samples, strict=True):
                row = rows.loc[(case.name, seed)]
                assert (row["train_zoo"], row["test_zoo"]) == (case.train, case.test)
                assert row["train"].tolist() == drawn.train.table.index[sample].tolist()
                assert row["test"].tolist() == drawn.test.table.index.tolist()


def allowed(table: pd.DataFrame, task: str, **ranges: tuple[float, float]) -> pd.DataFrame:
    """Return the rows with a verdict whose knobs lie in some ranges."""
    rows = table[table[task].notna() & (table[task] != NONE)]
    for knob, (low, high) in ranges.items():
        rows = rows[(rows[knob] >= low) & (rows[knob] <= high)]
    return rows


def cells(rows: pd.DataFrame, knobs: list[str], count: int, seed: int) -> list[str]:
    """Draw cells as the publication does: NumPy's legacy generator, over all combinations of the knobs' values."""
    every = list(product(*(sorted(rows[knob].unique()) for knob in knobs)))
    chosen = {every[at] for at in np.random.RandomState(seed).choice(len(every), size=count, replace=False)}
    return [name for name, *values in rows[knobs].itertuples() if tuple(values) in chosen]


def test_splits_follow_from_the_words_of_their_cases(zoos, posed):
    """Derived anew from the tables alone: who may be trained on, who is drawn, who is asked about."""
    tables = {zoo.name: zoo.configurations for zoo in zoos}
    said, seen = cases_table(posed).to_pandas().set_index("case"), set()
    for row in splits_table(posed).to_pandas().itertuples():
        case = said.loc[row.case]
        task, budget = case["task"], case["budget"]
        within = {} if case["scenario"] == "cross-architecture" else {"label_noise": (0, 0)}
        may = allowed(tables[row.train_zoo], task, **within)
        asked = allowed(tables[row.test_zoo], task, **({"label_noise": (10, 100)} if within else {}))
        match case["scenario"]:
            case "cross-noise":
                train = cells(may, ["data_fraction", "width"], int(budget), row.seed)
            case "cross-architecture":
                train = cells(may, ["label_noise", "data_fraction", "width"], int(budget), row.seed)
            case "data-limited":
                train = may.index[may["data_fraction"] <= budget].tolist()
            case "width-limited":
                train = may.index[may["width"] <= budget].tolist()
        assert row.train.tolist() == train
        assert row.test.tolist() == asked.index.tolist()
        seen.add(case["scenario"])
    assert len(seen) == 4


def test_zoos_that_the_benchmark_does_not_know_are_asked_their_own_cases():
    zoo = toy.own_zoo("mine")
    posed = cases_of([zoo, toy.own_zoo("yours", seeds=2)])
    assert [one.case for one in posed][: len(own_cases(zoo))] == own_cases(zoo)
    assert {one.case.train for one in posed} == {"mine", "yours"}
    table = splits_table(posed).to_pandas()
    held_out = table[table["case"].str.contains("/held-out/")]
    point = {zoo.name: zoo.configurations for zoo in (zoo,)}["mine"]
    for row in held_out[held_out["train_zoo"] == "mine"].itertuples():
        knobs = ["label_noise", "data_fraction", "width"]
        both = (set(map(tuple, point.loc[list(names), knobs].to_numpy())) for names in (row.train, row.test))
        assert not set.intersection(*both)  # no cell is trained on and asked about


def test_a_zoo_of_one_of_the_benchmarks_names_that_is_another_is_refused():
    with pytest.raises(MdbenchError, match=r"case mnist1d-cnn/.*"):
        cases_of([toy.own_zoo("mnist1d-cnn", widths=(2, 128), fractions=(100,))])


def test_no_cases_are_no_rows():
    assert cases_table([]).num_rows == splits_table([]).num_rows == 0
