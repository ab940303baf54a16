"""The cases that a zoo makes by itself: no row is both learnt from and asked about, whatever the zoo."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import mdbench
from mdbench.cases.own import own_cases
from mdbench.cases.splits import split
from mdbench.cli import app
from mdbench.errors import MdbenchError
from mdbench.sources.modeldiagnosis import MOVES
from mdbench.tables.labels import Move
from mdbench.tables.manifest import Provenance
from mdbench.tables.tasks import NONE
from mdbench.tables.zoo import Zoo

OWN = toy.own_zoo()
PROVENANCE = Provenance(source="here", license="MIT", made_by="the tests")


def test_a_case_for_every_task_and_scenario():
    # 4 widths × 4 data amounts × 2 label noises: 32 cells, half of them without label noise.
    assert [case.name for case in own_cases(OWN)] == [
        f"own/{task}/{scenario}" for task in toy.TASKS for scenario in ("held-out/3", "cross-noise/2")
    ]
    assert [case.name for case in own_cases(toy.own_zoo(label_noise=(0,)))] == [
        f"own/{t}/held-out/2" for t in toy.TASKS
    ]
    assert not any("cross-noise" in case.name for case in own_cases(toy.own_zoo(label_noise=(10, 20))))


@pytest.mark.parametrize("case", own_cases(OWN), ids=lambda case: case.name)
def test_training_rows_are_whole_cells_and_never_asked_about(case):
    rows = split(case, OWN, OWN)
    table = OWN.configurations
    asked = set(rows.test.ids)
    assert len(rows.samples) == 5
    for sample in rows.samples:
        trained = rows.train.ids[sample]
        assert not asked & set(trained)
        cells = table.loc[trained, ["width", "data_fraction", "label_noise"]].drop_duplicates()
        assert len(cells) == case.budget
        inside = table.reset_index().merge(cells).set_index("configuration")
        inside = inside[inside[case.task] != NONE]
        assert set(trained) == set(inside.index)
        if case.scenario == "held-out":
            assert not asked & set(inside.index)
    if case.scenario == "cross-noise":
        clean = table.loc[np.concatenate([rows.train.ids[sample] for sample in rows.samples]), "label_noise"]
        assert set(clean) == {0}
        assert asked == set(table.index[(table["label_noise"] > 0) & (table[case.task] != NONE)])
    else:
        assert len(np.unique(rows.test.cells)) >= 32 / 2


@st.composite
def grids(draw):
    """A table with any of its points missing, random errors, one to three axes beside the batch size."""
    axes = {"batch_size": [16, 32, 64]}
    for knob in ("width", "data_fraction", "label_noise"):
        axes[knob] = list(range(draw(st.integers(1, 4))))
    points = pd.DataFrame(product(*axes.values()), columns=list(axes)).astype(float)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    points["test_error"] = rng.integers(0, 50, len(points)).astype(float)
    return points[rng.random(len(points)) < draw(st.sampled_from([1, 0.9, 0.5]))]


@given(grids())
def test_whatever_the_zoo_no_row_is_on_both_sides(table):
    if table.empty:
        return
    zoo = Zoo.from_table("z", "", table, MOVES, PROVENANCE)
    try:
        cases = own_cases(zoo)
    except MdbenchError as error:
        assert "makes no cases of its own" in str(error)  # noqa: PT017
        return
    for case in cases:
        try:
            rows = split(case, zoo, zoo)
        except MdbenchError as error:
            # Cells without a row that takes part are drawn too, and all rows with label noise may lack a verdict.
            assert re.search("no training row is drawn by seed|no row of zoo z takes part", str(error))  # noqa: PT017
            continue
        trained = set(np.concatenate([rows.train.ids[sample] for sample in rows.samples]))
        assert trained
        assert not trained & set(rows.test.ids)
        if case.scenario == "held-out":
            assert len(np.unique(rows.test.cells)) >= len(np.unique(rows.train.cells)) / 2


@pytest.mark.parametrize(
    ("table", "moves", "message"),
    [
        (toy.table()[lambda t: t["width"] == 2].query("data_fraction < 40"), MOVES, "3 cells to train on are too few"),
        (toy.table(), (Move("width", "width", "up"),), "the zoo has no move 'temperature_up'"),
        (toy.table().assign(test_error=50.0), MOVES, "optimizer/held-out: no row of zoo z takes part"),
        (
            toy.table()
            .query("batch_size < 20 or batch_size > 1000")
            .assign(test_error=lambda t: t["batch_size"] / 100),
            MOVES,
            "every row to train on has the verdict 'temperature_too_low'",
        ),
    ],
)
def test_a_zoo_that_makes_no_cases_says_why(table, moves, message):
    with pytest.raises(MdbenchError, match=f"zoo z makes no cases of its own: .*{message}"):
        own_cases(Zoo.from_table("z", "", table, moves, PROVENANCE))


def test_a_case_that_is_not_there_for_its_task_has_one_verdict_is_told_so(tmp_path):
    """Where only the batch size matters, width is nobody's lack."""
    table = toy.table().assign(test_error=lambda t: 20 + (np.log2(t["batch_size"]) - 6) ** 2)
    Zoo.from_table("z", "", table, MOVES, PROVENANCE).save(tmp_path / "z")
    asked = "z/width_vs_optimizer/held-out/3"
    with pytest.raises(MdbenchError) as told:
        mdbench.evaluate("majority", asked, zoo=tmp_path / "z")
    assert str(told.value).startswith(f"case '{asked}' does not exist; zoo z makes z/optimizer/held-out/")
    assert "width_vs_optimizer/held-out: every row to train on has the verdict 'optimizer'" in str(told.value)


