"""Calibration on numbers worked out by hand, and answers about networks whose kin was left out."""

import json
import math
import os
import re
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from pathlib import Path

import foreign
import numpy as np
import pandas as pd
import pytest
from pebble import ProcessPool
from scipy import optimize, stats
from tiny_zoo import here

from mdbench.diagnosing import calibration, headline, keeping, markdown, moves_of, nearest, outside, verdicts_of
from mdbench.diagnosing.diagnosis import Diagnosis, Neighbour, load_diagnosis
from mdbench.diagnosing.judge import Judge, known
from mdbench.diagnosing.leaving import Rows, learned, leave_out
from mdbench.diagnosing.moves import experiment, in_words
from mdbench.diagnosing.pool import bundled_pool, kin, single
from mdbench.errors import MdbenchError
from mdbench.tables import find_task, load_zoo


def test_a_temperature_divides_logarithms():
    """√0.64 : √0.36 = 8 : 6 at T = 2, and 0.8² : 0.2² = 16 : 1 at T = ½."""
    assert calibration.tempered(np.array([[0.64, 0.36]]), 2) == pytest.approx(np.array([[8 / 14, 6 / 14]]))
    assert calibration.tempered(np.array([[0.8, 0.2]]), 0.5) == pytest.approx(np.array([[16 / 17, 1 / 17]]))


def test_the_temperature_makes_what_is_said_as_frequent_as_it_is_right():
    """Sixteen of twenty are right where 0.64 : 0.36 was said: the likeliest is 0.8 : 0.2, and ln 4 / ln(16 / 9) = 1 / T."""
    probabilities = np.tile([0.64, 0.36], (20, 1))
    right = np.array([0] * 16 + [1] * 4)
    found = calibration.temperature_of(probabilities, right)
    assert found == pytest.approx(math.log(16 / 9) / math.log(4), rel=1e-3)
    assert calibration.tempered(probabilities, found)[0] == pytest.approx([0.8, 0.2], abs=1e-3)


def test_weights_are_as_many_of_the_same():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 30)
    right, weights = rng.integers(0, 3, 30), rng.integers(1, 5, 30)
    repeated = np.repeat(np.arange(30), weights)
    found = calibration.temperature_of(probabilities, right, weights.astype(float))
    assert found == pytest.approx(calibration.temperature_of(probabilities[repeated], right[repeated]), rel=1e-3)


def test_the_temperature_is_that_of_a_plain_minimization():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(40, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = np.array([rng.choice(4, p=one) for one in probabilities])

    def loss(scale):
        z = logits * scale
        return (np.log(np.exp(z).sum(1)) - z[np.arange(40), right]).mean()

    inverse = optimize.minimize_scalar(loss, bounds=(0.05, 10), method="bounded", options={"xatol": 1e-6}).x
    assert calibration.temperature_of(probabilities, right) == pytest.approx(1 / inverse, rel=2e-3)


def test_from_which_probability_on_answers_are_right_often_enough():
    """Twenty right at 0.9, one wrong at 0.8 (20 of 21: 95.2 %), another at 0.7 (20 of 22: 90.9 %)."""
    sure = np.array([0.9] * 20 + [0.8, 0.7])
    right = np.array([True] * 20 + [False, False])
    assert calibration.threshold_of(sure, right) == 0.8
    assert calibration.threshold_of(sure, right, wanted=0.96) == 0.9
    assert calibration.threshold_of(sure, right, fewest=23) == math.inf
    assert calibration.threshold_of(sure[:19], right[:19]) == math.inf  # nineteen answers are too few to rest on
    assert calibration.threshold_of(sure, ~right) == math.inf


def test_equally_sure_answers_are_given_together_or_not_at_all():
    sure = np.array([0.9] * 22)
    right = np.array([True] * 20 + [False] * 2)
    assert calibration.threshold_of(sure, right) == math.inf


def test_a_bin_of_one_answer_is_an_error_too():
    """Fifteen sure and wrong answers, each in a bin of its own or all in one, are never right."""
    sure = np.linspace(0.51, 0.99, 15)
    edges = [(low + high) / 2 for low, high in pairwise(sure)]
    alone = calibration.reliability(sure, np.zeros(15, bool), edges)
    assert [one.count for one in alone] == [1] * 15
    assert all(one.right == 0 for one in alone)
    (together,) = calibration.reliability(sure, np.zeros(15, bool), [])
    assert (together.count, together.right) == (15, 0)
    assert together.said == pytest.approx(0.75)


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (19, 20), (10, 37), (0, 15)])
def test_wilsons_interval_is_scipys(hits, count):
    found = stats.binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert calibration.wilson(hits, count) == pytest.approx((found.low, found.high), abs=1e-12)


