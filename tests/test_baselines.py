"""The baselines, against brute force, the plain loop, and each other."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import reference
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor, kernels

from baselines.md_committee import MDCommittee, Member, covariance
from baselines.md_forest import MDForest
from baselines.md_tree import TREES, MDTree
from baselines.md_tree_cka import MDTreeCKA
from baselines.md_tree_exact import MDTreeExact
from baselines.md_tree_quantile import MDTreeQuantile
from mdbench.cases.cases import load_cases
from mdbench.cases.splits import split
from mdbench.methods.method import MethodError, alternatives, find_method, load_method, named_methods
from mdbench.methods.trial import ask
from mdbench.tables.loading import load_zoo
from mdbench.tables.schema import COLUMNS, Family
from mdbench.tables.tasks import TASKS

CLEAN, NOISY = toy.both()


def with_weights(zoo):
    """A toy zoo whose weights' spread follows the width, and whose smallest weight the temperature, as nowhere else."""
    table = zoo.configurations.copy()
    rng = np.random.default_rng(len(table))
    for column in load_method(find_method("weights_forest")).columns["optimizer"]:
        if not column.endswith("|"):
            table[column] = 0.1 * rng.normal(size=len(table)) + np.log2(table["width"])
    table["weight_q0_mean"] = -np.log2(table["batch_size"]) - np.log2(table["data_fraction"]) / 2
    return type(zoo).from_table(zoo.name, zoo.title, table.reset_index(), zoo.moves, zoo.provenance)


def zoos_for(name: str, *zoos):
    """The zoos with what a method looks at."""
    return [with_weights(zoo) if name == "weights_forest" else zoo for zoo in zoos]


THEIRS = {"optimizer": "bs_failure", "width_vs_optimizer": "width_vs_batch", "data_vs_optimizer": "data_vs_batch"}
WORDS = {"temperature_too_low": "small", "temperature_too_high": "large"}


def words(labels, task: str) -> np.ndarray:
    return np.array([WORDS.get(label, "batch" if label == "optimizer" else label) for label in labels])


@pytest.mark.parametrize(
    ("kind", "task"),
    [*((MDTree, task) for task in TREES), (MDTreeCKA, "optimizer")],
    ids=lambda x: getattr(x, "name", x),
)
def test_md_tree_finds_the_thresholds_of_the_plain_loop(kind, task):
    plain = "cka" if kind is MDTreeCKA else THEIRS[task]
    table = CLEAN.configurations[CLEAN.configurations[task] != "none"]
    for seed in range(3):
        sample = table.sample(80, random_state=seed)
        tree = kind()
        tree.fit(sample, sample[task], TASKS[task])
        ours = {"hessian_t": "log_hessian_trace", "CKA": "mixup_cka"}
        features = sample[[ours.get(name, name) for name in reference.TREES[plain][1]]].to_numpy()
        expected = reference.fit_thresholds(plain, features, words(sample[task], task))
        np.testing.assert_allclose(tree.thresholds, expected, rtol=0, atol=1e-12)
        walk = reference.TREES[plain][0]
        np.testing.assert_array_equal(words(tree.predict(sample), task), walk(features, expected))


@pytest.mark.parametrize(
    "name", ["md_tree_cka", "landscape_tree", "logistic_regression", "nearest_neighbours", "random_forest", "xgboost"]
)
def test_a_zoo_needs_one_kind_of_cka_and_either_is_answered_by_its_own_name(name):
    case = load_cases("cifar10/optimizer/few-shot/8")[0]
    method = load_method(find_method(name))
    said = {}
    for kept, other in (("output_cka", "mixup_cka"), ("mixup_cka", "output_cka")):
        tables = [toy.table(seed=seed).drop(columns=other) for seed in range(2)]
        clean, noisy = (
            type(zoo).from_table(zoo.name, zoo.title, table, zoo.moves, zoo.provenance)
            for zoo, table in zip((CLEAN, NOISY), tables, strict=True)
        )
        said[kept] = ask(method, split(case, clean, noisy))
        assert kept in said[kept].columns
    assert (said["output_cka"].predicted != said["mixup_cka"].predicted).any()
    preferred = "mixup_cka" if name in ("md_tree_cka", "landscape_tree") else "output_cka"
    both = ask(method, split(case, CLEAN, NOISY))
    assert preferred in both.columns
    assert len(both.columns) == len(said[preferred].columns)


