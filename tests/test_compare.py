import numpy as np
import pytest

import mdbench
from mdbench.errors import MdbenchError
from mdbench.scoring.comparison import compare

CASES = ("cifar10/optimizer/few-shot/3", "cifar10/width_vs_optimizer/few-shot/2")
pytestmark = pytest.mark.usefixtures("toy_home")


def test_differences_are_those_of_the_scores():
    found = compare("md_tree", "majority", CASES)
    result = mdbench.evaluate(["md_tree", "majority"], CASES)
    for one in found.cases:
        a, b = (result.score(name, one.case).accuracy for name in ("md_tree", "majority"))
        assert (one.a, one.b) == pytest.approx((a, b))
        assert one.difference.estimate == pytest.approx(a - b)
        assert one.difference.interval.low <= a - b <= one.difference.interval.high
    assert found.overall.difference.estimate == pytest.approx(np.mean([one.a - one.b for one in found.cases]))


def test_turned_round_it_is_the_negative():
    one, other = compare("md_tree", "validation_tree", CASES), compare("validation_tree", "md_tree", CASES)
    for mine, theirs in zip((*one.cases, one.overall), (*other.cases, other.overall), strict=True):
        assert mine.difference.estimate == pytest.approx(-theirs.difference.estimate)
        assert mine.difference.interval.low == pytest.approx(-theirs.difference.interval.high, abs=0.3)
        assert mine.difference.p == theirs.difference.p


def test_two_copies_tie(method_file):
    text = "columns = ['train_error']\nclass M:\n    def fit(self, m, l): self.l = l.mode()[0]\n    def predict(self, m): return [self.l] * len(m)\n"
    a, b = method_file(text, "a.py"), method_file(text, "b.py")
    assert compare(str(a), str(b), CASES).overall.difference.p == 1


def test_cases_that_one_does_not_answer_are_left_out():
    assert [one.case for one in compare("md_tree", "barrier_rule", CASES).cases] == [CASES[0]]
    with pytest.raises(MdbenchError, match="no case that both md_tree and barrier_rule answer"):
        compare("md_tree", "barrier_rule", CASES[1])


def test_one_method_is_not_two(method_file):
    with pytest.raises(MdbenchError, match="md_tree and md_tree are the same method"):
        compare("md_tree", "md_tree", CASES)
    with pytest.raises(MdbenchError, match="syntax error"):
        compare("md_tree", str(method_file("def f(:")), CASES)
