"""Evaluating: results, failures that cost nobody else anything, cache, workers, saving and loading."""

import json
import signal
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

import mdbench
from mdbench.errors import MdbenchError
from mdbench.methods import cache
from mdbench.methods.cache import FOLDER
from mdbench.methods.interrupts import pressed
from mdbench.methods.warned import MethodWarning
from mdbench.paths import cache_home
from mdbench.scoring.results import PREDICTION_COLUMNS, Result, json_schema, load_result
from mdbench.sources.modeldiagnosis import TABLES

CASE = "cifar10/optimizer/few-shot/3"
CASES = (CASE, "cifar10/width_vs_optimizer/data-limited/20")
GOOD = """
columns = ["train_error"]
class Good:
    def fit(self, models, labels, task):
        self.label = labels.mode()[0]
    def predict(self, models):
        return [self.label] * len(models)
"""
pytestmark = pytest.mark.usefixtures("toy_home")


@pytest.fixture
def good(method_file) -> str:
    return str(method_file(GOOD, "good.py"))


def test_a_quick_look_learns_from_the_first_samples(good):
    """Its answers are the whole result's, of these samples."""
    whole, some = (mdbench.evaluate(["md_tree"], CASE, samples=samples, cache=False) for samples in (None, 2))
    seeds = some.predictions["seed"].unique().tolist()
    assert seeds == whole.predictions["seed"].unique().tolist()[:2]
    same = whole.predictions[whole.predictions["seed"].isin(seeds)].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.predictions.reset_index(drop=True), same, check_categorical=False)


def test_scores_are_what_the_predictions_say(good):
    result = mdbench.evaluate([good, "md_tree", "barrier_rule"], CASES)
    predictions = result.predictions
    assert tuple(predictions.columns) == PREDICTION_COLUMNS
    assert len(result.scores) == 5  # barrier_rule answers one of the two tasks
    for score in result.scores:
        mine = predictions[(predictions["method"] == score.method) & (predictions["case"] == score.case)]
        by_seed = 100 * (mine["predicted"] == mine["true"]).groupby(mine["seed"]).mean()
        assert score.accuracy == pytest.approx(by_seed.mean())
        assert score.accuracy_std == pytest.approx(by_seed.std())
        case = next(record for record in result.cases if record.case.name == score.case)
        np.testing.assert_allclose(by_seed.loc[list(case.case.seeds)], score.accuracy_by_seed)
        assert score.accuracy_interval.low <= score.accuracy <= score.accuracy_interval.high
        assert len(mine) == len(case.splits) * case.test_rows


def test_true_labels_and_rows_in_the_predictions_are_the_zoos(good):
    predictions = mdbench.evaluate(good, CASE).predictions
    zoo = mdbench.load_zoo("cifar10-resnet18-noise10").configurations
    assert (zoo.loc[predictions["row"], "optimizer"].to_numpy() == predictions["true"].to_numpy()).all()


def test_ranks_count_those_that_are_better(method_file, good):
    twin = str(method_file(GOOD, "twin.py"))
    result = mdbench.evaluate([good, twin, "md_tree"], CASE)
    ranks = {score.method: score.rank for score in result.scores}
    assert ranks["good"] == ranks["twin"]
    accuracies = {score.method: score.accuracy for score in result.scores}
    assert ranks["md_tree"] == 1 + 2 * (accuracies["good"] > accuracies["md_tree"])


def test_objects_and_files_give_the_same(good):
    class Same:
        columns = ("train_error",)

        def fit(self, models, labels):
            self.label = labels.mode()[0]

        def predict(self, models):
            return [self.label] * len(models)

    result = mdbench.evaluate([good, Same], CASE)
    assert result.scores[0].accuracy == result.scores[1].accuracy


BAD = {
    "raises": ("def predict(self, models): return boom", "it raised NameError: name 'boom' is not defined"),
    "unknown": ("def predict(self, models): return ['?'] * len(models)", "it predicted '?'"),
    "short": ("def predict(self, models): return []", "it predicted 0 labels"),
    "exits": ("def predict(self, models): raise SystemExit", "it raised SystemExit"),
    "dies": ("def predict(self, models): import os; os._exit(7)", "it ended its process (exit code 7)"),
    "hangs": ("def predict(self, models):\n        while True: pass", "it took longer than 8 s (--timeout)"),
}


