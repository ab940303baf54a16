"""What a row is worth: the run here, on questions that could not be foreseen, of a method that repeats itself."""

import itertools
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from dishonest import METHOD, case, honest, small_exam
from sklearn.metrics import brier_score_loss, log_loss

from leaderboard.entry.checks import check
from leaderboard.entry.entry import METHOD as FILE
from leaderboard.entry.sheet import sheet_of
from leaderboard.verifying.rerun import RUNS, judge, missing_requirements, rerun
from leaderboard.verifying.run import Controls, keep, read_runs
from leaderboard.verifying.verification import scored
from mdbench.errors import MdbenchError
from mdbench.methods.method import as_method, load_method
from mdbench.methods.replies import Answer
from mdbench.methods.trial import questions, solve
from mdbench.methods.workers import Here

SECRET = "0123456789abcdef" * 2

FRAME = """
import numpy as np
columns = {{task: ["train_error", "log_hessian_trace"] for task in ("optimizer", "width_vs_optimizer")}}

class Hostile:
    def fit(self, models, labels, task):
        self.models, self.labels, self.classes = models, labels, np.array(task.classes)
        self.task = task.name
        self.median = models["train_error"].median()

    def plain(self, models):
        return self.classes[(models["train_error"].to_numpy() > self.median).astype(int)]

    def predict(self, models):
{predict}
"""


def hostile(predict: str, before: str = "") -> str:
    return before + FRAME.format(predict="\n".join(" " * 8 + line for line in predict.strip("\n").splitlines()))


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return small_exam(tmp_path_factory.mktemp("exam"))


@pytest.fixture
def entry(exam, tmp_path):
    """Return an entry of some method, checked: what it sent is what it says of the public questions."""

    def of(method: str):
        return check(honest(tmp_path / "entries", exam, method=method), exam)

    return of


def test_what_counts_is_the_run_here_and_what_was_sent_is_history(exam, entry):
    checked = entry(METHOD)
    found = rerun(checked, exam, Here())
    run = found.verdict.run
    assert found.verdict.outcome == "verified"
    assert run.scores == scored(checked.predicted, exam)  # a median knows no order
    assert (run.as_sent, run.spread, len(found.contents)) == (100, 0, 1)
    assert run.sure is None  # it gives no probabilities
    # The same method with predictions that somebody made up is worth the same.
    lied = {name: 1 - said for name, said in checked.predicted.items()}
    other = rerun(replace(checked, predicted=lied), exam, Here())
    assert other.verdict.run.scores == run.scores
    assert other.verdict.run.as_sent == 0
    sent = np.mean(list(scored(lied, exam).values()))
    assert f"of those sent, worth {sent:.2f} %, 0.0 % are the same" in other.verdict.reason


SURE = (
    hostile("return self.classes[self.predict_proba(models).argmax(axis=1)]")
    + """
    def predict_proba(self, models):
        likely = np.where(models["train_error"].to_numpy() > self.median, 0.3, 0.9)
        return np.stack([likely, 1 - likely], axis=1)
"""
)


def test_how_sure_a_method_is_stands_with_its_run(exam, entry):
    run = rerun(entry(SURE), exam, Here()).verdict.run
    losses, briers = [], []
    for posed in exam.posed.values():
        if posed.rows.task.name not in ("optimizer", "width_vs_optimizer"):
            continue
        values, per_sample = posed.rows.test.table["train_error"].to_numpy(), []
        for sample in posed.rows.samples:
            median = np.median(posed.rows.train.matrix(("train_error",))[sample, 0])
            likely = np.where(values > median, np.float32(0.3), np.float32(0.9)).astype(float)
            per_sample.append(np.stack([likely, 1 - likely], axis=1))
        truth = posed.rows.test.codes
        losses.append(np.mean([log_loss(truth, given, labels=[0, 1]) for given in per_sample]))
        briers.append(np.mean([2 * brier_score_loss(truth, given[:, 1]) for given in per_sample]))
    assert run.sure.log_loss == pytest.approx(np.mean(losses), abs=1e-6)
    assert run.sure.brier_score == pytest.approx(np.mean(briers), abs=1e-6)


