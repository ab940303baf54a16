"""Balanced accuracy, rescaled so that chance is 0, against scikit-learn's; rare verdicts are not counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from mdbench.scoring import stats


@given(st.integers(2, 5), st.integers(0, 10_000))
def test_it_is_scikit_learns_adjusted_score(verdicts, seed):
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(verdicts), rng.integers(0, verdicts, 12)])  # at least one in seventeen each
    said = rng.integers(0, verdicts, len(truth))
    expected = 100 * balanced_accuracy_score(truth, said, adjusted=True)
    assert stats.above_chance(stats.balanced_accuracy(said, truth), verdicts) == pytest.approx(expected)


@pytest.mark.parametrize("verdict", [0, 1, 2])
def test_one_verdict_said_always_has_nothing(verdict):
    truth = np.repeat([0, 1, 2], [70, 20, 10])
    assert stats.above_chance(stats.balanced_accuracy(np.full(100, verdict), truth), 3) == pytest.approx(0)


def test_a_verdict_of_fewer_than_five_in_a_hundred_rows_is_not_counted():
    truth = np.repeat([0, 1, 2], [60, 36, 4])
    said = np.where(truth == 2, 0, truth)  # wrong on the rare one alone
    assert stats.counted(truth).tolist() == [0, 1]
    assert stats.balanced_accuracy(said, truth) == 100
    found = stats.accuracies(said[None, None], truth, np.arange(100), 100)
    assert found.balanced_by_seed.tolist() == [[100]]
    assert found.by_seed.tolist() == [[96]]


def test_one_of_exactly_five_in_a_hundred_is():
    assert stats.counted(np.repeat([0, 1], [95, 5])).tolist() == [0, 1]


def test_where_one_verdict_is_left_all_are_counted():
    truth = np.repeat([0, 1], [97, 3])
    assert stats.counted(truth).tolist() == [0, 1]
    assert stats.balanced_accuracy(np.zeros(100, dtype=int), truth) == 50
