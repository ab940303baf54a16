"""What a method gets to see, and what it may answer."""

import pickle
import random
import threading

import numpy as np
import pandas as pd
import pytest
import toy

from mdbench.cases.cases import load_cases
from mdbench.cases.splits import split
from mdbench.methods.method import MethodError, as_method
from mdbench.methods.trial import ask, given_columns
from mdbench.tables.schema import VISIBLE_FAMILIES, of_family

CLEAN, NOISY = toy.both()
ROWS = split(load_cases("cifar10/optimizer/few-shot/3")[0], CLEAN, NOISY)
LOW, HIGH = "temperature_too_low", "temperature_too_high"


class Spy:
    """Remembers what it was given."""

    name = "spy"
    given = []

    def fit(self, models, labels, task):
        Spy.given.append((models.copy(), labels.copy(), task.name))

    def predict(self, models):
        Spy.given.append(models.copy())
        return np.where(models["train_error"] > 10, LOW, HIGH)


@pytest.fixture
def spied():
    Spy.given = []
    answer = ask(as_method(Spy), ROWS)
    return answer, Spy.given


def test_a_method_gets_its_training_rows_with_labels_and_the_test_rows_without(spied):
    answer, given = spied
    fits = [entry for entry in given if isinstance(entry, tuple)]
    assert len(fits) == 5
    for (models, labels, task), sample in zip(fits, ROWS.samples, strict=True):
        assert task == "optimizer"
        expected = ROWS.train.table.iloc[sample]
        assert len(models) == len(labels) == len(expected)
        joined = models.assign(label=labels).sort_values("test_loss")
        wanted = expected.sort_values("test_loss")
        np.testing.assert_array_equal(joined["label"], wanted["optimizer"])
        np.testing.assert_array_equal(joined["output_cka"], wanted["output_cka"])
    assert answer.predicted.shape == (5, len(ROWS.test))


def test_predictions_belong_to_the_rows_whatever_order_they_were_shown_in(spied):
    answer, _ = spied
    expected = (ROWS.test.table["train_error"] <= 10).to_numpy().astype(int)  # LOW is class 0
    for predicted in answer.predicted:
        np.testing.assert_array_equal(predicted, expected)


def test_nothing_but_visible_families_is_shown_and_rows_have_no_names(spied):
    _, given = spied
    for entry in given:
        models = entry[0] if isinstance(entry, tuple) else entry
        assert set(models.columns) <= set(of_family(*VISIBLE_FAMILIES))
        assert not set(models.columns) & {"data_amount", "parameter_count"}  # not asked for
        assert list(models.index) == list(range(len(models)))


def test_rows_are_not_shown_in_grid_order_nor_twice_in_the_same(spied):
    _, given = spied
    shown = [
        entry["test_loss"].tolist() for entry in given if not isinstance(entry, tuple) and len(entry) == len(ROWS.test)
    ]
    assert len(shown) == 5
    assert len({tuple(order) for order in shown}) == 5
    assert all(order != ROWS.test.table["test_loss"].tolist() for order in shown)


