"""Means and their uncertainty against closed forms, SciPy's tests, coverage and negative controls."""

import numpy as np
import pytest
import scipy.stats
from scipy.stats import ttest_1samp, ttest_ind, ttest_rel

from mdbench.scoring.student import Draws, Means, mean_interval, mean_of, over_rows, over_zoos


def of_samples(by_sample, zoo="zoo"):
    """Return means over training samples, each of which says the same of every row; shape (k, samples)."""
    return over_rows(np.asarray(by_sample, dtype=float)[:, :, None].repeat(6, axis=2), np.arange(6), 6, zoo=zoo)


def of_cells(rows, cells=None, zoo="zoo", count=None):
    """Return means of one training sample, shape (k, rows); without cells, a row in each."""
    rows = np.asarray(rows, dtype=float)
    cells = np.arange(rows.shape[1]) if cells is None else cells
    return over_rows(rows[:, None], cells, count or cells.max() + 1, zoo=zoo)


# --- One mean -----------------------------------------------------------------------------------------------------------


def test_over_samples_it_is_students_interval():
    draws = np.random.default_rng(0).normal(3, 2, (4, 25))
    for mean, interval, row in zip(of_samples(draws).values, of_samples(draws).intervals(), draws, strict=True):
        assert mean == pytest.approx(row.mean())
        expected = tuple(ttest_1samp(row, 0).confidence_interval())
        assert (interval.low, interval.high) == pytest.approx(expected)
        assert (mean_interval(row).low, mean_interval(row).high) == pytest.approx(expected)
    assert np.isnan(mean_interval(np.array([1.0])).low)


def test_over_cells_of_a_row_each_it_is_students_interval_of_the_rows():
    rows = np.random.default_rng(0).normal(3, 2, (2, 40))
    for interval, row in zip(of_cells(rows).intervals(), rows, strict=True):
        assert (interval.low, interval.high) == pytest.approx(tuple(ttest_1samp(row, 0).confidence_interval()))


def test_over_cells_of_several_rows_it_is_the_linearised_ratio():
    # The error of a mean whose draws are whole clusters: that of the ratio of their sums to their sizes.
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 9, 30)
    cells = np.repeat(np.arange(30), sizes)
    rows = rng.normal(size=cells.size) + rng.normal(size=30)[cells]
    sums = np.bincount(cells, weights=rows)
    residuals = sums - rows.mean() * sizes
    expected = np.sqrt(30 / 29 * (residuals**2).sum()) / sizes.sum()
    error, degrees = of_cells(rows[None], cells, count=50).spread()  # 20 cells are not asked about
    assert error == pytest.approx([expected])
    assert degrees == pytest.approx([29])


def test_strata_have_the_same_weight_and_some_do_not_count():
    rng = np.random.default_rng(2)
    strata = np.array([0] * 50 + [1] * 10 + [-1] * 20)
    rows = rng.normal(size=(3, 5, 80))
    found = over_rows(rows, np.arange(80), 80, strata=strata)
    by_sample = (rows[:, :, :50].mean(axis=2) + rows[:, :, 50:60].mean(axis=2)) / 2
    assert found.values == pytest.approx(by_sample.mean(axis=1))
    assert found.spread()[0] == pytest.approx(by_sample.std(axis=1, ddof=1) / np.sqrt(5))
    one = over_rows(rows[:, :1], np.arange(80), 80, strata=strata)
    variance = [
        (((row[:50] - row[:50].mean()) / 100) ** 2).sum() + (((row[50:60] - row[50:60].mean()) / 20) ** 2).sum()
        for row in rows[:, 0]
    ]
    assert one.spread()[0] == pytest.approx(np.sqrt(60 / 59 * np.array(variance)))


def test_where_samples_change_nothing_cells_are_what_varies():
    rows = np.random.default_rng(0).normal(size=(2, 1, 40)).repeat(5, axis=1)
    expected = of_cells(rows[:, 0]).spread()
    assert over_rows(rows, np.arange(40), 40).spread()[0] == pytest.approx(expected[0])
    # One training sample several times is one, whatever a method that draws makes of it.
    rows = np.random.default_rng(0).normal(size=(2, 5, 40))
    alike = over_rows(rows, np.arange(40), 40, several=False)
    assert alike.spread()[0] == pytest.approx(of_cells(rows.mean(axis=1)).spread()[0])


def test_from_one_cell_nothing_follows():
    one = over_rows(np.array([[[1.0, 0.0]], [[1.0, 1.0]]]), np.zeros(2, dtype=int), 3)
    assert [(interval.low, interval.high) for interval in one.intervals()] == [(0.5, 0.5), (1, 1)]
    assert (one.p_of_pairs() == 1).all()


def test_what_is_shared_is_drawn_once():
    # The same rows, or the same samples, asked twice are no more evidence than asked once; those of another zoo are.
    draws = np.random.default_rng(5).normal(size=(3, 25))
    once = of_samples(draws)
    assert mean_of([once, of_samples(draws, "other")]).spread()[0] == pytest.approx(once.spread()[0])
    rows = np.random.default_rng(5).normal(size=(3, 25))
    once = of_cells(rows)
    assert mean_of([once, of_cells(rows)]).spread()[0] == pytest.approx(once.spread()[0])
    apart = mean_of([once, of_cells(rows, zoo="other")])
    assert apart.spread()[0] == pytest.approx(once.spread()[0] / np.sqrt(2))
    assert apart.spread()[1] == pytest.approx(2 * once.spread()[1])  # Welch's, of two equal variances