def test_a_secret_repeats_a_verification_and_another_one_asks_otherwise(exam, entry):
    by_place = hostile("return self.classes[np.arange(len(models)) // 2 % 2]").replace(
        "columns =", "track = 'transductive'\ncolumns ="
    )
    checked = checked_as(with_source(entry(METHOD), by_place), track="transductive")
    one, same, other = (rerun(checked, exam, Here(), secret) for secret in (SECRET, SECRET, None))
    assert one == same
    assert one.verdict.run.secret == SECRET != other.verdict.run.secret
    assert one.contents != other.contents


def with_source(checked, source: str):
    return replace(checked, source=source)


def checked_as(checked, **said):
    """Return a checked entry that says something else of its method."""
    method = checked.entry.method.model_copy(update=said)
    return replace(checked, entry=checked.entry.model_copy(update={"method": method}))


def test_the_public_order_does_not_help(exam, entry, tmp_path):
    # It knows every public order of the test rows, and their labels, and looks at no value of a test row.
    answers = {}
    (tmp_path / "plain.py").write_text(METHOD)
    method = load_method(tmp_path / "plain.py")
    for name in (case("optimizer").name, case("width_vs_optimizer").name):
        rows = exam.posed[name].rows
        for _, seen, question in questions(method, rows):
            key = sorted(question.train[:, 0].round(6).tolist())
            answers[rows.task.name, str(key)] = rows.test.codes[seen].tolist()
    knows = f"ANSWERS = {answers!r}\n"
    looks = """
key = str(sorted(self.models["train_error"].round(6).tolist()))
known = ANSWERS[self.task, key]
return self.classes[known] if len(models) == len(known) else self.plain(models)
"""
    text = hostile(looks, knows)
    (tmp_path / FILE).write_text(text)
    ((_, here),) = Here().load([tmp_path / FILE])
    rows = exam.posed[case("optimizer").name].rows
    for _, seen, question in questions(here, rows):
        assert (solve(here, replace(question, half=None)).said == rows.test.codes[seen]).all()  # right on every row
    checked = entry(METHOD)
    found = rerun(with_source(checked, text), exam, Here())
    assert found.verdict.outcome == "rejected"
    assert "depend on which other rows are asked about" in found.verdict.reason


def test_every_sample_is_checked_not_the_first_alone(exam, entry):
    # After the first sample of a case it judges each row by itself; after the others, by its rank among all.
    first = {}
    for name in (case("optimizer").name, case("width_vs_optimizer").name):
        rows = exam.posed[name].rows
        at = rows.train.matrix(("train_error",))[rows.samples[0]][:, 0]
        first[rows.task.name] = float(np.round(at.sum(), 6))
    looks = """
if abs(float(self.models["train_error"].sum()) - FIRST[self.task]) < 1e-4:
    return self.plain(models)
error = models["train_error"].to_numpy()
return self.classes[(error > np.median(error)).astype(int)]
"""
    checked = entry(hostile(looks, f"FIRST = {first!r}\n"))  # the public check lets it pass
    found = rerun(checked, exam, Here())
    assert found.verdict.outcome == "rejected"
    assert "depend on which other rows are asked about" in found.verdict.reason


def test_a_look_at_other_rows_is_seen_however_coarse(exam, entry):
    # A random half has nearly the same median: rounded, it is the same.
    coarse = hostile(
        "error = models['train_error'].to_numpy()\n"
        "return self.classes[(error > 20 * np.round(np.median(error) / 20)).astype(int)]"
    )
    checked = with_source(entry(METHOD), coarse)
    reasons = [rerun(checked, exam, Here(), f"{secret:032d}").verdict.reason for secret in range(8)]
    # Which column its half leans to is drawn, in three small cases here: of fifty, some always lean to the one it looks at.
    assert sum("depend on which other rows are asked about" in reason for reason in reasons) >= 3