@st.composite
def samples(draw, most: int):
    task = draw(st.sampled_from(list(TREES)))
    columns = MDTree.columns[task]
    n = draw(st.integers(1, most if task != "data_vs_optimizer" else 4))
    cell = st.integers(0, 3)
    models = pd.DataFrame([[draw(cell) for _ in columns] for _ in range(n)], columns=columns, dtype=float)
    labels = pd.Series([draw(st.sampled_from(TASKS[task].classes)) for _ in range(n)], dtype=object)
    return task, models, labels


@given(samples(9))
@settings(max_examples=60)
def test_exact_thresholds_make_as_few_errors_as_any(sample):
    task, models, labels = sample
    exact = MDTreeExact()
    exact.fit(models, labels, TASKS[task])
    found = (exact.predict(models) == labels).sum()
    other = MDTree()
    other.fit(models, labels, TASKS[task])
    cuts = []
    for step in TREES[task]:
        values = np.unique(models[step.column])
        cuts.append([-np.inf, *(values[1:] + values[:-1]) / 2, np.inf])
    best = 0
    for other.thresholds in product(*cuts):
        best = max(best, (other.predict(models) == labels).sum())
    assert found == best


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_exact_thresholds_are_never_worse_than_the_published_procedure(seed):
    rng = np.random.default_rng(seed)
    for task, tree in TREES.items():
        columns = MDTree.columns[task]
        scale = {"train_error": 1.0, "mode_connectivity_peak": -30.0, "log_hessian_trace": 9.0}
        models = pd.DataFrame({column: scale[column] * rng.random(120) for column in columns})
        labels = pd.Series(rng.choice(TASKS[task].classes, 120), dtype=object)
        right = []
        for kind in (MDTree, MDTreeExact):
            method = kind()
            method.fit(models, labels, TASKS[task])
            right.append((method.predict(models) == labels).sum())
        assert right[1] >= right[0], tree


def test_md_tree_on_quantiles_does_not_see_the_scale():
    """Any increasing change of scale of what is measured leaves it as it was, and the published tree not."""
    table = toy.table(seed=1)
    for column, change in (
        ("train_error", np.sqrt),
        ("log_hessian_trace", np.exp),
        ("mode_connectivity_peak", np.cbrt),
    ):
        table[column] = change(table[column])
    other = type(NOISY).from_table(NOISY.name, NOISY.title, table, NOISY.moves, NOISY.provenance)
    case = load_cases("cifar10/optimizer/few-shot/8")[0]
    said = {
        (kind.name, test is other): ask(load_method(find_method(kind.name)), split(case, CLEAN, test)).predicted
        for kind, test in product((MDTree, MDTreeQuantile), (NOISY, other))
    }
    np.testing.assert_array_equal(said["md_tree_quantile", False], said["md_tree_quantile", True])
    assert (said["md_tree", False] != said["md_tree", True]).mean() > 0.05
    truth = split(case, CLEAN, NOISY).test.codes
    assert (said["md_tree_quantile", True] == truth).mean() > 0.8


def test_what_could_not_be_measured_is_above_every_threshold():
    rng = np.random.default_rng(0)
    models = pd.DataFrame(rng.random((60, 3)) * [2, -30, 4] + [0, 0, 4], columns=MDTree.columns["optimizer"])
    models.loc[::3, "log_hessian_trace"] = np.nan
    labels = pd.Series(rng.choice(TASKS["optimizer"].classes, 60), dtype=object)
    filled = models.fillna({"log_hessian_trace": 100.0})
    for kind in (MDTree, MDTreeExact):
        one, other = kind(), kind()
        one.fit(models, labels, TASKS["optimizer"])
        other.fit(filled, labels, TASKS["optimizer"])
        np.testing.assert_array_equal(one.predict(models), other.predict(filled))


