"""What any method must stand: the baselines do, and each broken method fails the check that is meant for it and no other."""

import warnings

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from typer.testing import CliRunner

import mdbench
from mdbench.cli import app
from mdbench.testing import CHECKS, assert_conforms, check_method

CASE = "mnist1d-cnn/optimizer/cross-noise/20"


class Plain:
    """Stands everything: the error's quartile, if it was in training."""

    columns = ("train_error", "log_hessian_trace")

    def fit(self, models, labels, task):
        self.classes, self.known = task.classes, sorted(set(labels))
        self.ends = models["train_error"].quantile([0.25, 0.5, 0.75]).to_numpy()

    def places(self, models):
        return np.searchsorted(self.ends, models["train_error"].fillna(0)) % len(self.known)

    def predict(self, models):
        return [self.known[place] for place in self.places(models)]


class Nonsense(Plain):
    def predict(self, models):
        return ["banana"] * len(models)


class Remembering(Plain):
    trained = 0

    def fit(self, models, labels, task):
        super().fit(models, labels, task)
        type(self).trained += 1
        self.turn = type(self).trained

    def predict(self, models):
        return [self.known[(place + self.turn) % len(self.known)] for place in self.places(models)]


class Placed(Plain):
    def predict(self, models):
        return [self.known[0 if place < 10 else -1] for place in range(len(models))]


class Batch(Plain):
    """Says something else of small batches."""

    def predict(self, models):
        shift = 1 < len(models) < 60
        return [self.known[(place + shift) % len(self.known)] for place in self.places(models)]


class Declared(Plain):
    """Compares with the batch, and says so."""

    track = "transductive"

    def predict(self, models):
        seen = models["train_error"]
        return [self.known[-1 if one else 0] for one in seen > seen.median()]


class NoNulls(Plain):
    def predict(self, models):
        if models.isna().any(axis=None):
            raise ValueError("Input contains NaN")
        return super().predict(models)


class Squeezed(Plain):
    def predict(self, models):
        return np.squeeze(np.array(super().predict(models), dtype=object))


class Numbered(Plain):
    def fit(self, models, labels, task):
        if 1 < labels.nunique() < len(task.classes):
            raise IndexError("no class 0")
        super().fit(models, labels, task)


class Sure(Plain):
    def predict_proba(self, models):
        said = np.array([self.classes.index(one) for one in self.predict(models)])
        return 0.6 * np.eye(len(self.classes))[said] + 0.4 / len(self.classes)


class Reversed(Sure):
    def predict_proba(self, models):
        return super().predict_proba(models)[:, ::-1]


class Unlike(Sure):
    def predict_proba(self, models):
        given = np.full((len(models), len(self.classes)), 0.1)
        given[:, 0] = 1.1 - 0.1 * len(self.classes)
        return given


class Unbounded(Sure):
    def predict_proba(self, models):
        return 2 * super().predict_proba(models)


class Narrow(Sure):
    def predict_proba(self, models):
        return super().predict_proba(models)[:, 1:]


class OnlyKnown(Sure):
    """Forgets the verdicts that are not in training, and does not say which those are."""

    def predict_proba(self, models):
        given = super().predict_proba(models)[:, : len(self.known)]
        return given / given.sum(axis=1, keepdims=True)


class Relative(Sure):
    def predict_proba(self, models):
        share = 0.5 + 0.4 / len(models)
        said = np.array([self.classes.index(one) for one in self.predict(models)])
        return share * np.eye(len(self.classes))[said] + (1 - share) / len(self.classes)


