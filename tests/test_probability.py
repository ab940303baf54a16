"""How sure a method is: against scikit-learn's own functions, against every order of a few rows, and by hand."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import toy
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

import mdbench
from mdbench.cases.cases import load_cases
from mdbench.cases.splits import split
from mdbench.methods import cache
from mdbench.methods.method import MethodError, as_method
from mdbench.methods.trial import ask
from mdbench.scoring import probability
from mdbench.scoring.evaluation import evaluated
from mdbench.scoring.probability import Sureness, calibration, calibration_error

CASE = "cifar10/optimizer/few-shot/3"
LOW, HIGH = "temperature_too_low", "temperature_too_high"
ROWS = split(load_cases(CASE)[0], *toy.both())


# --- the scores, on cases that can be done by hand --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_risk_and_coverage_are_the_mean_over_all_orders_of_those_equally_sure(seed):
    rng = np.random.default_rng(seed)
    confidence, right = rng.integers(0, 3, 6) / 3, rng.random(6) < 0.5
    orders = [order for order in permutations(range(6)) if (np.diff(confidence[list(order)]) <= 0).all()]
    curves = [np.cumsum(right[list(order)]) / np.arange(1, 7) for order in orders]
    sure = Sureness(confidence[None], right[None])
    np.testing.assert_allclose(sure.accuracy[0], np.mean(curves, axis=0))
    assert sure.area == pytest.approx(np.mean([np.mean(1 - curve) for curve in curves]))
    assert sure.accuracy_at(0.5) == pytest.approx(np.mean(curves, axis=0)[2])


def test_risk_and_coverage_by_hand():
    # The surest is right, then two equally sure of which one is, then an abstention.
    sure = Sureness(np.array([[0.6, 0.9, 0.6, -np.inf]]), np.array([[True, True, False, False]]))
    np.testing.assert_allclose(sure.accuracy[0], [1, 1.5 / 2, 2 / 3, 2 / 4])
    assert sure.area == pytest.approx((0 + 1 / 4 + 1 / 3 + 1 / 2) / 4)
    assert sure.accuracy_at(0.5) == 0.75
    assert sure.accuracy_at(0.51) == pytest.approx(2 / 3)
    assert sure.accuracy_at(1) == 0.5
    assert (sure.coverage_at(0.95), sure.coverage_at(0.7), sure.coverage_at(0.5)) == (0.25, 0.5, 1)
    assert Sureness(np.array([[0.9, 0.8]]), np.array([[False, True]])).coverage_at(0.95) == 0


def test_samples_are_averaged_each_with_its_own_order():
    confidence, right = np.array([[0.9, 0.6], [0.6, 0.9]]), np.array([[True, False], [True, False]])
    sure = Sureness(confidence, right)
    assert sure.area == pytest.approx(np.mean([np.mean([0, 0.5]), np.mean([1, 0.5])]))
    assert sure.coverage_at(0.95) == 0.25


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_calibration_error_by_hand(kind):
    confidence = np.array([0.05, 0.1, 0.11, 0.95, 1.0, 0.3, -np.inf], dtype=kind)
    right = np.array([False, True, True, True, False, False, False])
    bins = calibration(confidence, right)
    # (0, 0.1] holds 0.05 and 0.1; (0.1, 0.2] 0.11; (0.2, 0.3] 0.3, whatever its rounding; (0.9, 1] 0.95 and 1.
    assert [(one.low, one.high, one.answers) for one in bins] == [
        (0, 0.1, 2),
        (0.1, 0.2, 1),
        (0.2, 0.3, 1),
        (0.9, 1.0, 2),
    ]
    assert [one.accuracy for one in bins] == [0.5, 1, 0, 0.5]
    expected = (2 * abs(0.5 - 0.075) + abs(1 - 0.11) + abs(0 - 0.3) + 2 * abs(0.5 - 0.975)) / 6
    assert calibration_error(bins) == pytest.approx(expected, rel=1e-6)
    assert np.isnan(calibration_error(calibration(np.array([-np.inf]), np.array([False]))))


def test_confidence_is_that_of_the_verdict_that_is_said():
    given = np.array([[[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]]])
    np.testing.assert_array_equal(
        probability.confidences(given, np.array([[1, 1, -1]], dtype=np.int8)), [[0.3, 0.8, -np.inf]]
    )


# --- against scikit-learn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logistic_regression", "random_forest"])
def test_scores_on_core_are_those_of_scikit_learn(name):
    result = mdbench.evaluate(name, "core", samples=3)
    assert not result.failures
    predictions, classes = result.predictions, {one.case.name: one.classes for one in result.cases}
    for score in result.scores:
        mine = predictions[predictions["case"] == score.case]
        verdicts = classes[score.case]
        ordered = sorted(verdicts)  # the order in which scikit-learn wants the columns
        losses, briers = [], []
        for _, sample in mine.groupby("seed"):
            given = sample[[f"p_{verdict}" for verdict in ordered]].to_numpy(float)
            given = given / given.sum(axis=1, keepdims=True)  # single precision
            truth = sample["true"].astype(str).to_numpy()
            losses.append(log_loss(truth, given, labels=ordered))
            # The binary form takes one column, and is half of Brier's own.
            briers.append(
                2 * brier_score_loss(truth, given[:, 1], pos_label=ordered[1])
                if len(ordered) == 2
                else brier_score_loss(truth, given, labels=ordered, scale_by_half=False)
            )
            likeliest = np.array(ordered, dtype=object)[given.argmax(axis=1)]
            assert (likeliest == sample["predicted"].astype(str)).mean() > 0.99  # but for ties
        said = score.probability
        assert said.log_loss == pytest.approx(np.mean(losses), rel=1e-5)
        assert said.brier_score == pytest.approx(np.mean(briers), rel=1e-5)
        assert said.log_loss_interval.low <= said.log_loss <= said.log_loss_interval.high
        assert said.brier_score_interval.low <= said.brier_score <= said.brier_score_interval.high
        assert said.accuracy_by_coverage[-1] == pytest.approx(score.accuracy)
        assert said.accuracy_by_coverage[9] == said.accuracy_at_half
        assert sum(one.answers for one in said.bins) == len(mine)


def test_probabilities_are_what_the_estimator_says_itself():
    """The same training sample, and the same rows, without the harness: in the order of the task, not of ``classes_``."""
    columns = ["train_error", "train_loss", "output_cka"]
    said = ask(as_method(_with(LogisticRegression(max_iter=5000), columns)), ROWS)
    for sample, given in zip(ROWS.samples, said.probabilities, strict=True):
        plain = LogisticRegression(max_iter=5000).fit(ROWS.train.matrix(columns)[sample], ROWS.train.labels[sample])
        expected = plain.predict_proba(ROWS.test.matrix(columns))[
            :, [list(plain.classes_).index(v) for v in (LOW, HIGH)]
        ]
        np.testing.assert_allclose(given, expected, atol=2e-3)  # the rows come in another order, and lbfgs stops early


def _with(estimator, columns):
    estimator.columns = columns
    estimator.name = "mine"

    class Wrapped(type(estimator)):
        pass

    Wrapped.columns = columns
    return Wrapped(**estimator.get_params())


# --- what a method may give -------------------------------------------------------------------------------------------


class Gives:
    """Says the first verdict, and gives whatever it is told."""

    name = "gives"
    columns = ("train_error",)

    def __init__(self, given, classes=None):
        self.given, self.classes = given, classes

    def fit(self, models, labels):
        if self.classes is not None:
            self.classes_ = self.classes

    def predict(self, models):
        return [LOW] * len(models)

    def predict_proba(self, models):
        return self.given(models)


def _columns(*shares):
    return lambda models: np.tile(shares, (len(models), 1))


def test_columns_are_in_the_order_of_the_task_or_of_classes_():
    for classes, wanted in ((None, [0.8, 0.2]), ([LOW, HIGH], [0.8, 0.2]), ([HIGH, LOW], [0.2, 0.8])):
        said = ask(as_method(Gives(_columns(0.8, 0.2), classes)), ROWS).probabilities
        np.testing.assert_allclose(said, np.broadcast_to(np.float32(wanted), (5, len(ROWS.test), 2)))
    alone = ask(as_method(Gives(_columns(1.0), np.array([HIGH]))), ROWS).probabilities
    assert (alone == [0, 1]).all()


def test_a_dataframe_is_joined_by_its_names():
    def backwards(models):
        sure = 1 / (1 + models["train_error"])
        return pd.DataFrame({HIGH: 1 - sure, LOW: sure}, index=models.index)[::-1]

    said = ask(as_method(Gives(backwards)), ROWS).probabilities
    expected = 1 / (1 + ROWS.test.table["train_error"].to_numpy())
    np.testing.assert_allclose(said[..., 0], np.broadcast_to(expected, said.shape[:2]), rtol=1e-5)


def test_a_single_verdict_in_training_leaves_the_others_at_0():
    class One(DummyClassifier):
        def fit(self, models, labels):
            return super().fit(models, [HIGH] * len(labels))

    said = ask(as_method(One()), ROWS)
    assert (said.probabilities == [0, 1]).all()
    record = probability.log_losses(said.probabilities, ROWS.test.codes)
    assert record.max() == pytest.approx(-np.log(np.finfo(float).eps))


@pytest.mark.parametrize(
    ("given", "classes", "message"),
    [
        (_columns(0.5, 0.4), None, r"do not add up to 1 \(but to 0.9\), in 1\d+ of"),
        (_columns(1.2, -0.2), None, "probabilities below 0"),
        (_columns(np.nan, 1.0), None, "not finite"),
        (_columns(np.inf, -np.inf), None, "not finite"),
        (_columns(0.5, 0.3, 0.2), None, r"of shape \d+×3 for \d+ rows and 2 verdicts"),
        (_columns(1.0), None, r"of shape \d+×1 for \d+ rows and 2 verdicts"),
        (lambda m: np.full((len(m) - 1, 2), 0.5), None, "of shape"),
        (lambda m: np.full((len(m), 2, 2), 0.25), None, "of shape"),
        (lambda m: [[0.5, 0.5]] * (len(m) - 1) + [[1.0]], None, "no table of numbers, but a list"),
        (lambda m: [["likely", "unlikely"]] * len(m), None, "no table of numbers"),
        (lambda m: None, None, "of shape|no table"),
        (lambda m: 0.5, None, "of shape one number"),
        (lambda m: {}, None, "no table of numbers, but a dict"),
        (
            _columns(0.5, 0.5),
            [LOW, "width"],
            "probabilities of temperature_too_low, width; the verdicts of optimizer are",
        ),
        (_columns(0.5, 0.5), [LOW, LOW], "probabilities of temperature_too_low, temperature_too_low"),
        (_columns(0.5, 0.5), [0, 1], "probabilities of 0, 1"),
        (_columns(0.5, 0.5), [[], {}], "probabilities of|it raised"),
        (_columns(0.5, 0.5), [LOW], "of shape"),
        (lambda m: pd.DataFrame({LOW: 1.0}, index=m.index + 1), None, "index does not name the rows"),
        (lambda m: pd.DataFrame({"p": 1.0}, index=m.index), None, "probabilities of p"),
        (lambda m: 1 / 0, None, "it raised ZeroDivisionError"),
    ],
)
def test_what_are_no_probabilities_says_why(given, classes, message):
    with pytest.raises(MethodError, match=message):
        ask(as_method(Gives(given, classes)), ROWS)


def test_rounding_is_forgiven():
    said = ask(as_method(Gives(_columns(1 + 2e-5, -1e-5))), ROWS).probabilities
    assert said.min() == 0


def test_probabilities_that_depend_on_the_batch_are_not_inductive():
    def batch(models):
        share = (models["train_error"] > models["train_error"].median()).mean() * models["train_error"].rank(pct=True)
        return np.column_stack([share, 1 - share])

    with pytest.raises(MethodError, match="its probabilities depend on which other rows"):
        ask(as_method(Gives(batch)), ROWS)


# --- abstaining, and the way into the result --------------------------------------------------------------------------

ABSTAINS = """
columns = ["train_error"]
class Careful:
    def fit(self, models, labels, task):
        self.verdict = task.classes[0]
    def predict(self, models):
        return [self.verdict if error > 10 else None for error in models["train_error"]]