def test_one_bad_method_loses_nothing_of_the_others(method_file, good):
    files = [
        str(method_file(f"class Bad:\n    def fit(self, models, labels): pass\n    {body}\n", f"{name}.py"))
        for name, (body, _) in BAD.items()
    ]
    broken = str(method_file("def f(:\n", "broken.py"))
    result = mdbench.evaluate([*files, broken, "no_such_method", good], CASES, workers=2, timeout=8)
    assert {(score.method, score.case) for score in result.scores} == {("good", case) for case in CASES}
    reasons = {(failure.method, failure.case): failure.reason for failure in result.failures}
    assert len(result.failures) == 2 * len(BAD) + 2
    for name, (_, expected) in BAD.items():
        for case in CASES:
            assert expected in reasons[name, case]
    assert "syntax error" in reasons["broken", None]
    assert "does not exist" in reasons["no_such_method", None]


INTERRUPTS = {
    "fit": "def fit(self, m, l): raise KeyboardInterrupt('mine')",
    "predict": "def fit(self, m, l): pass\n    def predict(self, m): raise KeyboardInterrupt('mine')",
    "load": "def fit(self, m, l): pass\n    raise KeyboardInterrupt('mine')",
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", INTERRUPTS)
def test_a_keyboard_interrupt_of_a_method_is_its_own_failure(method_file, good, where, workers):
    text = f"class Bad:\n    def predict(self, m): pass\n    {INTERRUPTS[where]}\n"
    file = method_file(text, "bad.py")
    result = mdbench.evaluate([file, good], CASE, workers=workers)
    assert [score.method for score in result.scores] == ["good"]
    (failure,) = result.failures
    assert failure.reason.endswith("KeyboardInterrupt: mine")
    assert "bad.py" in failure.traceback


def test_ctrl_c_while_a_method_runs_here_is_ctrl_c(method_file):
    file = method_file(
        "import os, signal\nclass Slow:\n    def fit(self, m, l): os.kill(os.getpid(), signal.SIGINT)\n"
        "    def predict(self, m): pass\n"
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        mdbench.evaluate(file, CASE)
    assert signal.getsignal(signal.SIGINT) is before


def test_who_hears_ctrl_c_while_a_method_runs_may_want_to_hear_no_more():
    def once(number, frame):
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    before = signal.signal(signal.SIGINT, once)
    try:
        with pressed() as heard:
            signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_traceback_is_cut_to_the_methods_own_frames(method_file):
    file = method_file(
        "class Bad:\n    def fit(self, m, l): self.help()\n    def help(self): return {}['x']\n    def predict(self, m): pass\n"
    )
    (failure,) = mdbench.evaluate(str(file), CASE).failures
    assert failure.traceback.count("mine.py") == 2
    assert "trial.py" not in failure.traceback
    assert failure.traceback.endswith("KeyError: 'x'")


def test_workers_give_the_same_as_this_process(good):
    names = [good, "md_tree", "random", "xgboost", "logistic_regression"]
    here = mdbench.evaluate(names, CASES, cache=False)
    there = mdbench.evaluate(names, CASES, cache=False, workers=2)
    pd.testing.assert_frame_equal(here.predictions, there.predictions)
    pd.testing.assert_frame_equal(here.to_frame(), there.to_frame())


def test_a_case_whose_zoo_is_missing_loses_nothing_of_the_others(good, home):
    import shutil

    for name, _ in list(TABLES.values())[1:]:
        shutil.rmtree(home / "zoos" / name)
    with pytest.raises(MdbenchError, match="mdbench import modeldiagnosis"):
        mdbench.evaluate(good, CASE)


def test_a_file_that_was_edited_is_read_again(method_file):
    """As in a notebook: the same path, the same process, another method, of the same length and in the same second."""
    text = "class Rule:\n    zero_shot = True\n    def predict(self, models):\n"
    text += "        return [['temperature_too_low', 'temperature_too_high'][0]] * len(models)\n"
    edits = (text, text.replace("[0]", "[1]"))
    results = [mdbench.evaluate(str(method_file(edit)), CASE) for edit in edits]
    said = [result.predictions["predicted"].unique().tolist() for result in results]
    assert said == [["temperature_too_low"], ["temperature_too_high"]]


def test_names_must_differ(good, method_file):
    other = method_file(f"name = 'good'\n{GOOD}", "other.py")
    with pytest.raises(MdbenchError, match="two methods are called 'good'"):
        mdbench.evaluate([good, str(other)], CASE)
    assert len(mdbench.evaluate([good, good], CASE).methods) == 1


@pytest.mark.parametrize("nothing", [[], ()])
def test_no_method_is_an_error(nothing):
    with pytest.raises(MdbenchError, match="no method"):
        mdbench.evaluate(nothing, CASE)


# --- the cache ------------------------------------------------------------------------------------------------------


def answers() -> list[Path]:
    return sorted(cache_home().glob(f"{FOLDER}/*/*"))


COUNTED = GOOD + "    def __init__(self):\n        with open({log!r}, 'a') as log: log.write('x')\n"


@pytest.fixture
def counted(method_file, tmp_path):
    """A method that leaves a mark whenever it is asked."""
    log = tmp_path / "log"
    method_file(COUNTED.format(log=str(log)), "counted.py")
    return str(tmp_path / "counted.py"), lambda: len(log.read_text()) if log.exists() else 0


def test_an_answer_is_not_asked_for_twice(counted):
    file, asked = counted
    first = mdbench.evaluate(file, CASE)
    again = mdbench.evaluate(file, CASE)
    assert asked() == 5  # one fresh copy a seed
    assert again.scores == first.scores
    pd.testing.assert_frame_equal(again.predictions, first.predictions)
    mdbench.evaluate(file, CASE, cache=False)
    assert asked() == 10


def test_a_changed_table_asks_again(counted):
    import toy

    from mdbench.paths import zoo_home

    file, asked = counted
    mdbench.evaluate(file, CASE)
    toy.zoo("cifar10-resnet18-noise10", seed=9).save(zoo_home() / "cifar10-resnet18-noise10")
    mdbench.evaluate(file, CASE)
    assert asked() == 10


@pytest.mark.parametrize("name", ["module.py", "__init__.pyi"])
def test_changed_code_of_mdbench_asks_again(counted, monkeypatch, tmp_path, name):
    file, asked = counted
    monkeypatch.setattr(cache, "PACKAGE", tmp_path / "mdbench")
    (tmp_path / "mdbench" / "room").mkdir(parents=True)
    for text in ("from .one import it as it\n", "from .other import it as it\n"):
        (tmp_path / "mdbench" / "room" / name).write_text(text)
        cache.harness.cache_clear()
        mdbench.evaluate(file, CASE)
    cache.harness.cache_clear()
    assert asked() == 10


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"\x80\x04\x95junk"])
def test_a_damaged_answer_is_asked_for_again(counted, damage):
    file, asked = counted
    first = mdbench.evaluate(file, CASE)
    (kept,) = answers()
    kept.write_bytes(damage)
    assert mdbench.evaluate(file, CASE).scores[0].accuracy == first.scores[0].accuracy
    assert asked() == 10


