"""Intervals against closed forms, coverage and negative controls."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from mdbench.scoring import stats


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
    half = 100 * 1.96 * math.sqrt(p * (1 - p) / n)  # 2.2 or 1.8; the percentiles of 2,000 resamples are good to 0.1
    assert interval.low == pytest.approx(100 * p - half, abs=0.25)
    assert interval.high == pytest.approx(100 * p + half, abs=0.25)


def test_cells_whose_rows_agree_count_as_one_row_each():
    cells = np.repeat(np.arange(400), 5)
    right = (cells < 200).astype(np.int8)
    interval = stats.accuracies(right[None, None], np.ones_like(right), cells, 400).intervals[0]
    half = 100 * 1.96 * math.sqrt(0.25 / 400)  # 400 independent cells, not 2,000 rows
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.06)


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


def test_two_copies_of_a_method_do_not_differ():
    pair = stats.Pair(np.zeros((5, 50)), np.arange(50) % 10, 10, "zoo")
    difference = stats.paired_difference([pair])
    assert (difference.estimate, difference.interval.low, difference.interval.high, difference.p) == (0, 0, 0, 1)


def test_methods_that_guess_alike_differ_significantly_one_time_in_twenty():
    rng = np.random.default_rng(3)
    cells = np.repeat(np.arange(80), 5)
    p = []
    for _ in range(400):
        gain = (rng.random((1, 400)) < 0.5).astype(float) - (rng.random((1, 400)) < 0.5)
        p.append(stats.paired_difference([stats.Pair(gain, cells, 80, "zoo")]).p)
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_a_real_difference_is_found():
    rng = np.random.default_rng(3)
    gain = (rng.random((1, 400)) < 0.8).astype(float) - (rng.random((1, 400)) < 0.6)
    difference = stats.paired_difference([stats.Pair(gain, np.repeat(np.arange(80), 5), 80, "zoo")])
    assert difference.interval.low > 0
    assert difference.p < 0.01


def test_cases_on_one_zoo_are_resampled_together():
    # The same rows asked twice are no more evidence than asked once; rows of another zoo are.
    rng = np.random.default_rng(5)
    gain, cells = rng.normal(size=(1, 300)), np.repeat(np.arange(60), 5)

    def width(*zoos: str) -> float:
        interval = stats.paired_difference([stats.Pair(gain, cells, 60, zoo) for zoo in zoos]).interval
        return interval.high - interval.low

    assert width("a", "a") == pytest.approx(width("a"))
    assert width("a", "b") == pytest.approx(width("a") / math.sqrt(2), rel=0.1)


@given(st.integers(1, 30), st.integers(0, 2**31))
def test_weights_are_draws_with_replacement(cells, seed):
    weights = stats.cell_weights(cells, 50, seed)
    assert weights.shape == (50, cells)
    assert (weights.sum(axis=1) == cells).all()
    assert (weights >= 0).all()


def coverage(sample_sd: float, cell_sd: float, samples: int = 5) -> tuple[float, float]:
    """Return how often intervals hold a mean of 0: those of both dimensions, and those of cells alone."""
    rng = np.random.default_rng(11)
    cells, both, alone = np.repeat(np.arange(60), 2), 0, 0
    for _ in range(600):
        values = rng.normal(0, sample_sd, (1, samples, 1)) + rng.normal(0, cell_sd, 60)[cells]
        (two_way,) = stats.mean_intervals(values, cells, 60)
        (one_way,) = stats.mean_intervals(values.mean(axis=1, keepdims=True), cells, 60)
        both, alone = both + (two_way.low <= 0 <= two_way.high), alone + (one_way.low <= 0 <= one_way.high)
    return both / 600, alone / 600


def test_intervals_hold_for_other_training_samples():
    # Means over samples and over cells vary alike: what knows of cells alone has 1 / √2 of the width that it needs.
    both, alone = coverage(sample_sd=1, cell_sd=math.sqrt(60 / 5))
    assert 0.91 <= both <= 0.97
    assert alone == pytest.approx(math.erf(1.96 / math.sqrt(2) / math.sqrt(2)), abs=0.04)  # 83 %
    # Samples are nearly all that varies: the normal quantile where Student's, of n − 1 degrees, would be right.
    for samples in (5, 12):
        both, alone = coverage(sample_sd=1, cell_sd=0.5, samples=samples)
        assert both == pytest.approx(1 - 2 * student.sf(1.96, samples - 1), abs=0.03)
        assert alone < 0.45
    # Cells are: nothing is lost.
    both, alone = coverage(sample_sd=0.02, cell_sd=1)
    assert both == pytest.approx(0.95, abs=0.025)


def test_seeds_that_agree_are_one():
    rng = np.random.default_rng(2)
    one, cells, truth = rng.integers(0, 2, (3, 1, 120)), rng.integers(0, 30, 120), rng.integers(0, 2, 120)
    once, often = (stats.accuracies(said, truth, cells, 30) for said in (one, one.repeat(5, axis=1)))
    for kind in ("intervals", "balanced_intervals"):
        for a, b in zip(getattr(once, kind), getattr(often, kind), strict=True):
            assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-9)


@given(st.integers(1, 8))
def test_sample_weights_give_the_variance_of_a_mean(samples):
    values = np.random.default_rng(samples).normal(size=samples)
    weights = stats.sample_weights(samples, 20000)
    assert weights.sum(axis=1) == pytest.approx(1)
    expected = values.var(ddof=1) / samples if samples > 1 else 0
    assert (weights @ values).var() == pytest.approx(expected, rel=0.05, abs=1e-12)


def test_cases_share_their_training_samples():
    # Five samples seen in two cases are five, also where the cases are of different zoos.
    rng = np.random.default_rng(5)
    gain, cells = rng.normal(size=(5, 1)).repeat(60, axis=1), np.arange(60)

    def width(*zoos: str) -> float:
        interval = stats.paired_difference([stats.Pair(gain, cells, 60, zoo) for zoo in zoos]).interval
        return interval.high - interval.low

    assert width("a", "b") == pytest.approx(width("a"))


def test_an_accuracy_has_one_interval():
    rng = np.random.default_rng(8)
    said, cells = rng.integers(0, 2, (1, 5, 90)), rng.integers(0, 40, 90)
    of_score = stats.accuracies(said, np.ones(90, dtype=int), cells, 40).intervals[0]
    assert stats.paired_difference([stats.Pair(said[0].astype(float), cells, 40, "zoo")]).interval.low == pytest.approx(
        of_score.low
    )


def test_a_resample_without_a_class_is_left_out_of_its_recall():
    truth = np.array([0] * 9 + [1], dtype=np.int8)
    found = stats.accuracies(truth[None, None].copy(), truth, np.arange(10), 10)
    assert found.balanced_intervals[0] == stats.Interval(100, 100)