def test_intervals_over_zoos():
    """Of 0.8 and 0.9 the mean is 0.85, its standard error 0.05, and Student's quantile with one degree of freedom 12.706."""
    assert calibration.over_zoos([0.8, 0.9]) == pytest.approx((0.85, 0.85 - 12.706 * 0.05, 1.0), abs=1e-4)
    assert calibration.ratio_over_zoos([0.2, 0.4, 0.3], [0.4, 0.8, 0.6]) == pytest.approx((0.5, 0.5, 0.5))
    middle, low, high = calibration.ratio_over_zoos([0.5, 0.0], [0.5, 0.01])
    assert middle == pytest.approx(0.5 / 0.51)  # a zoo of which hardly anything was answered hardly counts
    assert low < middle < high
    assert calibration.ratio_over_zoos([0.5, 0.0], [0.5, 0.0]) == (1.0, 0.0, 1.0)  # one zoo says nothing of the next


def test_kin_are_left_out_together():
    groups = kin("optimizer")
    assert groups["mnist1d-cnn"] == groups["mnist1d-plain"] == groups["mnist1d-treated"]
    assert len({groups[zoo] for zoo in ("mnist1d-cnn", "mnist1d-mlp", "fashion-cnn", "digits-adamw")}) == 4


def test_one_network_has_nothing_that_needs_two():
    zoo = load_zoo("mnist1d-cnn")
    found = single(zoo)
    assert len(found) == len(zoo.configurations)
    assert not {"mode_connectivity_peak", "output_cka", "test_disagreement"} & set(found)
    np.testing.assert_allclose(np.log(found["hessian_trace"]), found["log_hessian_trace"])
    first = zoo.checkpoints[zoo.checkpoints["seed"] == 0].set_index("configuration")["test_error"]
    np.testing.assert_array_equal(found["test_error"], first.loc[found.index])


#: The fewest columns that say something: the pipeline is the same, and takes less time.
FEW = ("train_error", "train_loss", "test_error", "log_hessian_trace", "hessian_trace", "hessian_top_eigenvalue")


@pytest.fixture(scope="module")
def left_out():
    return leave_out(bundled_pool(seeds=False), find_task("optimizer"), FEW)


@pytest.fixture(scope="module")
def answers():
    """What is said of one network of the pool, in `FEW` columns."""
    return verdicts_of(bundled_pool(seeds=False).rows.iloc[[3]][list(FEW)], seeds=False)


@pytest.mark.parametrize(
    ("examples", "tested", "why"),
    [
        (30, 1000, "its numbers are of 30 training examples, and fewer than 40 say nothing"),
        (1000, 1, "its numbers are of 1 test example, and fewer than 40 say nothing"),
        (40, 40, None),
        (1000, None, None),
    ],
)
def test_fewer_examples_than_any_network_had_answer_nothing(left_out, monkeypatch, examples, tested, why):
    pool, task = bundled_pool(seeds=False), find_task("optimizer")
    parts = (*left_out, learned(pool, task, FEW, Rows.of(pool, task)))
    monkeypatch.setitem(verdicts_of.__globals__, "of_bundle", lambda *_: parts)
    monkeypatch.setitem(verdicts_of.__globals__, "is_kept", lambda *_: True)
    assert pool.rows["data_amount"].min() == 40
    for at in range(0, 400, 40):
        row = pool.rows.iloc[[at]][list(FEW)].assign(data_amount=float(examples))
        (found,) = verdicts_of(row, seeds=False, tested=tested, tasks=["optimizer"])
        assert found.why_not == why if why else "examples" not in (found.why_not or "")


