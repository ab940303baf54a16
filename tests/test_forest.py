"""Trees and forests that stand in for scikit-learn's: the same to the last bit, and only where they are."""

import numpy as np
import pytest
import sklearn
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from mdbench.cases import load_cases
from mdbench.methods import load_method
from mdbench.methods.forest import KNOWN, Grown, stand_in
from mdbench.methods.method import find_method
from mdbench.methods.trial import questions, solve
from mdbench.scoring.evaluation import pose

ESTIMATORS = [
    lambda seed: RandomForestClassifier(20, random_state=seed),
    lambda seed: ExtraTreesClassifier(20, random_state=seed),
    lambda seed: ExtraTreesClassifier(20, min_samples_leaf=3, class_weight="balanced", random_state=seed),
    lambda seed: DecisionTreeClassifier(random_state=seed),
    lambda seed: DecisionTreeClassifier(max_depth=3, random_state=seed),
]


@pytest.mark.parametrize("make", ESTIMATORS)
@pytest.mark.parametrize("seed", [42, None])
@pytest.mark.parametrize("shape", [(120, 4, 2), (12, 1, 2), (60, 9, 4), (30, 4, 1), (1, 3, 1)])
@pytest.mark.parametrize("missing", [0, 0.1])
def test_what_stands_in_says_the_same_to_the_last_bit(make, seed, shape, missing):
    rows, columns, classes = shape
    draw = np.random.default_rng(rows)
    seen, asked = draw.normal(size=(rows, columns)).round(1), draw.normal(size=(50, columns))
    seen[draw.random(seen.shape) < missing] = asked[draw.random(asked.shape) < 0.1] = np.nan
    labels = np.array(list("wxyz"), dtype=object)[draw.integers(0, classes, rows)]
    np.random.seed(5)
    theirs = make(seed).fit(seen, labels)
    np.random.seed(5)
    ours = stand_in(make(seed), seen, asked).fit(seen, labels)
    assert isinstance(ours, Grown)
    assert np.array_equal(ours.predict_proba(asked), theirs.predict_proba(asked))
    assert (ours.predict(asked) == theirs.predict(asked)).all()
    assert (ours.classes_ == theirs.classes_).all()


@pytest.mark.parametrize("balanced", [None, "balanced"])
@pytest.mark.parametrize("rows", [3, 80])
def test_weights_and_importances_are_those_of_scikit_learn(balanced, rows):
    draw = np.random.default_rng(0)
    seen, weights = draw.normal(size=(rows, 5)), draw.uniform(0.2, 3, rows)
    labels = np.where(np.arange(rows) % 3 == 0, "x", "y")
    make = lambda: ExtraTreesClassifier(30, min_samples_leaf=2, class_weight=balanced, random_state=1)  # noqa: E731
    theirs = make().fit(seen, labels, sample_weight=weights)
    ours = stand_in(make(), seen).fit(seen, labels, weights)
    assert np.array_equal(ours.predict_proba(seen), theirs.predict_proba(seen))
    assert np.allclose(ours.feature_importances_, theirs.feature_importances_, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(max_depth=3),
        RandomForestClassifier(class_weight="balanced"),
        RandomForestClassifier(-1),
        RandomForestClassifier("many"),
        RandomForestClassifier(random_state=np.random.RandomState(0)),
        RandomForestClassifier(random_state=-1),
        ExtraTreesClassifier(bootstrap=True),
        ExtraTreesClassifier(class_weight="balanced_subsample"),
        ExtraTreesClassifier(min_samples_leaf=0.1),
        ExtraTreesClassifier(class_weight={"w": 2.0}),
        DecisionTreeClassifier(max_depth=0),
        DecisionTreeClassifier(ccp_alpha=0.1),
        type("Own", (RandomForestClassifier,), {})(),
    ],
)
def test_what_is_set_otherwise_or_wrongly_is_left_to_scikit_learn(estimator):
    assert stand_in(estimator, np.zeros((3, 2))) is estimator


def test_infinite_rows_are_left_to_scikit_learn_which_refuses_them():
    forest = RandomForestClassifier(5)
    assert stand_in(forest, np.zeros((3, 2)), np.array([[0, 1e39]])) is forest


def test_a_release_that_was_not_compared_is_asked_as_it_stands(monkeypatch):
    forest = RandomForestClassifier(5)
    assert isinstance(stand_in(forest, np.zeros((3, 2))), Grown), f"the installed release is none of {KNOWN}"
    monkeypatch.setattr(sklearn, "__version__", "1.99.0")
    assert stand_in(forest, np.zeros((3, 2))) is forest


def test_a_case_is_answered_alike_by_the_stand_in(monkeypatch):
    posed, _ = pose([load_cases("core")[0].first(2)])
    method = load_method(find_method("random_forest"))
    said = []
    for replaced in (stand_in, lambda solver, *_: solver):
        monkeypatch.setattr("mdbench.methods.trial.stand_in", replaced)
        said.append([solve(method, question) for _, _, question in questions(method, posed[0].rows)])
    for ours, theirs in zip(*said, strict=True):
        assert (ours.said == theirs.said).all()
        assert np.array_equal(ours.probabilities, theirs.probabilities)
