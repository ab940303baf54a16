"""Where a configuration stands among those of its zoo: nothing that keeps the order changes it."""

import numpy as np
import pandas as pd
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from mdbench import evaluate
from mdbench.tables.quantiles import quantiles
from mdbench.tables.schema import COLUMNS, QUANTILE, Family
from mdbench.tables.zoo import Zoo

MEASURE = "log_hessian_trace"
#: What is rare among drawn floats: equal values, and missing ones.
VALUES = st.lists(
    st.one_of(st.floats(-50, 50), st.integers(-3, 3).map(float), st.just(np.nan)), min_size=1, max_size=40
)


def of(values: list[float], measure: str = MEASURE) -> np.ndarray:
    return quantiles(pd.DataFrame({measure: values}, dtype=float))[f"{measure}{QUANTILE}"].to_numpy()


@given(VALUES)
def test_they_are_mean_ranks_of_what_is_there(values):
    found, there = of(values), ~np.isnan(values)
    assert (np.isnan(found) == ~there).all()
    if there.any():
        ranks = rankdata(np.array(values)[there], method="average")
        np.testing.assert_allclose(found[there], (ranks - 0.5) / there.sum(), rtol=1e-12)
        assert found[there].min() > 0
        assert found[there].max() < 1
        assert found[there].mean() == pytest.approx(0.5, abs=1e-12)


@given(VALUES, st.sampled_from([np.exp, lambda x: x**3 + x, lambda x: 1e6 * x - 7, lambda x: np.float32(x) * 2.0]))
def test_no_increasing_change_of_scale_changes_them(values, increasing):
    values = np.round(values, 3)  # so far apart that rounding keeps their order
    np.testing.assert_array_equal(of(values), of(increasing(values)))


@given(VALUES)
def test_turned_around_they_are_what_is_left_to_one(values):
    np.testing.assert_allclose(of([-value for value in values]), 1 - of(values), rtol=1e-12)


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    np.testing.assert_array_equal(of([values[at] for at in order]), of(values)[order])


def test_measures_of_the_landscape_have_them_and_nothing_else():
    zoo = toy.zoo()
    there = {name.removesuffix(QUANTILE) for name in zoo.configurations if name.endswith(QUANTILE)}
    assert MEASURE in there
    assert {COLUMNS[name].family for name in there} == {Family.LANDSCAPE}
    assert not there & {"test_error", "test_loss", "generalization_gap", "width", "data_amount"}
    for name in there:
        assert COLUMNS[f"{name}{QUANTILE}"].relative
        np.testing.assert_array_equal(zoo.configurations[f"{name}{QUANTILE}"], of(zoo.configurations[name], name))


def test_what_a_table_says_of_them_is_not_believed():
    table = toy.table()
    zoo = toy.zoo()
    said = table.assign(**{f"{MEASURE}{QUANTILE}": 0.25})
    again = Zoo.from_table("again", "", said, zoo.moves, zoo.provenance)
    np.testing.assert_array_equal(again.configurations[f"{MEASURE}{QUANTILE}"], of(table[MEASURE]))


METHOD = """
columns = ["log_hessian_trace_quantile"]
track = "TRACK"

def inside(models):
    assert list(models) == columns and 0 < models.min().min() and models.max().max() < 1

class Mine:
    def fit(self, models, labels):
        inside(models)
        self.verdict = labels.mode()[0]

    def predict(self, models):
        inside(models)
        return [self.verdict] * len(models)
"""


@pytest.mark.parametrize("track", ["inductive", "transductive"])
def test_only_methods_that_see_a_batch_get_them(toy_home, method_file, track):
    """They are a function of the other rows: with them, no answer is one's own."""
    result = evaluate(method_file(METHOD.replace("TRACK", track)), "cifar10/optimizer/few-shot/8")
    said = [failure.reason for failure in result.failures]
    if track == "inductive":
        assert not result.scores
        assert all(f"'{MEASURE}{QUANTILE}' is forbidden on the inductive track" in one for one in said)
        assert said
    else:
        assert said == []
        assert len(result.scores) == 1