def test_an_answer_with_impossible_verdicts_is_asked_for_again(counted):
    file, asked = counted
    mdbench.evaluate(file, CASE)
    (kept,) = answers()
    with np.load(kept) as old:
        content = dict(old)
    with kept.open("wb") as out:
        np.savez(out, **content | {"predicted": np.full_like(content["predicted"], 9)})
    mdbench.evaluate(file, CASE)
    assert asked() == 10


def test_a_failure_is_not_kept(method_file):
    file = method_file("class Bad:\n    def fit(self, m, l): 1/0\n    def predict(self, m): pass\n")
    mdbench.evaluate(str(file), CASE)
    assert answers() == []


def test_a_cache_that_cannot_be_written_costs_nothing(good, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("mdbench.methods.cache.cache_home", lambda: tmp_path / "file")
    with pytest.warns(MethodWarning, match=r"^answers are not kept in .*; they will be asked for again$"):
        assert mdbench.evaluate(good, CASE).scores


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was_saved(good, tmp_path):
    result = mdbench.evaluate([good, "md_tree"], CASES)
    result.save(tmp_path / "a" / "b")
    back = load_result(tmp_path / "a" / "b")
    assert back.model_dump() == result.model_dump()
    pd.testing.assert_frame_equal(back.predictions, result.predictions)
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["predictions.parquet", "result.json"]


def test_the_json_fits_its_schema_and_the_published_schema_is_this_one(good, tmp_path):
    mdbench.evaluate(good, CASE).save(tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    jsonschema.validate(content, json.loads(json_schema()))
    docs = Path(__file__).parent.parent / "docs" / "result.schema.json"
    assert json.loads(docs.read_text()) == json.loads(json_schema()), (
        "run: python -m mdbench.scoring.results > docs/result.schema.json"
    )
    assert set(content["environment"]["packages"]) >= {"scikit-learn", "numpy", "scipy"}
    assert len(content["cases"][0]["splits"]) == 5


def test_a_result_that_cannot_be_written_says_so(good, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MdbenchError, match="cannot write the result"):
        mdbench.evaluate(good, CASE).save(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no readable result"),
        ("[]", "Input should be"),
        ('{"format": 99}', "format 99 is newer"),
        ("{}", "Field required"),
        ("\udcff", "no readable result"),
    ],
)
def test_a_result_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MdbenchError, match=message):
        load_result(tmp_path)
    with pytest.raises(MdbenchError, match="No such file"):
        load_result(tmp_path / "nowhere")


def test_a_result_of_the_first_format_stays_readable():
    old = Path(__file__).parent / "data" / "result-format-1.json"
    assert Result.model_validate_json(old.read_text()).format == 1