"""


@pytest.mark.usefixtures("toy_home")
@pytest.mark.parametrize("workers", [0, 1])
def test_abstentions_are_counted_and_never_right(method_file, tmp_path, workers):
    file = str(method_file(ABSTAINS, "careful.py"))
    for _ in range(2):  # asked, and from the cache
        result = mdbench.evaluate([file, "logistic_regression"], CASE, workers=workers)
        score = result.score("careful", CASE)
        mine = result.predictions.query("method == 'careful'")
        answered = mine["predicted"].notna()
        assert 0 < answered.mean() < 1
        assert score.coverage == pytest.approx(100 * answered.mean())
        assert score.accuracy == pytest.approx(
            100 * (mine["predicted"].astype(object) == mine["true"].astype(object)).mean()
        )
        assert score.accuracy_answered == pytest.approx(score.accuracy / score.coverage * 100)
        assert score.probability is None
        assert mine[["p_" + LOW, "p_" + HIGH]].isna().all(axis=None)
    result.save(tmp_path / "out")
    back = mdbench.load_result(tmp_path / "out")
    assert back.scores == result.scores
    pd.testing.assert_frame_equal(back.predictions, result.predictions)


@pytest.mark.usefixtures("toy_home")
def test_an_answer_from_the_cache_has_its_probabilities(tmp_path):
    cases = load_cases(CASE)
    first, again = (evaluated("logistic_regression", cases).answers["logistic_regression", CASE] for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert first.probabilities.dtype == np.float32
    bad = tmp_path / "home" / "cache"
    key = next(path for path in bad.rglob("*.npz"))
    with np.load(key) as kept:
        content = dict(kept)
    np.savez(key, **content | {"probabilities": content["probabilities"][:, :, :1]})
    assert cache.read(key.stem, evaluated("majority", cases).posed[0].rows) is None


@pytest.mark.usefixtures("toy_home")
def test_without_probabilities_nothing_is_added():
    result = mdbench.evaluate("md_tree", CASE)
    assert list(result.predictions) == ["method", "case", "seed", "row", "predicted", "true"]
    assert result.scores[0].probability is None
    assert result.scores[0].coverage == 100
    assert result.to_frame()["log_loss"].isna().all()


@pytest.mark.usefixtures("toy_home")
@pytest.mark.parametrize(
    "name", ["logistic_regression", "xgboost", "nearest_neighbours", "majority", "random", "validation_tree"]
)
def test_baselines_say_how_sure_they_are(name):
    record = mdbench.evaluate(name, CASE).scores[0].probability
    assert record.log_loss > 0
    assert 0 < record.brier_score < 2
    assert 0 <= record.calibration_error <= 100


def test_the_forest_wrapped_or_not_is_the_same_forest():
    forest = RandomForestClassifier(10, random_state=0)
    said = ask(as_method(forest), ROWS)
    assert said.probabilities.shape == (*said.predicted.shape, 2)
    np.testing.assert_allclose(said.probabilities.sum(axis=2), 1, rtol=1e-6)