def test_the_order_is_the_same_on_every_run(spied):
    _, given = spied
    first = [entry for entry in given if not isinstance(entry, tuple)]
    Spy.given = []
    ask(as_method(Spy), ROWS)
    for one, two in zip(first, [e for e in Spy.given if not isinstance(e, tuple)], strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_a_declared_column_comes_alone():
    class One(Spy):
        columns = ["train_error"]

    Spy.given = []
    assert ask(as_method(One), ROWS).columns == ("train_error",)
    assert list(Spy.given[-1].columns) == ["train_error"]


def test_of_alternatives_comes_the_first_that_both_zoos_have():
    def asked(*names):
        class Some(Spy):
            columns = list(names)

        return ask(as_method(Some), ROWS).columns

    assert asked("train_error|train_loss") == ("train_error",)
    assert asked("hessian_trace|train_error|train_loss", "train_error") == ("train_error",)
    with pytest.raises(MethodError, match=r"it wants column 'hessian_trace\|alpha_mean', which zoo .* does not have"):
        asked("hessian_trace|alpha_mean")
    assert asked("hessian_trace|alpha_mean|", "train_error", "train_loss|") == ("train_error", "train_loss")


def test_an_inductive_method_gets_no_column_that_places_a_row_among_the_others():
    class Alone(Spy):
        pass

    columns = ask(as_method(Alone), ROWS).columns
    assert "train_error" in columns
    assert not [column for column in columns if column.endswith("_quantile")]


def test_a_transductive_method_gets_no_column_that_reveals_labels():
    class Batch(Spy):
        track = "transductive"

    columns = ask(as_method(Batch), ROWS).columns
    assert "train_loss" in columns
    assert not {"test_error", "generalization_gap", "test_loss"} & set(columns)


class Says:
    """Answers with whatever it is told."""

    def __init__(self, answer):
        self.answer = answer

    def fit(self, models, labels):
        pass

    def predict(self, models):
        return self.answer(models)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda m: ["fine"] * len(m), "it predicted 'fine'; the labels of optimizer are"),
        (lambda m: [LOW] * (len(m) - 1), "labels for 1690 rows|labels for .* rows"),
        (lambda m: np.full((len(m), 2), LOW), r"it predicted \d+×2 labels"),
        (lambda m: [np.nan] * len(m), "it predicted NaN for"),
        (lambda m: [np.nan, None, *[LOW] * (len(m) - 2)], "it predicted NaN for 1 of .*; to abstain is to say None"),
        (lambda m: pd.Series([None, *[LOW] * (len(m) - 1)], dtype="str"), "it predicted NaN for 1 of"),
        (lambda m: [[LOW]] * len(m), "labels for|it predicted"),
        (lambda m: LOW, "it predicted a str, not one label a row"),
        (lambda m: dict.fromkeys(m.index, LOW), "it predicted a dict, not one label a row"),
        (lambda m: {LOW}, "it predicted a set, not one label a row"),
        (lambda m: None, "it predicted a NoneType"),
        (lambda m: (x for x in m), "it predicted a generator"),
        (lambda m: np.zeros(len(m)), "it predicted '0.0'"),
        (lambda m: [{}] * len(m), "it predicted '{}'"),
        (lambda m: pd.Series(LOW, index=m.index + 1), "index does not name the rows"),
        (lambda m: 1 / 0, "it raised ZeroDivisionError: division by zero"),
        (lambda m: (_ for _ in ()).throw(SystemExit(0)), "it raised SystemExit"),
    ],
)
def test_an_answer_that_cannot_be_scored_says_why(answer, message):
    with pytest.raises(MethodError, match=message):
        ask(as_method(Says(answer)), ROWS)


def test_a_series_is_joined_by_its_index():
    def backwards(models):
        return pd.Series(np.where(models["train_error"] > 10, LOW, HIGH), index=models.index)[::-1]

    np.testing.assert_array_equal(ask(as_method(Says(backwards)), ROWS).predicted, ask(as_method(Spy), ROWS).predicted)


def test_a_method_that_uses_the_batch_must_say_so():
    def above_the_median(models):
        return np.where(models["train_error"] > models["train_error"].median(), LOW, HIGH)

    def by_position(models):
        return [LOW if i % 2 else HIGH for i in range(len(models))]

    for cheat in (above_the_median, by_position):
        with pytest.raises(MethodError, match='declares track = "transductive"'):
            ask(as_method(Says(cheat)), ROWS)

    class Batch(Says):
        track = "transductive"

    ask(as_method(Batch(above_the_median)), ROWS)


