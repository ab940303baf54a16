"""Rankings against closed forms, other libraries and negative controls."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, ttest_1samp, ttest_rel

from leaderboard.ranking import ranking
from leaderboard.ranking.ranking import Tally, letters, rank
from mdbench.scoring import stats

CELLS = 40


def tally(right, names=None, cells=None, count=None, zoo="zoo", several=True, unseen=False):
    """Return a tally of boolean (methods, seeds, rows); without cells, four rows in each, of two verdicts by turns."""
    right = np.asarray(right)
    truth = np.arange(right.shape[2]) % 2
    cells = np.arange(right.shape[2]) // 4 if cells is None else cells
    names = names or [f"m{number}" for number in range(len(right))]
    said = np.where(right, truth, 1 - truth)
    return Tally.of(names, said, truth, cells, count or cells.max() + 1, zoo, several=several, unseen=unseen)


def guesses(rng, methods=4, seeds=5, rows=4 * CELLS, skill=0.6, unsteady=0.0):
    """Return answers right as often as `skill`, which is another in each cell, and for each method in each seed."""
    cell = rng.normal(0, 0.1, rows // 4).repeat(4)
    return rng.random((methods, seeds, rows)) < skill + cell + unsteady * rng.normal(size=(methods, seeds, 1))


# --- The numbers ----------------------------------------------------------------------------------------------------------


def test_scores_are_adjusted_balanced_accuracy_and_intervals_students():
    rng = np.random.default_rng(1)
    asked = [guesses(rng, rows=rows, unsteady=0.1) for rows in (60, 80, 52)]
    found = rank([tally(right, count=40) for right in asked])
    by_case = [[2 * (r[:, :, ::2].mean(axis=2) + r[:, :, 1::2].mean(axis=2)) / 2 - 1] for r in asked]
    by_sample = np.mean(by_case, axis=0)[0]
    for place, name in enumerate(found.methods):
        mine = 100 * by_sample[int(name[1:])]
        assert found.scores[place] == pytest.approx(mine.mean())
        interval = ttest_1samp(mine, 0).confidence_interval()
        assert (found.intervals[place].low, found.intervals[place].high) == pytest.approx(tuple(interval))
    assert list(found.scores) == sorted(found.scores, reverse=True)


def test_of_unseen_zoos_each_has_the_same_weight_and_is_a_draw():
    rng = np.random.default_rng(1)
    right = [guesses(rng, methods=2, skill=one) for one in (0.6, 0.7, 0.8, 0.9)]
    zoos = "abbc"
    found = rank([tally(one, zoo=zoo, unseen=True) for one, zoo in zip(right, zoos, strict=True)])
    by_case = [200 * one.mean(axis=(1, 2)) - 100 for one in right]
    by_zoo = np.stack([by_case[0], (by_case[1] + by_case[2]) / 2, by_case[3]], axis=1)
    for place, name in enumerate(found.methods):
        mine = by_zoo[int(name[1:])]
        assert found.scores[place] == pytest.approx(mine.mean())
        low, high = ttest_1samp(mine, 0).confidence_interval()
        assert (found.intervals[place].low, found.intervals[place].high) == pytest.approx((low, min(high, 100)))
    assert found.p[0, 1] == pytest.approx(ttest_rel(*by_zoo).pvalue)


def test_where_nobody_can_be_above_chance_there_is_no_tally():
    truth = np.array([0] * 97 + [1] * 3)
    assert Tally.of(["m0"], np.zeros((1, 5, 100)), truth, np.arange(100), 100, "zoo") is None


# --- Ranks --------------------------------------------------------------------------------------------------------------


def counted(*cases, rows=10):
    """Return tallies where methods are right on these numbers of pairs of rows, one tally a case."""
    return [
        tally([[np.arange(2 * rows) // 2 < one] for one in case], cells=np.arange(2 * rows) // 2, several=False)
        for case in cases
    ]


def test_equal_scores_share_the_mean_rank():
    found = rank(counted((9, 5, 5, 1), (7, 7, 7, 2), (3, 8, 1, 0)))
    ranks = dict(zip(found.methods, found.average_ranks, strict=True))
    assert ranks == pytest.approx({"m0": (1 + 2 + 2) / 3, "m1": (2.5 + 2 + 1) / 3, "m2": (2.5 + 2 + 3) / 3, "m3": 4})
    assert found.methods == ("m1", "m0", "m2", "m3")
    assert found.scores.tolist() == pytest.approx([100 / 3, 80 / 3, -40 / 3, -80])


def test_equal_means_stand_in_the_order_of_their_ranks_then_of_their_names():
    found = rank(counted((5, 4, 6, 5), (5, 9, 3, 5), (5, 2, 6, 5)))
    assert found.methods == ("m2", "m0", "m3", "m1")  # all 50 %; m2 is first twice, m1 last twice


def test_the_better_mean_stands_first_however_little_and_whatever_its_ranks():
    assert rank(counted((149, 155), (150, 149), (150, 149), rows=300)).methods == ("m1", "m0")


def test_only_methods_that_answer_every_case_are_ranked():
    some, all_of_them = counted((5, 6), (1, 2, 3))
    assert set(rank([some, all_of_them]).methods) == {"m0", "m1"}
    assert set(rank([all_of_them]).methods) == {"m0", "m1", "m2"}


def test_the_order_in_which_methods_and_cases_are_given_is_of_no_account():
    rng = np.random.default_rng(4)
    answers = [guesses(rng, methods=6, unsteady=0.05) for _ in range(3)]
    answers[0][5] = answers[0][2]
    names, other = [f"m{number}" for number in range(6)], rng.permutation(6)
    one = rank([tally(right, names, zoo=zoo) for right, zoo in zip(answers, "aba", strict=True)])
    shuffled = [tally(right[other], [names[i] for i in other], zoo=z) for right, z in zip(answers, "aba", strict=True)]
    two = rank([shuffled[place] for place in (2, 0, 1)])
    assert one.methods == two.methods
    assert one.groups == two.groups
    assert one.places.tolist() == two.places.tolist()
    for name in ("scores", "average_ranks", "p", "first_over_rows"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-9)
    assert [vars(interval) for interval in one.intervals] == [
        pytest.approx(vars(interval), abs=1e-9) for interval in two.intervals
    ]


@pytest.mark.parametrize(("seeds", "rows"), [(1, 80), (5, 4), (1, 4)])
def test_little_to_go_by(seeds, rows):
    # One method, one case; one seed; one cell, from which nothing follows for others.
    right = np.ones((2, seeds, rows), dtype=bool)
    right[1, :, 1::4] = right[1, :, 2::4] = False
    alone, both = rank([tally(right[:1])]), rank([tally(right)])
    assert (alone.methods, alone.places.tolist(), alone.groups) == (("m0",), [1], ("a",))
    assert (alone.first_over_rows.tolist(), alone.first_over_cases.tolist()) == ([1], [1])
    assert both.scores.tolist() == [100, 0]
    assert both.places.tolist() == [1, 2]
    assert both.groups == (("a", "a") if rows == 4 else ("a", "b"))


# --- Who is told apart --------------------------------------------------------------------------------------------------


def test_what_others_do_says_nothing_of_two():
    # Ten that say the same of everything after each sample, as junk does, beside seven that differ.
    rng = np.random.default_rng(0)
    names = [f"m{at}" for at in range(17)]
    real = rng.random((7, 25, 4 * CELLS)) < np.linspace(0.55, 0.8, 7)[:, None, None]
    junk = np.broadcast_to(rng.random((10, 25, 1)) < 0.5, (10, 25, 4 * CELLS))
    few, many = rank([tally(real, names[:7])]), rank([tally(np.concatenate([real, junk]), names)])
    at = [many.methods.index(name) for name in few.methods]
    np.testing.assert_allclose(many.alone[np.ix_(at, at)], few.alone, rtol=1e-6)
    assert (few.p <= 0.05).any()
    assert ((many.p[np.ix_(at, at)] <= 0.05) & (few.p <= 0.05)).any()


def test_where_rows_alone_vary_the_pair_is_tested_as_by_students_paired_test():
    row = np.arange(400)
    right = np.stack([row < 280, (row >= 60) & (row < 318)])[:, None]  # 60 rows for one alone, 38 for the other
    found = rank([tally(right, cells=np.arange(400))])
    expected = ttest_rel(right[0, 0].astype(float), right[1, 0].astype(float)).pvalue
    assert 0.001 < expected < 0.2
    assert found.p[0, 1] == pytest.approx(
        expected, rel=1e-3
    )  # the verdicts are as many, and right as often but for one row


def test_where_seeds_alone_vary_the_pair_is_tested_as_by_students_paired_test_of_five():
    # Every cell says the same: how many of its ten rows of each verdict are right.
    counts = np.array([[6, 8, 7, 9, 7], [5, 6, 6, 7, 6]])
    right = np.tile(np.arange(20) // 2 < counts[:, :, None], (1, 1, 30))
    found = rank([tally(right, cells=np.repeat(np.arange(30), 20))])
    expected = ttest_rel(*counts).pvalue
    assert 0.001 < expected < 0.05
    assert found.p[0, 1] == pytest.approx(expected)


def test_a_case_asked_twice_is_no_more_evidence():
    # One draw of cells and of samples serves both.
    rng = np.random.default_rng(8)
    one, two = (tally(guesses(rng, skill=np.linspace(0.5, 0.9, 4)[:, None, None], unsteady=0.05)) for _ in range(2))
    once, twice = rank([one]), rank([one, one])
    assert twice.p == pytest.approx(once.p, rel=1e-6)
    assert (once.p < 0.5).any()
    assert not np.allclose(rank([one, two]).p, once.p)


def test_two_copies_of_a_method_tie():
    rng = np.random.default_rng(2)
    answers = [guesses(rng, methods=9, unsteady=0.1), guesses(rng, methods=9)]
    for right in answers:
        right[7] = right[3]
        right[8] = right[3]
    found = rank([tally(right, zoo=zoo) for right, zoo in zip(answers, "ab", strict=True)])
    here = [found.methods.index(name) for name in ("m3", "m7", "m8")]
    assert here == list(range(here[0], here[0] + 3))
    for values in (
        found.scores,
        found.average_ranks,
        found.places,
        found.groups,
        found.first_over_rows,
        found.first_over_cases,
        [(interval.low, interval.high) for interval in found.intervals],
    ):
        assert len({values[place] for place in here}) == 1  # to the last bit
    assert (found.p[np.ix_(here, here)] == 1).all()


def test_copies_share_the_first_place():
    right = np.zeros((4, 5, 60), dtype=bool)
    right[:3, :, :48] = True
    found = rank([tally(right), tally(right)])
    assert found.first_over_rows.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert found.first_over_cases.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert found.average_ranks.tolist() == [2, 2, 2, 4]
    assert found.places.tolist() == [1, 1, 1, 4]
    assert found.groups == ("a", "a", "a", "b")


@pytest.mark.parametrize(
    "unsteady",
    [0.0, 0.02, 0.15, np.where(np.arange(12) < 3, 0.15, 0)[:, None, None]],
    ids=["rows", "rows and seeds", "seeds", "seeds for some methods"],
)
def test_methods_of_one_skill_are_told_apart_on_one_board_in_twenty(unsteady):
    # What varies is said above; 66 pairs a board, 150 boards.
    rng = np.random.default_rng(6)
    wrong, boards, ranks = 0, 150, np.zeros(12)
    for _ in range(boards):
        found = rank([tally(guesses(rng, methods=12, seeds=25, unsteady=unsteady))])  # as many as cases have
        wrong += (found.p <= 0.05).any()
        ranks += [found.average_ranks[found.methods.index(f"m{number}")] for number in range(12)]
    assert wrong <= binom.isf(0.001, boards, 0.05)
    # Ranks are random: their means are 6.5, with the standard error of a uniform rank.
    assert ranks / boards == pytest.approx(np.full(12, 6.5), abs=4 * np.sqrt((12**2 - 1) / 12 / boards))


def test_against_shuffled_labels_every_method_is_random():
    rng = np.random.default_rng(9)
    rows, truth = 300, rng.integers(0, 2, 300)
    skill = np.linspace(0.5, 1, 8)[:, None, None]
    said = np.where(rng.random((8, 5, rows)) < skill, truth, 1 - truth)
    names, cells = [f"m{number}" for number in range(8)], np.arange(rows) // 5
    true, shuffled = (Tally.of(names, said, labels, cells, 60, "zoo") for labels in (truth, rng.permutation(truth)))
    found = rank([true])
    assert found.methods == tuple(reversed(names))
    assert found.p[0, -1] <= 0.05
    by_chance = rank([shuffled])
    assert (by_chance.p > 0.05).all()
    assert set(by_chance.groups) == {"a"}
    assert by_chance.scores == pytest.approx(np.zeros(8), abs=24)


def test_a_better_method_is_first_and_told_apart():
    rng = np.random.default_rng(4)
    answers = [guesses(rng, methods=10, seeds=25, unsteady=0.02) for _ in range(3)]
    for right in answers:
        right[4] |= rng.random(right[4].shape) < 0.8
    found = rank([tally(right, zoo=zoo) for right, zoo in zip(answers, "abc", strict=True)])
    assert found.methods[0] == "m4"
    assert found.places[:2].tolist() == [1, 2]
    assert found.groups == ("a",) + ("b",) * 9
    assert found.first_over_rows[0] == found.first_over_cases[0] == 1


def test_many_methods_can_be_told_apart():
    # 30 methods are 435 pairs: more than 2,000 resamples could tell apart by counting them.
    rng = np.random.default_rng(3)
    right = np.concatenate(
        [guesses(rng, methods=15, skill=one, rows=240, unsteady=0.02, seeds=25) for one in (0.3, 0.8)]
    )
    found = rank([tally(right)])
    assert (found.p[:15, 15:] <= 0.05).all()
    assert set(found.groups[:15]).isdisjoint(found.groups[15:])


def test_places_count_the_better_ones():
    rng = np.random.default_rng(5)
    right = np.concatenate([guesses(rng, methods=2, skill=one, unsteady=0.05) for one in np.linspace(0.3, 0.8, 6)])
    found = rank([tally(right)])
    for one, place in enumerate(found.places):
        assert place == 1 + sum(found.scores > found.scores[one])
    assert (found.p == found.p.T).all()
    assert (found.p.diagonal() == 1).all()


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=7))
def test_holm_is_bonferroni_closed(p):
    # A hypothesis is rejected when Bonferroni's test rejects every intersection that it is part of.
    expected = [
        max(
            min(1, size * min(p[other] for other in some))
            for size in range(1, len(p) + 1)
            for some in combinations(range(len(p)), size)
            if one in some
        )
        for one in range(len(p))
    ]
    found = stats.holm(np.array(p))
    assert found.tolist() == pytest.approx(expected)
    assert (found >= p).all()
    order = np.argsort(p)
    assert (np.diff(found[order]) >= 0).all()


def test_holm_by_hand():
    assert stats.holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


# --- Letters ------------------------------------------------------------------------------------------------------------


@st.composite
def separations(draw):
    """Return which pairs are told apart: symmetric, of up to nine methods."""
    count = draw(st.integers(1, 9))
    upper = np.triu(
        np.array(draw(st.lists(st.booleans(), min_size=count**2, max_size=count**2))).reshape(count, count), 1
    )
    return upper | upper.T


def members(groups):
    """Return letter → who has it."""
    every = sorted({letter for text in groups for letter in text.split()}, key=lambda text: (len(text), text))
    return {letter: [one for one, text in enumerate(groups) if letter in text.split()] for letter in every}


@given(separations())
def test_two_share_a_letter_if_and_only_if_they_are_not_told_apart(apart):
    groups = letters(apart)
    for one, other in combinations(range(len(apart)), 2):
        assert bool(set(groups[one].split()) & set(groups[other].split())) == (not apart[one, other])
    assert all(groups)
    for mine in members(groups).values():
        outside = set(range(len(apart))) - set(mine)
        assert all(apart[one, mine].any() for one in outside)  # nobody could join


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(0, 10))
def test_with_one_critical_difference_groups_are_the_bars_of_its_diagram(ranks, critical):
    ranks = np.sort(ranks)
    groups = members(letters(np.abs(ranks[:, None] - ranks) > critical))
    ends = [int(np.searchsorted(ranks, one + critical, side="right")) for one in ranks]
    bars = [(one, end) for one, end in enumerate(ends) if one == 0 or end > ends[one - 1]]
    assert list(groups.values()) == [list(range(one, end)) for one, end in bars]
    assert list(groups) == [ranking._letter(number) for number in range(len(bars))]


@given(separations())
def test_where_letters_do_not_suffice_groups_are_stretches(apart):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "MOST_GROUPS", 0)
        groups = letters(apart)
    found = list(members(groups).values())
    assert all(groups)
    for mine in found:
        assert mine == list(range(mine[0], mine[-1] + 1))
        assert not apart[np.ix_(mine, mine)].any()
        for more in ([mine[0] - 1, *mine], [*mine, mine[-1] + 1]):
            assert more[0] < 0 or more[-1] == len(apart) or apart[np.ix_(more, more)].any()
    assert len(found) <= len(apart)


def test_letters_go_on_after_z():
    groups = letters(~np.eye(30, dtype=bool))
    assert groups == (*"abcdefghijklmnopqrstuvwxyz", "aa", "ab", "ac", "ad")
    assert ranking._letter(26 + 26**2) == "aaa"


# --- How steady the first place is --------------------------------------------------------------------------------------


def test_who_leads_in_every_cell_leads_in_every_half():
    right = np.zeros((2, 1, 40), dtype=bool)
    right[0], right[1, :, ::4], right[1, :, 1::4] = True, True, True
    found = rank([tally(right)])
    assert found.first_over_rows.tolist() == [1, 0]


def test_who_leads_by_one_cell_leads_where_it_is_drawn():
    # Two of twelve cells decide, for one method each: a half of six holds both or neither (a draw) in 5 + 5 of 22 cases.
    right = np.zeros((2, 3, 24), dtype=bool)
    cells = np.arange(24) // 2
    right[0, :, :2] = right[1, :, 2:4] = True
    found = rank([tally(right, cells=cells, count=20)])
    assert found.first_over_rows == pytest.approx([0.5, 0.5], abs=4 * 0.5 / np.sqrt(ranking.HALVES))
    right[0, :, 4:6] = True  # alone with two of three: behind in those halves that hold the other's cell alone, 3 in 22
    drawn = [set(some) for some in combinations(range(12), 6)]
    leads = [(len(some & {0, 2}), len(some & {1})) for some in drawn]
    expected = np.mean([(a > b) + (a == b) / 2 for a, b in leads])
    found = rank([tally(right, cells=cells, count=20)])
    assert found.first_over_rows[0] == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(ranking.HALVES))


def test_who_leads_in_some_cases_leads_in_halves_of_them():
    # Of five cases a half is three: m0 leads where it wins two of them or more.
    found = rank(counted((6, 4), (6, 4), (6, 4), (4, 6), (4, 6)))
    halves = [sum(case < 3 for case in some) for some in combinations(range(5), 3)]
    expected = np.mean([wins >= 2 for wins in halves])
    assert found.first_over_cases[0] == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(ranking.HALVES))
    assert found.first_over_cases.sum() == pytest.approx(1)
    assert rank(counted((6, 4))).first_over_cases.tolist() == [1, 0]


def test_cases_in_the_same_cells_are_halved_alike():
    rng = np.random.default_rng(7)
    one, two = (tally(guesses(rng, rows=4 * CELLS), zoo="zoo") for _ in range(2))
    where = one.halves(0)[:, 0], two.halves(0)[:, 0]
    flat = tally(np.arange(4 * CELLS)[None, None] < 4 * 13, zoo="zoo").halves(
        0
    )  # the first 13 cells: which half it was
    assert where[0].shape == where[1].shape
    assert flat.std() > 0
    assert (tally(np.arange(4 * CELLS)[None, None] < 4 * 13, zoo="other").halves(0) == flat).all()
    assert not (tally(np.arange(4 * CELLS)[None, None] < 4 * 13, zoo="zoo").halves(1) == flat).all()