def test_a_group_is_answered_by_who_never_saw_it(left_out):
    """Turn all labels of a group round: what is said of it stays as it is, its temperature and its threshold too."""
    pool = bundled_pool(seeds=False)
    task, (_, found) = find_task("optimizer"), left_out
    group = pool.groups["optimizer"]["fashion-cnn"]
    there = found.rows.groups == group
    labels = pool.labels.copy()
    own = labels.index[pool.rows["zoo"] == "fashion-cnn"]
    labels.loc[own, "optimizer"] = labels.loc[own, "optimizer"].replace(
        dict(zip(task.classes, task.classes[::-1], strict=True))
    )
    turned = type(pool)(pool.seeds, pool.rows, labels, pool.decided, pool.groups, pool.zoos)
    _, again = leave_out(turned, task, FEW)
    np.testing.assert_array_equal(again.probabilities[there], found.probabilities[there])
    np.testing.assert_array_equal(again.thresholds[there], found.thresholds[there])
    assert not np.array_equal(again.probabilities[~there], found.probabilities[~there])


def test_the_number_of_processes_changes_nothing(left_out):
    calibrated, found = leave_out(bundled_pool(seeds=False), find_task("optimizer"), FEW, workers=2)
    assert calibrated == left_out[0]
    for name in ("probabilities", "thresholds", "far"):
        np.testing.assert_array_equal(getattr(found, name), getattr(left_out[1], name))


def test_what_was_learned_is_kept(left_out, tmp_path, monkeypatch):
    """And learned again where the file is damaged, or other columns are asked about."""
    monkeypatch.setenv("MDBENCH_HOME", str(tmp_path))
    asked = []

    def leave_out(pool, task, columns, workers):
        asked.append(columns)
        return left_out

    monkeypatch.setattr(keeping, "leave_out", leave_out)

    def learned(columns=FEW):
        keeping.of_bundle.cache_clear()
        return keeping.of_bundle(False, "optimizer", columns)

    learned()
    calibrated, found, judge = learned()
    assert len(asked) == 1
    assert calibrated == left_out[0]
    for name in ("probabilities", "thresholds", "far"):
        np.testing.assert_array_equal(getattr(found, name), getattr(left_out[1], name))
    assert keeping.of_bundle(False, "optimizer", FEW)[2] is judge
    (kept,) = (tmp_path / "cache" / keeping.FOLDER).iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    learned()
    learned(FEW[:4])
    assert asked == [FEW, FEW, FEW[:4]]
    rows, classes = Rows.of(bundled_pool(seeds=False), find_task("optimizer")), 2
    assert keeping._read(kept, rows, classes) is not None
    for place in (*range(400), *range(400, len(whole), 97)):  # zipfile, zlib and NumPy's header raise what they like
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        keeping._read(kept, rows, classes)
    keeping.of_bundle.cache_clear()


