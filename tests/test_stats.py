"""Intervals against closed forms, coverage and negative controls."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from mdbench.scoring import stats
from mdbench.scoring.student import Interval


@given(st.integers(1, 4), st.integers(1, 40), st.integers(2, 4), st.randoms(use_true_random=False))
def test_scores_equal_scikit_learns(seeds, rows, classes, random):
    rng = np.random.default_rng(random.getrandbits(32))
    truth, said = rng.integers(0, classes, rows), rng.integers(0, classes, (1, seeds, rows))
    found = stats.accuracies(said, truth, np.arange(rows), rows)
    for seed in range(seeds):
        assert found.by_seed[0, seed] == pytest.approx(100 * accuracy_score(truth, said[0, seed]))
        recalls = [np.mean(said[0, seed][truth == c] == c) for c in np.unique(truth)]
        assert found.balanced_by_seed[0, seed] == pytest.approx(100 * np.mean(recalls))
        if len(set(truth)) > 1 and set(said[0, seed]) <= set(truth):  # scikit-learn warns otherwise
            assert found.balanced_by_seed[0, seed] == pytest.approx(100 * balanced_accuracy_score(truth, said[0, seed]))


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_with_rows_for_cells_the_interval_is_the_binomial_one(p):
    n = 2000
    right = np.arange(n) < p * n
    right = right[None, None].astype(np.int8)
    interval = stats.accuracies(right, np.ones(n, dtype=np.int8), np.arange(n), n).intervals[0]
    half = 100 * 1.96 * math.sqrt(p * (1 - p) / n)
    assert interval.low == pytest.approx(100 * p - half, abs=0.01)
    assert interval.high == pytest.approx(100 * p + half, abs=0.01)


def test_cells_whose_rows_agree_count_as_one_row_each():
    cells = np.repeat(np.arange(400), 5)
    right = (cells < 200).astype(np.int8)
    interval = stats.accuracies(right[None, None], np.ones_like(right), cells, 400).intervals[0]
    half = 100 * 1.96 * math.sqrt(0.25 / 400)  # 400 independent cells, not 2,000 rows
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.01)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        skill = rng.beta(8, 4, size=60)  # cells differ, rows of one cell share its skill; mean 2/3
        cells = np.repeat(np.arange(60), 8)
        right = (rng.random(480) < skill[cells]).astype(np.int8)
        interval = stats.accuracies(right[None, None], np.ones_like(right), cells, 60).intervals[0]
        covered += interval.low <= 100 * 2 / 3 <= interval.high
    assert 0.91 <= covered / 400 <= 0.98


def test_where_all_cells_agree_the_interval_is_a_point():
    truth = np.array([0] * 9 + [1], dtype=np.int8)
    found = stats.accuracies(truth[None, None].copy(), truth, np.arange(10), 10)
    assert found.intervals[0] == found.balanced_intervals[0] == Interval(100, 100)


def test_above_chance_is_scikit_learns_adjusted_balanced_accuracy():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 200)
    said = np.where(rng.random((2, 5, 200)) < 0.4, truth, rng.integers(0, 3, (2, 5, 200)))
    means = stats.means_above_chance(said == truth, truth, np.arange(200), 200, zoo="zoo", several=True)
    for one, mean in zip(said, means.values, strict=True):
        expected = np.mean([balanced_accuracy_score(truth, by_sample, adjusted=True) for by_sample in one])
        assert mean == pytest.approx(100 * expected)
    rare = np.where(np.arange(200) < 9, 1, 0)
    assert stats.means_above_chance(said == rare, rare, np.arange(200), 200, zoo="zoo", several=True) is None