@pytest.mark.parametrize("name", sorted(named_methods()))
def test_every_baseline_bears_what_could_not_be_measured(name):
    table = toy.table(seed=2)
    table.loc[::7, ["output_cka", "mixup_cka"]] = np.nan
    gaps = type(NOISY).from_table(NOISY.name, NOISY.title, table, NOISY.moves, NOISY.provenance)
    case = load_cases("cifar10/optimizer/few-shot/8")[0]
    clean, gaps = zoos_for(name, CLEAN, gaps)
    for train, test in ((clean, gaps), (gaps, clean)):
        ask(load_method(find_method(name)), split(case, train, test))


def test_the_barrier_rule_is_the_inequality():
    rule = load_method(find_method("barrier_rule")).fresh()
    models = pd.DataFrame(
        {"mode_connectivity_peak": [-10.0, -9.8, -9.71, -9.6, 0.0], "train_error": [10.0, 10, 10, 10, 0]}
    )
    # −peak − error: 0, −0.2, −0.29, −0.4, 0
    low, high = "temperature_too_low", "temperature_too_high"
    assert rule.predict(models).tolist() == [low, low, low, high, low]


def test_majority_repeats_the_most_frequent_label():
    majority = load_method(find_method("majority")).fresh()
    majority.fit(pd.DataFrame(index=range(3)), pd.Series(["width", "optimizer", "width"]))
    assert majority.predict(pd.DataFrame(index=range(2))) == ["width", "width"]


def test_random_is_uniform_and_differs_between_samples():
    rows = split(load_cases("cifar10/optimizer/few-shot/5")[0], CLEAN, NOISY)
    said = ask(load_method(find_method("random")), rows).predicted
    share = said.mean()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(said.size)
    agreement = [(said[i] == said[j]).mean() for i in range(5) for j in range(i)]
    assert np.allclose(agreement, 0.5, atol=4 * 0.5 / np.sqrt(said.shape[1]))


#: A case whose small sample holds one verdict alone, one of each size, and a task with four verdicts.
CASES = (
    "cifar10/optimizer/few-shot/1",
    "cifar10/width_vs_optimizer/few-shot/1",
    "cifar10/data_vs_optimizer/width-limited/32",
)


@pytest.mark.parametrize("name", sorted(named_methods()))
def test_every_baseline_answers_every_case_it_is_meant_for(name):
    method = load_method(find_method(name))
    assert method.name == name
    four_ways = load_cases("cifar10/optimizer/few-shot/8")[0].model_copy(update={"task": "failure_source"})
    asked = 0
    for case in [*load_cases(CASES), four_ways]:
        if method.answers(case.task):
            rows = split(case, *zoos_for(name, CLEAN, NOISY))
            answer = ask(method, rows)
            assert answer.predicted.shape == (5, len(rows.test))
            asked += 1
    assert asked


def test_the_baselines_are_all_there():
    assert set(named_methods()) >= {
        "md_tree",
        "md_tree_cka",
        "md_tree_exact",
        "md_tree_quantile",
        "validation_tree",
        "hyperparameter_tree",
        "hyperparameter_validation_tree",
        "landscape_tree",
        "logistic_regression",
        "random_forest",
        "xgboost",
        "nearest_neighbours",
        "majority",
        "random",
        "barrier_rule",
        "md_committee",
        "md_committee_configured",
        "md_forest",
        "weights_forest",
    }


def test_a_member_is_a_gaussian_process_regression():
    rng = np.random.default_rng(3)
    seen, asked, wanted = rng.normal(size=(60, 3)), 2 * rng.normal(size=(40, 3)), rng.normal(size=(60, 2))
    noise = rng.uniform(0.2, 1.5, 60)
    kernel = kernels.ConstantKernel(0.1) * kernels.DotProduct(np.sqrt(10)) + kernels.RBF(2)
    np.testing.assert_allclose(covariance(seen, asked), kernel(seen, asked), rtol=1e-12)
    plain = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(seen, wanted)
    np.testing.assert_allclose(Member(seen, wanted, noise)(asked), plain.predict(asked), rtol=1e-5, atol=1e-5)