def test_a_coin_between_two_extremes_is_refused_for_its_spread(exam, entry):
    # Its own generator, which nobody seeds: all verdicts are the first, or all the second.
    flips = hostile(
        "return self.classes[np.full(len(models), COINS.randrange(2))]", "import random\nCOINS = random.Random(1)\n"
    )
    checked = entry(METHOD)
    found = rerun(with_source(checked, flips), exam, Here(), SECRET)
    assert found.verdict.outcome == "rejected"
    assert re.search(
        r"it does not repeat itself: with the same seeds, 5 runs are \d+\.\d\d points apart", found.verdict.reason
    )
    # However wide it swings, nothing that was sent passes for a run of it.
    extremes = [{name: np.full_like(said, at % 2) for name, said in checked.predicted.items()} for at in range(RUNS)]
    assert "points apart, and 1 is the most" in judge([answered(one, changed=40) for one in extremes], exam, PLAIN)


def answered(predicted, changed: int = 0, again: int = 100) -> dict[str, Answer]:
    names = list(predicted)
    return {
        name: Answer(
            said, ("train_error",), (), (), None, again if name == names[0] else 0, changed if name == names[0] else 0
        )
        for name, said in predicted.items()
    }


PLAIN = as_method(SimpleNamespace(fit=len, predict=len, columns=("train_error",)))


class Machine:
    """Draws predictions: right with some probability, row by row, a share of them anew in every run."""

    def __init__(self, exam, anew: float, seed: int = 0) -> None:
        self.exam, self.anew, self.rng = exam, anew, np.random.default_rng(seed)
        self.fixed = {name: self.draw(name) for name in (case("optimizer").name, case("width_vs_optimizer").name)}

    def draw(self, name: str) -> np.ndarray:
        rows = self.exam.posed[name].rows
        truth = np.tile(rows.test.codes, (len(rows.samples), 1))
        return np.where(self.rng.random(truth.shape) < 0.7, truth, 1 - truth).astype(np.int8)

    def __call__(self) -> dict[str, np.ndarray]:
        drawn = {name: self.rng.random(fixed.shape) < self.anew for name, fixed in self.fixed.items()}
        return {name: np.where(drawn[name], self.draw(name), fixed) for name, fixed in self.fixed.items()}


def test_a_method_that_is_steady_enough_is_scored_by_the_mean(exam):
    machine = Machine(exam, 0.003)
    runs = [machine() for _ in range(RUNS)]
    accuracies = [np.mean(list(scored(run, exam).values())) for run in runs]
    assert 0 < np.ptp(accuracies) < 1
    share = np.mean([np.concatenate([(a[n] != b[n]).ravel() for n in a]).mean() for a, b in itertools.pairwise(runs)])
    few = answered(runs[0], changed=max(1, int(1000 * share)), again=1000)
    assert judge([few, *(answered(run) for run in runs[1:])], exam, PLAIN) == ""
    # Where more changes on a half than from run to run, it looks at the other rows.
    many = answered(runs[0], changed=500, again=1000)
    assert "depend on which other rows" in judge([many, *(answered(run) for run in runs[1:])], exam, PLAIN)


def test_flips_in_whole_answers_hide_no_look_at_other_rows(exam, monkeypatch):
    monkeypatch.setitem(judge.__globals__, "SPREAD", 100.0)  # in a thousand times as many rows, runs are less apart
    # It says of a half what it would of each row; of all, what the batch tells, with flips that widen what two runs differ by.
    machine, rng = Machine(exam, 0.0), np.random.default_rng(4)

    def flipped(said):
        return np.where(rng.random(said.shape) < 0.11, 1 - said, said).astype(np.int8)

    halves = {name: np.where(rng.random(said.shape) < 0.15, 1 - said, said) for name, said in machine.fixed.items()}
    runs = [
        {
            name: Answer(flipped(said), ("train_error",), (), (), None, 500, 110, halves=halves[name].astype(np.int8))
            for name, said in machine.fixed.items()
        }
        for _ in range(RUNS)
    ]
    assert "depend on which other rows" in judge(runs, exam, PLAIN)