def test_cases_with_other_numbers_of_samples_have_welchs_degrees():
    draws = np.random.default_rng(0)
    a, b = draws.normal(1, 1, 5), draws.normal(2, 3, 25)
    difference, degrees = mean_of([of_samples(a[None]), of_samples(b[None])]).difference()
    expected = ttest_ind(a, -b, equal_var=False)  # the mean of both is half of their sum
    interval = expected.confidence_interval(0.95)
    assert degrees == pytest.approx(expected.df)
    assert difference.p == pytest.approx(expected.pvalue)
    assert (2 * difference.interval.low, 2 * difference.interval.high) == pytest.approx(tuple(interval))


def test_of_other_zoos_each_zoo_is_a_draw():
    draws = np.random.default_rng(3).normal(size=(2, 7, 25)) + np.arange(7)[:, None]
    whole = over_zoos([of_samples(draws[:, zoo], str(zoo)) for zoo in range(7)])
    assert whole.values == pytest.approx(draws.mean(axis=(1, 2)))
    for interval, by_zoo in zip(whole.intervals(), draws.mean(axis=2), strict=True):
        assert (interval.low, interval.high) == pytest.approx(tuple(ttest_1samp(by_zoo, 0).confidence_interval()))
    alone = over_zoos([of_samples(draws[:, 0])])
    assert alone.spread()[0] == pytest.approx(of_samples(draws[:, 0]).spread()[0])


def test_scaling_scales_the_error():
    draws = of_samples(np.random.default_rng(0).normal(size=(2, 5)))
    scaled = draws.scaled(-3, 7)
    assert scaled.values == pytest.approx(-3 * (draws.values - 7))
    assert scaled.spread()[0] == pytest.approx(3 * draws.spread()[0])


def test_intervals_stay_where_a_mean_can_be():
    (interval,) = of_samples([[100, 100, 100, 100, 60]]).intervals(0, 100)
    assert interval.high == 100
    assert 0 < interval.low < 92


# --- Pairs --------------------------------------------------------------------------------------------------------------


def test_pairs_are_tested_as_by_students_paired_test():
    draws = np.random.default_rng(4).normal(np.arange(4)[:, None] / 3, 1, (4, 25)) + np.random.default_rng(5).normal(
        0, 9, 25
    )
    p = of_samples(draws).p_of_pairs()
    for one in range(4):
        for other in range(4):
            expected = 1 if one == other else ttest_rel(draws[one], draws[other]).pvalue
            assert p[one, other] == pytest.approx(expected, rel=1e-6)
            difference, _ = of_samples((draws[one] - draws[other])[None]).difference()
            assert difference.p == pytest.approx(p[one, other])


def test_a_pair_that_samples_do_not_change_is_tested_over_cells():
    rows = np.random.default_rng(6).random((2, 1, 60)) < [[[0.8]], [[0.5]]]
    p = over_rows(rows.repeat(5, axis=1).astype(float), np.arange(60), 60).p_of_pairs()
    assert p[0, 1] == pytest.approx(ttest_rel(*rows[:, 0].astype(float)).pvalue)


def test_copies_do_not_differ_and_what_cannot_vary_does():
    kind = ("samples", 2)
    fixed = {kind: Draws(np.zeros((3, 2)), np.ones(2, dtype=bool))}
    p = Means(np.array([1.0, 1.0, 2.0]), fixed, fixed).p_of_pairs()
    assert p.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_what_others_do_says_nothing_of_two():
    draws = np.random.default_rng(7).normal(size=(12, 25))
    assert of_samples(draws).p_of_pairs()[:3, :3] == pytest.approx(of_samples(draws[:3]).p_of_pairs())
    some = of_samples(draws).of(np.array([5, 2]))
    assert some.p_of_pairs()[0, 1] == pytest.approx(of_samples(draws).p_of_pairs()[5, 2])


# --- Coverage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sample_sd", "samples"), [(1, 5), (0.3, 25)])
def test_intervals_hold_this_grids_mean_over_other_samples(sample_sd, samples):
    # The grid is one and the same: its cells vary, and are no part of what is left to chance.
    rng = np.random.default_rng(11)
    grid, held = rng.normal(0, 1, 60), 0
    for _ in range(1000):
        rows = grid + rng.normal(0, sample_sd, (1, samples, 1)) + rng.normal(0, 0.1, (1, samples, 60))
        (interval,) = over_rows(rows, np.arange(60), 60).intervals()
        held += interval.low <= grid.mean() <= interval.high
    assert scipy.stats.binomtest(held, 1000, 0.95).pvalue > 0.001


def test_intervals_hold_other_grids_mean_where_there_is_one_sample():
    rng, held = np.random.default_rng(7), 0
    cells = np.repeat(np.arange(60), 8)
    for _ in range(1000):
        skill = rng.beta(8, 4, size=60)  # cells differ, rows of one cell share its skill; mean 2/3
        right = (rng.random(480) < skill[cells]).astype(float)
        (interval,) = of_cells(right[None], cells).intervals()
        held += interval.low <= 2 / 3 <= interval.high
    assert scipy.stats.binomtest(held, 1000, 0.95).pvalue > 0.001


def test_methods_of_one_skill_differ_one_time_in_twenty():
    rng = np.random.default_rng(3)
    p = [of_samples(rng.normal(size=(2, 25))).p_of_pairs()[0, 1] for _ in range(2000)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.001