def test_a_cache_that_nobody_may_look_into_holds_nothing(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    assert not keeping.is_kept(False, "optimizer", FEW)  # what it reads of the package is read
    monkeypatch.setattr(os, "stat", refused)  # what a folder without rights does to anybody but root
    assert not keeping.is_kept(False, "optimizer", FEW)


def test_a_fork_server_that_was_killed_is_told_in_a_line(monkeypatch):
    def killed(*_, **__):
        raise BrokenProcessPool("a process in the pool ended")

    monkeypatch.setattr(ProcessPool, "schedule", killed)
    with pytest.raises(MdbenchError, match="a process that learned from the zoos ended, perhaps for want of memory"):
        leave_out(bundled_pool(seeds=False), find_task("optimizer"), FEW, workers=2)


def test_groups_weigh_the_same_whatever_they_hold():
    pool = bundled_pool(seeds=False)
    rows = Rows.of(pool, find_task("optimizer"))
    sums = [rows.weights[rows.groups == group].sum() for group in np.unique(rows.groups)]
    assert sums == pytest.approx([len(rows.at) / len(sums)] * len(sums))


def test_a_network_beyond_all_is_judged_as_one_at_the_edge():
    pool, task = bundled_pool(seeds=False), find_task("optimizer")
    rows = Rows.of(pool, task)
    judge = Judge(task, FEW).fit(pool.rows.iloc[rows.at], rows.right, rows.weights)
    far = pool.rows.iloc[rows.at[:1]].assign(log_hessian_trace=1e6)
    farther = far.assign(log_hessian_trace=1e9)
    np.testing.assert_array_equal(judge.predict_proba(far), judge.predict_proba(farther))
    assert judge.predict_proba(far).sum(axis=1) == pytest.approx([1])


def test_what_a_network_does_not_have_is_not_asked_about():
    pool = bundled_pool(seeds=False)
    row = pool.rows.iloc[[0]].assign(hessian_trace=np.nan, log_hessian_trace=np.nan)
    assert not {"hessian_trace", "log_hessian_trace"} & set(known(row, pool.rows))
    with pytest.raises(
        MdbenchError, match=r"only 1 of the numbers that methods look at could be measured \(log_loss\)"
    ):
        known(pd.DataFrame({"train_loss": [0.1]}), pool.rows)


@pytest.mark.parametrize(
    ("changes", "coordinates", "columns"),
    [
        ({"hessian_top_eigenvalue": 3.0, "hessian_trace": 2.0}, {"log_rest"}, {"hessian_trace"}),
        ({"sharpness_average": -0.1}, {"relative_sharpness"}, {"sharpness_average"}),
        ({"train_loss": 0.0}, {"log_loss", "scaled_trace", "relative_sharpness"}, {"train_loss"}),
    ],
    ids=["a trace below its largest eigenvalue", "a loss that falls nearby", "no loss"],
)
def test_a_number_that_has_no_coordinate_is_not_filled_in(changes, coordinates, columns):
    pool = bundled_pool(seeds=False)
    row = pool.rows.iloc[[0]]
    before, after = known(row, pool.rows), known(row.assign(**changes), pool.rows)
    assert set(before) - set(after) == columns
    task = find_task("optimizer")
    rows = Rows.of(pool, task)
    some = rows.some(rows.clear & (np.arange(len(rows.at)) % 10 == 0))
    judges = [Judge(task, some_columns) for some_columns in (before, after)]
    first, second = (set(one.fit(pool.rows.iloc[some.at], some.right, some.weights).names) for one in judges)
    assert first - second == coordinates
    said = judges[1].predict_proba(row.assign(**changes))
    for value in (0.01, 1.0, 50.0):  # whatever it is
        filled = row.assign(**changes).assign(**dict.fromkeys(columns, value))
        assert (judges[1].predict_proba(filled) == said).all()


@pytest.mark.parametrize(
    ("batch", "up", "down"),
    [
        (1, "learning rate 0.1 → 0.2", "batch size 1 → 2, or learning rate 0.1 → 0.05"),
        (3, "batch size 3 → 2, or learning rate 0.1 → 0.2", "batch size 3 → 6, or learning rate 0.1 → 0.05"),
        (40, "batch size 40 → 20, or learning rate 0.1 → 0.2", "batch size 40 → 60, or learning rate 0.1 → 0.05"),
        (60, "batch size 60 → 30, or learning rate 0.1 → 0.2", "learning rate 0.1 → 0.05"),
        (64, "batch size 64 → 32, or learning rate 0.1 → 0.2", "learning rate 0.1 → 0.05"),
    ],
)
def test_a_batch_has_one_example_at_least_and_all_at_most(batch, up, down):
    """Of 60 examples."""
    told = {"batch_size": batch, "learning_rate": 0.1}
    assert in_words("temperature_up", told, 60) == up
    assert in_words("temperature_down", told, 60) == down


def test_answers_are_distributions_and_width_is_a_hint(answers):
    verdicts = {verdict.task: verdict for verdict in answers}
    for verdict in verdicts.values():
        assert sum(verdict.probabilities.values()) == pytest.approx(1)
        assert verdict.answered == (verdict.why_not is None)
        sure = verdict.probabilities[verdict.likeliest]
        assert sure == max(verdict.probabilities.values())
        if verdict.answered:
            assert sure >= verdict.threshold
        counted = sum(one.clear for one in verdict.reliability.zoos)
        assert sum(one.right.count for one in verdict.reliability.bins) == counted
    assert not verdicts["width_vs_optimizer"].answered


def test_a_diagnosis_comes_back_from_its_file(answers):
    diagnosis = Diagnosis(
        checkpoints=1,
        parameters=5,
        extent="quick",
        verdicts=answers,
        measured={"train_loss": 0.5, "test_loss": None},
        reasons={"similarity": "there is one network"},
    )
    text = diagnosis.model_dump_json()
    assert load_diagnosis(text) == diagnosis
    assert set(json.loads(text)) == set(Diagnosis.model_json_schema()["properties"])


def test_what_lies_beyond_is_said_and_far_beyond_is_not_answered():
    pool = bundled_pool(seeds=False)
    row = pool.rows.iloc[[3]][list(FEW)]
    assert outside(row, pool.rows, FEW) == ()
    far = row.assign(log_hessian_trace=100.0)
    found = {one.coordinate: one for one in outside(far, pool.rows, FEW)}
    traces = pool.rows["log_hessian_trace"]
    assert found["log_trace"].high == pytest.approx(traces.max())
    assert found["log_trace"].beyond == pytest.approx((100 - traces.max()) / traces.std())
    for verdict in verdicts_of(far, seeds=False):
        assert not verdict.answered


def test_a_network_is_nearest_to_itself():
    pool = bundled_pool(seeds=False)
    first, *others = nearest(pool.rows.iloc[[40]], pool, FEW)
    assert (first.zoo, first.configuration) == tuple(pool.rows.loc[40, ["zoo", "configuration"]])
    assert first.distance == 0
    assert [one.distance for one in others] == sorted(one.distance for one in others)
    assert first.lacked["optimizer"] == pool.labels.loc[40, "optimizer"]


def test_a_move_gains_what_it_gained_on_the_nearest(answers):
    """One step of more data, from the table of the zoo itself."""
    pool = bundled_pool(seeds=False)
    zoo = pool.zoos["mnist1d-cnn"].configurations
    levels = sorted(zoo["data_fraction"].unique())
    names = [f"label_noise=0/data_fraction={share:g}/width=16/batch_size=64" for share in levels[2:4]]
    near = tuple(Neighbour(zoo="mnist1d-cnn", configuration=name, distance=0.1, lacked={}) for name in names)
    verdict = answers[-1]
    moves = {
        one.verdict: one for one in moves_of([verdict], near, pool, {"batch_size": 128, "learning_rate": 0.1}, 1000)
    }
    gains = []
    for name, share, after in zip(names, levels[2:4], levels[3:5], strict=True):
        error = zoo.loc[name.replace(f"data_fraction={share:g}", f"data_fraction={after:g}"), "test_error"]
        gains.append(max(0, zoo.loc[name, "test_error"] - error))
    assert moves["data"].gain == pytest.approx(np.mean(gains))
    assert moves["data"].spread == pytest.approx(np.std(gains, ddof=1))
    assert moves["temperature_too_low"].what == "batch size 128 → 64, or learning rate 0.1 → 0.2"
    assert moves["temperature_too_high"].what == "batch size 128 → 256, or learning rate 0.1 → 0.05"
    assert "1,000 examples → 2,000" in moves["data"].what


LIKELY = {"data": 0.4, "temperature_too_high": 0.25, "temperature_too_low": 0.2, "width": 0.15}


def _said(answers, **given):
    """Return verdicts: a hint about the source, as likely as `LIKELY` says, and the answers that are given."""
    (like, *_) = answers
    source = like.model_copy(
        update={"task": "failure_source", "probabilities": LIKELY, "likeliest": "data", "answered": False}
    )
    asked = [
        like.model_copy(
            update={
                "task": task,
                "likeliest": said,
                "answered": True,
                "probabilities": {name: sure if name == said else 1 - sure for name in find_task(task).classes},
            }
        )
        for task, (said, sure) in given.items()
    ]
    return [*asked, source]


@pytest.mark.parametrize(
    ("given", "order", "experiment_is"),
    [
        ({}, ["data", "temperature_too_high", "temperature_too_low", "width"], "a lower temperature"),
        (
            {"optimizer": ("temperature_too_low", 1.0)},
            ["temperature_too_low", "data", "width", "temperature_too_high"],
            "a higher temperature",
        ),
        (
            {"data_vs_optimizer": ("optimizer", 0.97)},
            ["temperature_too_high", "temperature_too_low", "width", "data"],
            "which way",
        ),
        (
            {"optimizer": ("temperature_too_low", 0.99), "data_vs_optimizer": ("optimizer", 0.96)},
            ["temperature_too_low", "width", "data", "temperature_too_high"],
            "twice the learning rate",
        ),
        (
            {"optimizer": ("temperature_too_low", 0.99), "data_vs_optimizer": ("data", 0.96)},
            ["data", "temperature_too_low", "width", "temperature_too_high"],
            "a wider network",
        ),
    ],
)
def test_what_to_do_begins_with_what_was_answered(answers, given, order, experiment_is):
    """And the experiment asks nothing that was; orders written by hand."""
    verdicts = _said(answers, **given)
    moves = moves_of(verdicts, (), bundled_pool(seeds=False), {}, 100)
    assert [move.verdict for move in moves] == order
    assert experiment_is in experiment(verdicts)


def test_the_headline_is_of_the_move_that_comes_first(answers):
    """Answered: the temperature is too low, less surely that data help more. So more data is what is said."""
    told = {"optimizer": ("temperature_too_low", 0.99), "data_vs_optimizer": ("data", 0.96)}
    found = Diagnosis(
        checkpoints=1, parameters=5, extent="quick", verdicts=_said(answers, **told), measured={}, reasons={}
    )
    assert headline(found) == "More data would help more than a better temperature of training (96%)."


def test_a_diagnosis_in_words(answers):
    pool = bundled_pool(seeds=False)
    row = pool.rows.iloc[[3]][list(FEW)]
    diagnosis = Diagnosis(
        checkpoints=1,
        parameters=5,
        extent="quick",
        verdicts=answers,
        nearest=nearest(row, pool, FEW),
        measured={"train_loss": 0.5},
        reasons={"similarity": "a | b"},
    )
    text = markdown(diagnosis)
    assert headline(diagnosis) in text
    assert r"a \| b" in text
    for verdict in diagnosis.verdicts:
        assert verdict.question in text
        assert ("A hint:" in text) == any(not one.answered for one in diagnosis.verdicts)


def test_the_page_names_the_widths_that_its_table_has():
    page = (Path(__file__).parent.parent / "docs" / "diagnose.md").read_text(encoding="utf-8")
    widths = re.findall(r"^\| `mnist1d-cnn` \| `[^`]*/width=(\d+)/", page, re.M)
    (said,) = re.findall(r"^- `mnist1d-cnn` with width (.*) and all", page, re.M)
    assert said.split(" or ") == sorted(set(widths))


def test_networks_of_other_data_are_answered_as_the_page_says(tmp_path):
    """Of what is answered 95 % are right, as probabilities say; what is not answered is right less often."""
    found = foreign.asked(foreign.made(tmp_path, here), ("optimizer", "data_vs_optimizer"))
    assert found.groupby("task").size().between(35, 50).tolist() == [True, True]
    answered, rest = found[found["answered"]], found[~found["answered"]]
    assert len(answered) >= 30
    right, count = int(answered["right"].sum()), len(answered)
    assert stats.binomtest(right, count, calibration.WANTED, alternative="less").pvalue > 0.01
    said = answered["probability"]
    assert abs(right - said.sum()) < 2.6 * math.sqrt((said * (1 - said)).sum())
    others = int(rest["right"].sum())
    table = [[right, count - right], [others, len(rest) - others]]
    assert stats.fisher_exact(table, alternative="greater").pvalue < 1e-4