def test_evaluating_and_comparing_on_a_zoo_of_ones_own(tmp_path, monkeypatch):
    OWN.save(tmp_path / "own")
    result = mdbench.evaluate(["md_tree", "majority"], zoo=tmp_path / "own")
    assert not result.failures
    assert {score.case for score in result.scores} == {case.name for case in own_cases(OWN)}
    tree, majority = (
        [score.accuracy for score in result.scores if score.method == name] for name in ("md_tree", "majority")
    )
    assert np.mean(tree) > np.mean(majority)
    monkeypatch.chdir(tmp_path)
    some = mdbench.evaluate("md_tree", "own/*/cross-noise/2", zoo="./own", workers=1)
    assert {score.case for score in some.scores} == {f"own/{task}/cross-noise/2" for task in toy.TASKS[:3]}
    for score in some.scores:
        assert score.accuracy == result.score("md_tree", score.case).accuracy
    with pytest.raises(MdbenchError, match="case 'paper' does not exist; zoo own makes own/optimizer/held-out/3, own/"):
        mdbench.evaluate("md_tree", "paper", zoo="own")
    with pytest.raises(MdbenchError, match="zoo 'nowhere' is not there"):
        mdbench.evaluate("md_tree", zoo="nowhere")


def test_baselines_that_nobody_asked_for_are_left_out_where_the_zoo_lacks_their_columns(tmp_path):
    bare = toy.own_zoo().configurations.drop(columns=["mode_connectivity_peak"]).reset_index()
    Zoo.from_table("bare", "", bare, MOVES, PROVENANCE).save(tmp_path / "bare")
    command = ["evaluate", "--zoo", str(tmp_path / "bare"), "--workers", "0"]
    told = CliRunner().invoke(app, [*command, "random"])
    assert told.exit_code == 0
    assert "md_tree is left out: it wants column 'mode_connectivity_peak', which zoo bare does not have" in told.stdout
    assert "validation_tree" in told.stdout
    assert not told.stderr
    for asked in (["md_tree"], ["random", "--beside", "md_tree"]):
        told = CliRunner().invoke(app, [*command, *asked])
        assert told.exit_code == 2
        assert "it wants column 'mode_connectivity_peak'" in told.stderr