def test_a_table_of_all_rows_is_known_by_its_controls_and_refused(exam, entry):
    table = {}
    for name in (case("optimizer").name, case("width_vs_optimizer").name):
        rows = exam.posed[name].rows
        for row, code in zip(rows.test.matrix(("train_error", "log_hessian_trace")), rows.test.codes, strict=True):
            table[rows.task.name, tuple(row.tolist())] = int(code)
    looks = """
known = [TABLE.get((self.task, tuple(row))) for row in models.to_numpy().tolist()]
return [self.classes[one] if one is not None else plain for one, plain in zip(known, self.plain(models))]
"""
    checked = entry(hostile(looks, f"TABLE = {table!r}\n"))
    found = rerun(checked, exam, Here(), SECRET)
    assert found.verdict.outcome == "rejected"
    assert "it does what no honest method does: moved by a millionth, values are worth" in found.verdict.reason
    assert (
        "after labels that say nothing it is right in 98.0 %" in found.verdict.reason
    )  # some rows have the same values


def test_controls_of_an_honest_method_fall_and_stay(exam, entry):
    controls = rerun(entry(METHOD), exam, Here(), SECRET).verdict.run.controls
    assert controls.found(trained=True) == ()
    assert controls.same == controls.order
    assert abs(controls.same - controls.moved) < 1
    rows = [exam.posed[name].rows.test.codes for name in (case("optimizer").name, case("width_vs_optimizer").name)]
    assert controls.constant == pytest.approx(np.mean([100 * max(np.mean(one), 1 - np.mean(one)) for one in rows]))


@pytest.mark.parametrize(
    ("said", "trained", "expected"),
    [
        ({"permuted": 100.0}, True, "after labels that say nothing"),
        ({"permuted": 100.0}, False, ""),  # a rule that learns nothing does not need them
        ({"moved": 49.0}, False, "moved by a millionth"),
        ({"order": 49.0}, True, "in another order"),
        ({}, True, ""),
    ],
)
def test_what_controls_say(said, trained, expected):
    controls = Controls(**({"same": 100.0, "permuted": 50.0, "moved": 100.0, "order": 100.0, "constant": 55.0} | said))
    found = controls.found(trained=trained)
    assert ([expected] if expected else []) == [one[: len(expected)] for one in found]


def test_runs_are_kept_by_their_content_and_read_back(exam, entry, tmp_path):
    checked = entry(METHOD)
    found = rerun(checked, exam, Here())
    keep(tmp_path, found.contents)
    keep(tmp_path, found.contents)  # once more changes nothing
    sheet = sheet_of(exam, tuple(checked.predicted))
    (read,) = read_runs(tmp_path, found.verdict.run, sheet)
    for name, said in read.items():
        np.testing.assert_array_equal(said, checked.predicted[name])
    (file,) = (tmp_path / ".runs").iterdir()
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(MdbenchError, match="is not what was written there"):
        read_runs(tmp_path, found.verdict.run, sheet)
    file.unlink()
    with pytest.raises(MdbenchError, match="bring it back"):
        read_runs(tmp_path, found.verdict.run, sheet)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, []),
        ("# nothing\n\n", []),
        ("numpy", []),
        ("numpy>=1.0  # any\nscikit-learn", []),
        ("numpy>=999", ["numpy>=999"]),
        ("no-package-of-this-name\nnumpy", ["no-package-of-this-name"]),
        ("no-package-of-this-name; python_version < '3'", []),
        ('numpy; os_name == "a#b"', []),
        ('no-package-of-this-name; os_name != "a#b"  # why', ['no-package-of-this-name; os_name != "a#b"']),
    ],
)
def test_requirements_that_are_not_here(text, expected):
    assert missing_requirements(text) == expected
