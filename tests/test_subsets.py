"""Subsets against their definition."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdbench.errors import MdbenchError
from zoo_builder.specification.subsets import draw_subsets

AMOUNTS = st.integers(1, 300)
SEEDS = st.integers(0, 2**32)
FRACTIONS = st.one_of(st.integers(1, 100), st.decimals(1, 100, places=2).map(float))
NOISES = st.one_of(st.integers(0, 100), st.decimals(0, 100, places=3).map(float))


def drawn(amount, seed, classes=5):
    labels = np.random.default_rng(seed).integers(0, classes, amount)
    return labels, draw_subsets(labels, classes, seed)


@given(AMOUNTS, SEEDS, st.integers(2, 12))
def test_the_order_is_a_permutation_and_wrong_labels_are_wrong(amount, seed, classes):
    labels, subsets = drawn(amount, seed, classes)
    assert sorted(subsets.order) == list(range(amount))
    assert subsets.order.dtype == np.int32
    assert subsets.wrong_labels.dtype == np.int64
    assert not (subsets.wrong_labels == labels).any()
    assert set(subsets.wrong_labels) <= set(range(classes))
    again = draw_subsets(labels, classes, seed)
    np.testing.assert_array_equal(again.order, subsets.order)
    np.testing.assert_array_equal(again.wrong_labels, subsets.wrong_labels)


def test_wrong_labels_are_uniform_over_the_others_and_independent_of_the_order():
    labels = np.repeat(np.arange(4), 3000)
    subsets = draw_subsets(labels, 4, 1)
    for label in range(4):
        counts = np.bincount(subsets.wrong_labels[labels == label], minlength=4)
        assert counts[label] == 0
        assert (np.abs(np.delete(counts, label) - 1000) < 5 * math.sqrt(3000 * 2 / 9)).all()
    assert abs(np.corrcoef(subsets.order, subsets.wrong_labels)[0, 1]) < 5 / math.sqrt(12000)
    assert (subsets.order != draw_subsets(labels, 4, 2).order).any()


@given(AMOUNTS, SEEDS, FRACTIONS, FRACTIONS)
def test_smaller_fractions_lie_inside_larger_ones(amount, seed, one, other):
    _, subsets = drawn(amount, seed)
    less, more = sorted((one, other))
    if round(Fraction(str(less)) * amount / 100) == 0:
        with pytest.raises(MdbenchError, match="is none of them"):
            subsets.examples(less)
        return
    assert len(subsets.examples(more)) == subsets.amount(more) == round(Fraction(str(more)) * amount / 100)
    assert set(subsets.examples(less)) <= set(subsets.examples(more))
    assert set(subsets.examples(100)) == set(range(amount))


@given(AMOUNTS, SEEDS, FRACTIONS, NOISES)
def test_wrong_labels_are_where_the_definition_puts_them(amount, seed, fraction, noise):
    labels, subsets = drawn(amount, seed)
    used = round(Fraction(str(fraction)) * amount / 100)
    if used == 0:
        return
    p = Fraction(str(noise)) / 100
    expected = [subsets.order[j] for j in range(used) if math.floor((j + 1) * p) > math.floor(j * p)]
    wrong = subsets.corrupted(fraction, noise)
    assert wrong.tolist() == expected
    assert len(wrong) == math.floor(used * p)
    assert set(wrong) == set(subsets.corrupted(100, noise)) & set(subsets.examples(fraction))

    noisy = subsets.labels(labels, noise)
    assert set(np.flatnonzero(noisy != labels)) == set(subsets.corrupted(100, noise))
    assert noisy.dtype == np.int64


def test_ten_percent_is_every_tenth_and_none_is_none():
    labels, subsets = drawn(1000, 0)
    assert subsets.corrupted(100, 10).tolist() == subsets.order[9::10].tolist()
    assert subsets.corrupted(100, 0.1).tolist() == [subsets.order[999]]
    assert subsets.corrupted(50, np.float64(10)).tolist() == subsets.order[9:500:10].tolist()
    assert subsets.corrupted(100, 0).tolist() == []
    np.testing.assert_array_equal(subsets.labels(labels, 0), labels)
    np.testing.assert_array_equal(subsets.labels(labels, 100), subsets.wrong_labels)


def test_subsets_do_not_change_from_one_version_to_the_next():
    """Which labels were wrong in a published zoo is answered by drawing again: NumPy's streams must stay what they are."""
    subsets = draw_subsets(np.arange(12) % 4, 4, 2024)
    assert subsets.order.tolist() == [9, 10, 4, 6, 5, 3, 1, 2, 11, 7, 0, 8]
    assert subsets.wrong_labels.tolist() == [1, 2, 0, 1, 3, 2, 3, 1, 2, 2, 0, 2]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.zeros(3, int), 1, "there are 1 classes"),
        (np.zeros(0, int), 2, r"labels are int64 of shape \(0,\)"),
        (np.zeros((3, 1), int), 2, r"of shape \(3, 1\)"),
        (np.zeros(3), 2, "labels are float64"),
        (np.array([0, 2]), 2, "labels are 0 to 2; of 2 classes, they are 0 to 1"),
        (np.array([-1, 1]), 2, "labels are -1 to 1"),
    ],
)
def test_labels_that_cannot_be(labels, classes, message):
    with pytest.raises(MdbenchError, match=message):
        draw_subsets(labels, classes, 0)


def test_percentages_that_cannot_be():
    labels, subsets = drawn(100, 0)
    for bad in (-1, 100.5, 1e9):
        with pytest.raises(MdbenchError, match=r"data fraction .* is not between 0 and 100 %"):
            subsets.examples(bad)
        with pytest.raises(MdbenchError, match=r"noise .* is not between 0 and 100 %"):
            subsets.corrupted(100, bad)
    with pytest.raises(MdbenchError, match="noise nan is not a number of percent"):
        subsets.labels(labels, math.nan)
    with pytest.raises(MdbenchError, match="none of them"):
        subsets.amount(0)


def test_labels_of_other_data_are_refused():
    labels, subsets = drawn(100, 0)
    for other in (labels[:50], subsets.wrong_labels):
        with pytest.raises(MdbenchError, match="not the labels that wrong ones were drawn for"):
            subsets.labels(other, 10)