def test_a_member_of_many_networks_is_nearly_that_of_all():
    rng = np.random.default_rng(4)
    seen, asked = rng.normal(size=(1500, 3)), rng.normal(size=(200, 3))
    wanted = np.sign(seen[:, :1] * seen[:, 1:2] + 0.5 * rng.normal(size=(1500, 1)))
    noise = np.full(1500, 0.5)
    among = covariance(seen, seen) + np.diag(noise)
    exact = covariance(asked, seen) @ np.linalg.solve(among, wanted)
    np.testing.assert_allclose(Member(seen, wanted, noise)(asked), exact, atol=0.02)


def known_coordinates(rows: int, seed: int = 0) -> pd.DataFrame:
    """Networks of which all columns are there that the committee or the forest looks at, in the range of real ones."""
    table = load_zoo("mnist1d-cnn", layers=False).configurations
    return table[table["failure_source"] != "none"].sample(rows, random_state=seed)


@pytest.mark.parametrize("kind", [MDCommittee, MDForest])
@pytest.mark.parametrize("task", ["optimizer", "width_vs_optimizer", "data_vs_optimizer", "failure_source"])
def test_a_common_verdict_weighs_no_more_than_a_rare_one(kind, task):
    """With labels that have nothing to do with the networks, the common verdict is not said nearly always."""
    models = known_coordinates(200)
    rare, common = TASKS[task].classes[:2]
    labels = pd.Series(rare, index=models.index).where(np.random.default_rng(1).random(200) < 0.2, common)
    method = kind()
    fit(method, models, labels, task)
    said = method.predict(known_coordinates(400, seed=9))
    assert set(said) <= {rare, common}
    if kind is MDCommittee:
        assert 0.2 < (said == rare).mean() < 0.8


def fit(method, models, labels, task):
    given = (models, labels, TASKS[task]) if isinstance(method, MDCommittee) else (models, labels)
    method.fit(*given)


@pytest.mark.parametrize("kind", [MDCommittee, MDForest])
def test_what_is_missing_is_as_the_median_and_what_is_beyond_as_the_farthest(kind):
    models = known_coordinates(150)
    models = models[models["optimizer"] != "none"]
    method = kind()
    fit(method, models, models["optimizer"], "optimizer")
    asked = known_coordinates(100, seed=5)
    far, farther = (asked.assign(log_hessian_trace=10.0**power, hessian_trace=np.inf) for power in (3, 5))
    np.testing.assert_array_equal(method.predict(far), method.predict(farther))
    missing = asked.assign(alpha_hill_minus_fresh_mean=np.nan)
    middle = asked.assign(alpha_hill_minus_fresh_mean=models["alpha_hill_minus_fresh_mean"].median())
    np.testing.assert_array_equal(method.predict(missing), method.predict(middle))
    np.testing.assert_array_equal(
        method.predict(asked.drop(columns="alpha_hill_minus_fresh_mean")), method.predict(missing)
    )


def test_the_committee_that_is_told_the_configuration_says_so():
    told, not_told = (load_method(find_method(name)) for name in ("md_committee_configured", "md_committee"))
    for task, columns in told.columns.items():
        families = {COLUMNS[name].family for column in columns for name in alternatives(column) if name}
        assert Family.CONFIGURATION in families
        assert Family.CONFIGURATION not in {
            COLUMNS[name].family for column in not_told.columns[task] for name in alternatives(column) if name
        }


def test_the_forest_of_weights_learns_from_them_and_fails_without():
    case = load_cases("cifar10/optimizer/few-shot/8")[0]
    method = load_method(find_method("weights_forest"))
    rows = split(case, with_weights(CLEAN), with_weights(NOISY))
    said = ask(method, rows)
    assert (said.predicted == rows.test.codes).mean() > 0.8
    with pytest.raises(MethodError, match="it wants column 'weight_mean_mean'"):
        ask(method, split(case, CLEAN, NOISY))
