from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from typer.testing import CliRunner

import mdbench
from mdbench.cases.cases import load_cases
from mdbench.cli import app
from mdbench.errors import MdbenchError
from mdbench.scoring.comparison import compare

CASES = ("cifar10/optimizer/few-shot/3", "cifar10/width_vs_optimizer/few-shot/2")
pytestmark = pytest.mark.usefixtures("toy_home")


@pytest.mark.parametrize("accuracy", [False, True])
def test_differences_are_those_of_the_scores(accuracy):
    found = compare("md_tree", "majority", CASES, accuracy=accuracy)
    assert found.measure == ("accuracy" if accuracy else "above chance")
    result = mdbench.evaluate(["md_tree", "majority"], CASES)
    for one in found.cases:
        scores = [result.score(name, one.case) for name in ("md_tree", "majority")]
        a, b = (score.accuracy if accuracy else score.above_chance for score in scores)
        assert (one.a, one.b) == pytest.approx((a, b))
        assert one.difference.estimate == pytest.approx(a - b)
        assert one.difference.interval.low <= a - b <= one.difference.interval.high
    assert found.overall.difference.estimate == pytest.approx(np.mean([one.a - one.b for one in found.cases]))


def test_turned_round_it_is_the_negative():
    one, other = compare("md_tree", "validation_tree", CASES), compare("validation_tree", "md_tree", CASES)
    for mine, theirs in zip((*one.cases, one.overall), (*other.cases, other.overall), strict=True):
        assert mine.difference.estimate == pytest.approx(-theirs.difference.estimate)
        assert mine.difference.interval.low == pytest.approx(-theirs.difference.interval.high, abs=0.3)
        assert mine.difference.p == pytest.approx(theirs.difference.p)


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


@pytest.mark.parametrize("accuracy", [False, True])
def test_interval_and_p_are_those_of_the_paired_t_test(accuracy, tmp_path):
    """Scores anew from the predictions, by scikit-learn; no verdict is rare in these cases."""
    found = compare("md_tree", "validation_tree", CASES, accuracy=accuracy)
    asked = ["md_tree", "validation_tree", "--cases", ",".join(CASES), "--out", str(tmp_path), "--workers", "0"]
    assert CliRunner().invoke(app, ["evaluate", *asked, "--beside", ""]).exit_code == 0
    score = accuracy_score if accuracy else partial(balanced_accuracy_score, adjusted=True)
    said = pd.read_parquet(tmp_path / "predictions.parquet").groupby(["method", "case", "seed"], observed=True)
    scores = said.apply(lambda one: 100 * score(one["true"].astype(str), one["predicted"].astype(str)))
    by_seed = [[scores[name, case].to_numpy() for case in CASES] for name in ("md_tree", "validation_tree")]
    overall = np.mean(by_seed, axis=1)
    for one, a, b in zip(
        (*found.cases, found.overall), (*by_seed[0], overall[0]), (*by_seed[1], overall[1]), strict=True
    ):
        expected = stats.ttest_rel(a, b)
        interval = expected.confidence_interval(0.95)
        assert one.degrees == pytest.approx(expected.df)
        assert one.difference.p == pytest.approx(expected.pvalue)
        assert (one.difference.interval.low, one.difference.interval.high) == pytest.approx(tuple(interval))


def test_the_command_says_what_it_is_about(method_file):
    text = "columns = ['train_error']\nclass M:\n    def fit(self, m, l): pass\n    def predict(self, m): return ['{}'] * len(m)\n"
    constant = [method_file(text.format(f"temperature_too_{one}"), f"{one}.py") for one in ("low", "high")]
    ran = CliRunner().invoke(app, ["compare", *map(str, constant), "--cases", CASES[0], "--workers", "0", "--accuracy"])
    assert ran.exit_code == 0, ran.output
    said = " ".join(ran.output.split())
    test = mdbench.evaluate("majority", CASES[0]).cases[0]
    assert said.split("accuracy in %")[0].strip().endswith(f" {test.test_cells - 1}")  # training samples change nothing
    assert "on the test rows of this grid" in said
    assert "corrected for nothing; the board compares all pairs and corrects for their number by Holm" in said
    assert "--among NAMES corrects as the board does" in said
    assert "other zoos" not in said  # one zoo is asked about


def test_among_others_p_is_corrected_by_holm():
    among = ["validation_tree", "majority", "barrier_rule"]  # the last does not answer both cases
    found = compare("md_tree", "random", CASES, among=among)
    names = ["md_tree", "random", "validation_tree", "majority"]
    alone = {two: compare(*two, CASES).overall.difference.p for two in combinations(names, 2)}
    order = sorted(alone, key=alone.get)
    corrected = max(
        alone[two] * (len(order) - place) for place, two in enumerate(order[: order.index(("md_tree", "random")) + 1])
    )
    assert found.corrected.methods == (*names,)
    assert found.corrected.pairs == 6
    assert found.corrected.p == pytest.approx(min(1, corrected))
    assert found.overall == compare("md_tree", "random", CASES).overall
    ran = CliRunner().invoke(
        app, ["compare", "md_tree", "random", "--cases", ",".join(CASES), "--among", ",".join(among), "--workers", "0"]
    )
    said = " ".join(ran.output.split())
    assert f"for the 6 pairs of {', '.join(names)}: p = {min(1, corrected):.3f} over all" in said or corrected < 0.001


def test_over_several_zoos_it_is_about_other_zoos():
    cases = ["mnist1d-cnn-to-mnist1d-mlp/optimizer/cross-architecture/20", "mnist1d-cnn/optimizer/cross-noise/5"]
    cases += ["mnist1d-cnn/optimizer/cross-noise/20", "fashion-cnn/optimizer/cross-noise/5"]
    found = compare("barrier_rule", "majority", cases)
    by_zoo = {}
    for one in found.cases:
        (case,) = load_cases(one.case)
        by_zoo.setdefault(case.test, []).append((one.a, one.b))
    assert len(by_zoo) == 3
    means = np.array([np.mean(some, axis=0) for some in by_zoo.values()])
    expected = stats.ttest_rel(*means.T)
    over = found.over_zoos
    assert (over.a, over.b) == pytest.approx(tuple(means.mean(axis=0)))
    assert (over.degrees, over.difference.p) == pytest.approx((2, expected.pvalue))
    interval = expected.confidence_interval(0.95)
    assert (over.difference.interval.low, over.difference.interval.high) == pytest.approx(tuple(interval))
    frame = found.to_frame()
    assert frame["about"].tolist() == ["this grid"] * 5 + ["other zoos"]
    assert frame["p"].iloc[-1] == over.difference.p
    assert "<td>other zoos</td>" in found._repr_html_()
    assert repr(found).startswith("<Comparison: barrier_rule − majority = ")


def test_a_method_is_not_compared_with_itself_among_others(method_file):
    file = method_file(
        "columns = ['train_error']\nclass M:\n    def fit(self, m, l): pass\n    def predict(self, m): return m"
    )
    for one in ("majority", str(file)):
        with pytest.raises(MdbenchError, match="are the same method"):
            compare(one, one, CASES, among=["md_tree"])


def test_one_verdict_alone_can_be_compared_by_accuracy_only(monkeypatch):
    """Where all rows but a few have one verdict nobody is above chance."""
    monkeypatch.setattr("mdbench.scoring.stats.RARE", 0.9)
    with pytest.raises(MdbenchError, match="all rows but a few have one verdict: nobody is above chance"):
        compare("md_tree", "majority", CASES)
    assert len(compare("md_tree", "majority", CASES, accuracy=True).cases) == 2
