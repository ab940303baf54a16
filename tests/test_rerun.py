import numpy as np
import pytest
from dishonest import case, small_exam

from leaderboard.verifying import rerun
from leaderboard.verifying.rerun import RUNS, judge, missing_requirements
from mdbench.scoring.results import Environment


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return small_exam(tmp_path_factory.mktemp("exam"))


class Machine:
    """Answers at random: right with some probability, row by row, and how much of that is drawn anew in every run."""

    def __init__(self, exam, anew: float, right: float = 0.7, seed: int = 0) -> None:
        self.exam, self.anew = exam, anew
        self.rng = np.random.default_rng(seed)
        self.cases = [case("optimizer").name, case("width_vs_optimizer").name]
        self.right = right
        self.fixed = {name: self.draw(name) for name in self.cases}
        self.runs = 0

    def draw(self, name: str) -> np.ndarray:
        rows = self.exam.posed[name].rows
        truth = np.tile(rows.test.codes, (len(rows.samples), 1))
        return np.where(self.rng.random(truth.shape) < self.right, truth, 1 - truth).astype(np.int8)

    def __call__(self):
        self.runs += 1
        drawn = {name: self.rng.random(fixed.shape) < self.anew for name, fixed in self.fixed.items()}
        return {name: np.where(drawn[name], self.draw(name), fixed) for name, fixed in self.fixed.items()}


def flipped(said, count, *, towards=None):
    """Turn some predictions over: the first, or the first that are wrong."""
    changed = {name: one.copy() for name, one in said.items()}
    name = next(iter(changed))
    flat = changed[name].reshape(-1)
    places = np.arange(len(flat)) if towards is None else np.flatnonzero(flat != np.resize(towards[name], flat.shape))
    flat[places[:count]] = 1 - flat[places[:count]]
    return changed


def test_the_same_predictions_are_verified_by_one_run(exam):
    machine = Machine(exam, 0)
    verdict = judge(machine(), machine, exam)
    assert verdict.outcome == "verified"
    assert machine.runs == 2
    total = sum(one.size for one in machine.fixed.values())
    assert f"all {total:,} predictions are the same" in verdict.reason


def test_one_other_prediction_of_a_method_without_chance_is_refused_and_named(exam):
    machine = Machine(exam, 0)
    submitted = flipped(machine(), 1)
    verdict = judge(submitted, machine, exam)
    assert verdict.outcome == "rejected"
    name = machine.cases[0]
    rows = exam.posed[name].rows
    was, now = (rows.task.classes[said[name][0, 0]] for said in (submitted, machine.fixed))
    assert f"1 of {sum(one.size for one in submitted.values()):,} predictions are others" in verdict.reason
    assert f"first {name}, seed {rows.case.seeds[0]}, {rows.test.ids[0]}: {was}, run again {now}" in verdict.reason


def test_another_environment_turns_a_few_but_not_to_the_submitters_advantage(exam):
    machine = Machine(exam, 0)
    said = machine()
    total = sum(one.size for one in said.values())
    few, many = int(0.005 * total), int(0.005 * total) + 1
    truth = {name: exam.posed[name].rows.test.codes for name in said}
    there = ["numpy 1.0, here 2.0"]
    assert judge(flipped(said, few), machine, exam, elsewhere=there).outcome == "reproduced within noise"
    assert judge(flipped(said, many), machine, exam, elsewhere=there).outcome == "rejected"
    # As few, but all of them from wrong to right.
    better = judge(flipped(said, few, towards=truth), machine, exam, elsewhere=there)
    assert better.outcome == "rejected"
    assert "accuracy +" in better.reason
    # What the reason says is right: of the mean over cases.
    gain = rerun.accuracy(flipped(said, few, towards=truth), exam) - rerun.accuracy(said, exam)
    assert f"accuracy {gain:+.2f} points" in better.reason


def test_a_random_method_is_reproduced(exam):
    outcomes = []
    for seed in range(40):
        machine = Machine(exam, 0.3, seed=seed)
        outcomes.append(judge(machine(), machine, exam).outcome)
        assert machine.runs == 1 + RUNS
    # One honest submission in a hundred falls outside an interval of 99 %, and hardly one by distance.
    assert outcomes.count("rejected") <= 2
    assert outcomes.count("verified") == 0


def test_a_random_method_is_not_as_lucky_as_that(exam):
    # A run, better by seven standard deviations between runs: that many more of its predictions are right, all in one case.
    caught = 0
    for seed in range(10):
        machine = Machine(exam, 0.3, seed=seed)
        spread = np.std([rerun.accuracy(machine(), exam) for _ in range(100)])
        said = machine()
        first = next(iter(said.values()))
        truth = {name: exam.posed[name].rows.test.codes for name in said}
        lucky = flipped(said, int(7 * spread / 100 * first.size * len(said)) + 1, towards=truth)
        gain = rerun.accuracy(lucky, exam) - rerun.accuracy(said, exam)
        assert gain == pytest.approx(7 * spread, rel=0.05)
        caught += judge(lucky, machine, exam).outcome == "rejected"
    assert caught >= 9


def test_another_method_of_the_same_accuracy_is_not_a_run_of_a_random_one(exam):
    machine, other = Machine(exam, 0.1, seed=1), Machine(exam, 0.1, seed=2)
    verdict = judge(other(), machine, exam)
    assert verdict.outcome == "rejected"
    assert "it is not a run of this method" in verdict.reason


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


def test_a_package_that_one_of_two_environments_lacks_is_no_difference_between_them():
    here = Environment.here()
    other = here.packages | {"numpy": "1.0", "no-package-of-this-name": "2.0"}
    del other["scipy"]
    assert rerun._differences(here.model_copy(update={"packages": other})) == [
        f"numpy 1.0, here {here.packages['numpy']}"
    ]