class Remembers:
    """Ranks the rows of the first batch, and keeps to that."""

    def fit(self, models, labels):
        self.said = {}

    def predict(self, models):
        rows = [tuple(row) for row in models.to_numpy()]
        if not self.said:
            above = models["train_error"] > models["train_error"].median()
            self.said = dict(zip(rows, np.where(above, LOW, HIGH), strict=True))
        return [self.said.get(row, LOW) for row in rows]


class ScalesLate:
    """Takes the scale of its columns from the first batch."""

    def fit(self, models, labels):
        self.centre = None

    def predict(self, models):
        if self.centre is None:
            self.centre = models["train_error"].mean()
        return np.where(models["train_error"] > self.centre, LOW, HIGH)


class Locked(ScalesLate):
    """Cannot be copied."""

    def fit(self, models, labels):
        super().fit(models, labels)
        self.lock = threading.Lock()


@pytest.mark.parametrize("cheat", [Remembers, ScalesLate, Locked])
def test_a_method_that_keeps_what_it_took_from_its_first_batch_must_say_so(cheat):
    with pytest.raises(MethodError, match='declares track = "transductive"'):
        ask(as_method(cheat), ROWS)


def test_a_method_that_cannot_be_copied_is_trained_again_alike():
    class Draws:
        fits = 0

        def fit(self, models, labels):
            Draws.fits += 1
            self.lock = threading.Lock()
            self.limit = np.random.uniform(0, 60) + random.random()

        def predict(self, models):
            return np.where(models["train_error"] > self.limit, LOW, HIGH)

    ask(as_method(Draws), ROWS)
    assert Draws.fits == len(ROWS.samples) + 1


def test_a_method_that_draws_from_numpys_generator_is_reproducible():
    class Draws:
        def fit(self, models, labels):
            self.limit = np.random.uniform(0, 60)

        def predict(self, models):
            return np.where(models["train_error"] > self.limit, LOW, HIGH)

    one, two = ask(as_method(Draws), ROWS).predicted, ask(as_method(Draws), ROWS).predicted
    np.testing.assert_array_equal(one, two)
    assert len({row.tobytes() for row in one}) > 1  # but not the same for every sample


def test_equal_training_samples_are_asked_once():
    rows = split(load_cases("cifar10/optimizer/data-limited/20")[0], CLEAN, NOISY)
    Spy.given = []
    answer = ask(as_method(Spy), rows)
    assert sum(isinstance(entry, tuple) for entry in Spy.given) == 1
    assert len({row.tobytes() for row in answer.predicted}) == 1


def test_a_method_cannot_reach_the_labels_through_what_it_is_given():
    class Scribbles(Spy):
        def predict(self, models):
            models.loc[:] = 0  # its own copy
            return [LOW] * len(models)

    before = NOISY.configurations.copy()
    ask(as_method(Scribbles), ROWS)
    pd.testing.assert_frame_equal(NOISY.configurations, before)


def test_zero_shot_methods_are_not_shown_labels():
    class Rule:
        zero_shot = True

        def fit(self, models, labels):
            raise AssertionError("must not be called")

        def predict(self, models):
            return [LOW] * len(models)

    assert (ask(as_method(Rule), ROWS).predicted == 0).all()


@pytest.mark.parametrize("columns", [None, ["train_error"], ["hessian_trace|train_error", "alpha_mean|"]])
def test_another_process_is_told_what_the_method_sees_and_no_more(columns):
    class Some:
        def fit(self, models, labels):
            self.low = labels.eq(LOW).mean()

        def predict(self, models):
            return np.where(models["train_error"] > 100 * self.low, LOW, HIGH)

    Some.columns = columns
    method = as_method(Some)
    told = pickle.loads(pickle.dumps(ROWS.told(given_columns(method, ROWS))))
    seen = ask(method, ROWS).columns
    assert tuple(told.test.table) == seen
    assert tuple(told.train.table) == (*seen, "optimizer")
    assert np.array_equal(ask(method, told).predicted, ask(method, ROWS).predicted)
    assert ask(method, told).columns == seen