REGRESSION = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=1000))
BROKEN = {
    "nonsense": (Nonsense, "trains and answers", "'banana'"),
    "remembering": (Remembering, "fresh copies", "80 of 80 answers changed"),
    "placed": (Placed, "shuffled rows", "when the rows asked about were shuffled"),
    "batch": (Batch, "shuffled rows", "when half of the rows"),
    "no nulls": (NoNulls, "nulls", "ValueError: Input contains NaN"),
    "one class": (REGRESSION, "one class in training", "at least 2 classes"),
    "squeezed": (Squeezed, "one row", "it predicted"),
    "numbered": (Numbered, "an unseen class", "IndexError: no class 0"),
    "reversed": (Reversed, "probabilities", "another order"),
    "unlike": (Unlike, "probabilities", "another verdict than the one it says is likelier"),
    "unbounded": (Unbounded, "probabilities", "do not add up to 1"),
    "narrow": (Narrow, "probabilities", "shape 80×3 for 80 rows and 4 verdicts"),
    "only known": (OnlyKnown, "probabilities", "not in training"),
    "relative": (Relative, "probabilities", "when half of the rows"),
}


@pytest.mark.parametrize(("method", "check", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_method_fails_its_check_and_no_other(method, check, reason):
    failed = [one for one in check_method(method) if one.reason]
    assert [one.name for one in failed] == [check]
    assert reason in failed[0].reason
    with pytest.raises(mdbench.MdbenchError, match=r"\."):
        assert_conforms(method, check)


@pytest.mark.parametrize("method", [Plain, Sure, Declared, DecisionTreeClassifier(max_depth=3)], ids=str)
def test_what_keeps_the_rules_passes(method):
    assert [(one.name, one.reason) for one in check_method(method, CASE)] == [(name, "") for name in CHECKS]


#: The others pass too, but take some 10 seconds.
QUICK = """
    barrier_rule hyperparameter_tree hyperparameter_validation_tree landscape_tree logistic_regression majority md_committee
    md_tree md_tree_cka md_tree_exact md_tree_quantile nearest_neighbours random validation_tree weights_forest
"""


@pytest.mark.parametrize("name", QUICK.split())
def test_baselines_pass(name):
    assert not [one for one in check_method(name) if one.reason]


def test_a_check_that_does_not_exist_is_refused():
    with pytest.raises(mdbench.MdbenchError, match="check 'nul' does not exist; there are trains and answers"):
        assert_conforms(Plain, "nul")


def test_the_command(tmp_path):
    fine, broken = tmp_path / "fine.py", tmp_path / "broken.py"
    fine.write_text(
        "from sklearn.tree import DecisionTreeClassifier\ncolumns = ['train_error']\nmethod = DecisionTreeClassifier()\n"
    )
    broken.write_text(
        "zero_shot = True\nclass Broken:\n    columns = ['train_error']\n    def predict(self, models):\n"
        "        assert len(models) > 1, 'alone'\n        return ['width'] * len(models)\n"
    )
    passed = CliRunner().invoke(app, ["check", str(fine)])
    assert passed.exit_code == 0
    assert passed.output.split("\n")[:-1] == [f"✓ {name}" for name in CHECKS]
    failed = CliRunner().invoke(app, ["check", str(broken)])
    assert failed.exit_code == 1
    assert "✗ one row: it raised AssertionError: alone. Take no mean, rank or shape" in failed.output
    assert 'broken.py", line 5, in predict' in failed.output
    assert failed.output.count("✓") == len(CHECKS) - 1
    stopped = CliRunner().invoke(app, ["check", str(broken), "--case", CASE])  # width is no verdict there
    assert stopped.exit_code == 1
    assert f"{len(CHECKS) - 1} more checks were not run" in stopped.output


def test_what_a_method_is_warned_of_is_said_once(recwarn):
    class Warned(Plain):
        name = "warned"

        def fit(self, models, labels, task):
            warnings.warn("few models", stacklevel=1)
            super().fit(models, labels, task)

    assert not [one for one in check_method(Warned, CASE) if one.reason]
    assert [str(one.message) for one in recwarn] == ["method warned: UserWarning: few models (in 1 case)"]


def test_a_method_without_a_case_is_refused():
    class Elsewhere(Plain):
        columns = {"regularization": ["train_error"]}

    with pytest.raises(mdbench.MdbenchError, match=r"it answers none of the tasks .*; name a case"):
        check_method(Elsewhere)
