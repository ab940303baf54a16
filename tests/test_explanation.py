"""Which columns decide; against scikit-learn's permutation importance, closed forms, and methods that look at one column."""

import numpy as np
import pytest
from scipy import stats
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from typer.testing import CliRunner

import mdbench
from mdbench.cases import load_cases, split
from mdbench.cli import app
from mdbench.methods import as_method, questions
from mdbench.scoring.explanation import Explanation
from mdbench.scoring.student import mean_interval
from mdbench.showing import importance

CASE = "mnist1d-cnn/failure_source/cross-noise/20"
OPTIMIZER = "mnist1d-cnn/optimizer/cross-noise/20"
COLUMNS = ["train_error", "mode_connectivity_peak", "output_cka", "log_hessian_trace"]


class OneColumn:
    """Gets three columns and looks at one."""

    columns = ("train_error", "mode_connectivity_peak", "log_hessian_trace")

    def fit(self, models, labels):
        self.tree = DecisionTreeClassifier(max_depth=2).fit(models[["mode_connectivity_peak"]], labels)

    def predict(self, models):
        return self.tree.predict(models[["mode_connectivity_peak"]])


def test_of_logistic_regression_it_is_what_scikit_learn_says():
    method = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=1000))
    method.columns = COLUMNS
    found = mdbench.explain(method, CASE, samples=1, shuffles=200)
    (case,) = load_cases(CASE)
    zoo = mdbench.load_zoo("mnist1d-cnn")
    rows = split(case, zoo, zoo)
    _, seen, question = next(questions(as_method(method), rows))
    fitted = method.fit(question.train, question.labels)
    theirs = permutation_importance(
        fitted,
        rows.test.table[COLUMNS].to_numpy(),
        rows.test.labels,
        scoring="balanced_accuracy",
        n_repeats=200,
        random_state=1,
    )
    assert sorted(seen) == list(range(len(rows.test)))
    assert found.over == "shuffles"
    table = found.to_frame().set_index("column").loc[COLUMNS]
    error = 100 * theirs.importances_std / np.sqrt(200)
    np.testing.assert_array_less(np.abs(table["lost"] - 100 * theirs.importances_mean), 4 * np.sqrt(2) * error)
    np.testing.assert_allclose((table["high"] - table["low"]) / 2, 1.97 * error, rtol=0.25)
    assert table["lost"].max() > 20 * error.max()  # so that the comparison means something


def test_a_column_that_is_not_looked_at_does_not_matter():
    found = mdbench.explain(OneColumn, OPTIMIZER, samples=3, shuffles=4)
    table = found.to_frame().set_index("column")
    assert set(table.index) == set(OneColumn.columns)
    assert table.index[0] == "mode_connectivity_peak"
    assert table["low"]["mode_connectivity_peak"] > 0
    assert (table.drop("mode_connectivity_peak") == 0).all(axis=None)
    assert found.over == "training samples"
    assert (found.samples, found.shuffles) == (3, 4)


@pytest.mark.parametrize("name", ["nearest_neighbours", "md_tree_quantile"])
def test_nothing_shuffled_it_is_the_score(name):
    """Of inductive methods and of transductive ones."""
    score = mdbench.evaluate(name, OPTIMIZER, samples=2).scores[0]
    found = mdbench.explain(name, OPTIMIZER, samples=2, shuffles=2)
    assert found.balanced_accuracy == pytest.approx(score.balanced_accuracy)
    assert {one.column for one in found.importances} == set(score.columns)
    again = mdbench.explain(name, OPTIMIZER, samples=2, shuffles=2)
    assert again == found


def test_intervals_are_students():
    values = np.random.default_rng(0).normal(3, 2, size=(6, 2, 7))
    found = Explanation.of(("m", "c"), ("a", "b"), np.full(6, 50.0), values)
    for one, draws in zip(found.to_frame().set_index("column").loc[["a", "b"]].itertuples(), (0, 1), strict=True):
        expected = stats.ttest_1samp(values[:, draws].mean(axis=1), 0).confidence_interval(0.95)
        assert (one.low, one.high) == pytest.approx(tuple(expected))
    alone = Explanation.of(("m", "c"), ("a", "b"), np.full(1, 50.0), values[:1])
    expected = stats.ttest_1samp(values[0, 0], 0).confidence_interval(0.95)
    assert next(
        (one.interval.low, one.interval.high) for one in alone.importances if one.column == "a"
    ) == pytest.approx(tuple(expected))
    assert np.isnan(mean_interval(np.array([1.0])).low)


@pytest.mark.parametrize(
    ("method", "case", "said"),
    [
        ("majority", CASE, "looks at no column"),
        ("md_tree", CASE, "does not answer failure_source, .*; it answers optimizer"),
        ("md_forest", "sisters", "is 12 cases; name one of them, such as mnist1d-cnn/"),
    ],
)
def test_what_cannot_be_explained_is_refused(method, case, said):
    with pytest.raises(mdbench.MdbenchError, match=said):
        mdbench.explain(method, case)


def test_the_command_prints_and_draws(tmp_path):
    to = tmp_path / "columns.png"
    ran = CliRunner().invoke(app, ["explain", "md_tree", "--case", OPTIMIZER, "--samples", "3", "--out", str(to)])
    assert ran.exit_code == 0, ran.output
    assert "mean of 3 training samples × 10 shuffles; Student's interval over training samples" in ran.output
    assert all(column in ran.output for column in ("train_error", "mode_connectivity_peak", "log_hessian_trace"))
    assert to.read_bytes().startswith(b"\x89PNG")
    refused = CliRunner().invoke(
        app, ["explain", "md_tree", "--case", OPTIMIZER, "--out", str(tmp_path / "columns.txt")]
    )
    assert refused.exit_code != 0
    assert "name ends in" in str(refused.exception)


def test_the_figure_names_every_column_and_fills_what_is_above_zero():
    found = mdbench.explain(OneColumn, OPTIMIZER, samples=3, shuffles=4)
    (panel,) = importance(found).axes
    assert [label.get_text() for label in panel.get_yticklabels()][-1] == "mode_connectivity_peak"
    filled = [line for line in panel.lines if line.get_marker() == "o" and line.get_markerfacecolor() != "white"]
    assert [line.get_xdata()[0] for line in filled] == [found.importances[0].lost]
