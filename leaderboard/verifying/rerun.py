"""A method run again, and what it says compared with what was submitted, prediction by prediction."""

import importlib.metadata
import importlib.util
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
from packaging.requirements import Requirement
from scipy import stats

from leaderboard.entry import METHOD, Checked, Entry, Exam, requirement_lines
from leaderboard.verifying.ledger import Verdict
from mdbench.methods import Method, MethodError, Order, Runner, optional_imports
from mdbench.scoring import Environment

#: case → what was predicted, see `leaderboard.entry.Checked`.
Predicted = Mapping[str, np.ndarray]

#: How often a method is run again whose predictions are not those submitted.
RUNS: Final = 10
#: Share of predictions that may differ, and points by which the submitted accuracy may be the higher one, where a method that
#: says the same in every re-run was submitted from another environment: last bits of floating-point numbers turn a few.
OTHERWHERE: Final = 0.005
POINTS: Final = 0.1
#: Of a method that is random: level of the prediction interval that the submitted accuracy has to lie in; and how far it may
#: be from the re-runs, in shares of predictions: as far as these are from each other, and a little.
LEVEL: Final = 0.99
FARTHER: Final = 1.25

VERIFIED: Final = "verified"
REPRODUCED: Final = "reproduced within noise"


def rerun(checked: Checked, exam: Exam, runner: Runner) -> Verdict:
    """Run an entry's method again and judge the entry by what it says.

    Parameters
    ----------
    checked : the entry; what is run is the text that was checked.
    exam : the cases.
    runner : runs the method.

    Returns
    -------
    ``verified`` where every prediction is the same; ``reproduced within noise`` where they differ no more than the method
    does from itself, see `judge`; ``self-reported`` where what it requires or imports is not installed here; else
    ``rejected``.
    """
    absent = [*missing_requirements(checked.requirements), *missing_packages(checked.source)]
    if absent:
        return Verdict(outcome="self-reported", reason=f"not run again: {', '.join(absent)} is not installed here")
    with tempfile.TemporaryDirectory(prefix="mdbench-verify-") as folder:
        file = Path(folder, METHOD)
        file.write_text(checked.source, encoding="utf-8")
        try:
            ((_, method),) = runner.load([file])
            if isinstance(method, MethodError):
                raise method
            check_declared(checked.entry, method)

            def again() -> dict[str, np.ndarray]:
                return _answers(checked, method, exam, runner)

            return judge(checked.predicted, again, exam, elsewhere=_differences(checked.entry.environment))
        except MethodError as error:
            return _rejected(f"run again, {error}")


def missing_requirements(text: str | None) -> list[str]:
    """Return the lines of a ``requirements.txt`` that are not installed here."""
    absent = []
    for _, said in requirement_lines(text or ""):
        wanted = Requirement(said)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(said)
        else:
            if not wanted.specifier.contains(version, prereleases=True):
                absent.append(said)
    return absent


def missing_packages(source: str) -> list[str]:
    """Return the packages that a method's file imports, need not name as requirements, and does not find here."""
    return [package for package in optional_imports(source) if importlib.util.find_spec(package) is None]


def check_declared(entry: Entry, method: Method) -> None:
    """Make sure that an entry says of its method what its file says.

    Raises
    ------
    MethodError
        It does not.
    """
    for what, said, found in (
        ("track", entry.method.track, method.track),
        ("zero_shot", entry.method.zero_shot, method.zero_shot),
    ):
        if said != found:
            raise MethodError(f"its file says {what} = {found!r}, but its entry {said!r}")
    unsaid = [task for task in entry.columns if not method.answers(task)]
    if unsaid:
        raise MethodError(f"it does not answer {unsaid[0]}, which its entry does")


def judge(
    submitted: Predicted, again: Callable[[], Predicted], exam: Exam, *, elsewhere: Sequence[str] = ()
) -> Verdict:
    """Compare predictions with those of re-runs.

    A method that is the same in every re-run must be the same as submitted. Where it was submitted from another environment,
    at most `OTHERWHERE` of its predictions may differ, and its accuracy may be higher by at most `POINTS`.

    A method that is random was submitted by one run more, if it was: its accuracy has to lie in the prediction interval
    for one more that the re-runs give, of level `LEVEL` (Student's t), and it may differ from them, on average, in at most
    `FARTHER` times as many predictions as any two of them do. The luckiest of a few hundred runs, about three standard
    deviations above their mean, still lies in that interval.

    Parameters
    ----------
    submitted : the predictions.
    again : runs the method once more.
    exam : the cases.
    elsewhere : in what the environment that it was submitted from differs from this one.
    """
    first = again()
    wrong = difference(submitted, first)
    count = sum(said.size for said in submitted.values())
    if not wrong:
        return Verdict(outcome=VERIFIED, reason=f"run again, all {count:,} predictions are the same")
    runs = [first, *(again() for _ in range(RUNS - 1))]
    own = [difference(one, other) / count for one, other in combinations(runs, 2)]
    accuracies = [accuracy(one, exam) for one in runs]
    mine = accuracy(submitted, exam)
    found = f"run again, {wrong:,} of {count:,} predictions are others ({first_difference(submitted, first, exam)})"
    if not max(own):
        gain = mine - accuracies[0]
        if not elsewhere:
            return _rejected(f"{found}, though the method says the same in every run")
        bounds = f"another environment ({', '.join(elsewhere)}) allows {OTHERWHERE:.1%} and +{POINTS} points"
        if wrong / count > OTHERWHERE or gain > POINTS:
            return _rejected(f"{found}, accuracy {gain:+.2f} points; {bounds}")
        return Verdict(outcome=REPRODUCED, reason=f"{found}, accuracy {gain:+.2f} points; {bounds}")
    spread = float(np.std(accuracies, ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, RUNS - 1)) * spread * float(np.sqrt(1 + 1 / RUNS))
    far = float(np.mean([difference(submitted, one) for one in runs])) / count
    gain = mine - float(np.mean(accuracies))
    text = (
        f"accuracy {gain:+.2f} points from the mean of {RUNS} runs, {far:.1%} of predictions differ; one more run is "
        f"within ±{half:.2f} points ({LEVEL:.0%}) and {FARTHER * max(own):.1%}"
    )
    if abs(gain) > half or far > FARTHER * max(own):
        return _rejected(f"run again, it is not a run of this method: {text}")
    return Verdict(outcome=REPRODUCED, reason=text)


def difference(one: Predicted, other: Predicted) -> int:
    """Return in how many predictions two runs differ; they answer the same cases."""
    return sum(int((said != other[case]).sum()) for case, said in one.items())


def first_difference(one: Predicted, other: Predicted, exam: Exam) -> str:
    """Say which is the first prediction in which two runs differ."""
    for case, said in one.items():
        where = np.argwhere(said != other[case])
        if len(where):
            seed, row = where[0]
            rows = exam.posed[case].rows
            verdicts = [*rows.task.classes, "no answer"]  # the last one is −1
            return (
                f"first {case}, seed {rows.case.seeds[seed]}, {rows.test.ids[row]}: {verdicts[said[seed, row]]}, "
                f"run again {verdicts[other[case][seed, row]]}"
            )
    return ""


def accuracy(predicted: Predicted, exam: Exam) -> float:
    """Return the mean accuracy over cases, in %."""
    return float(np.mean([100 * (said == exam.posed[case].rows.test.codes).mean() for case, said in predicted.items()]))


def _answers(checked: Checked, method: Method, exam: Exam, runner: Runner) -> dict[str, np.ndarray]:
    posed = [exam.posed[case] for case in checked.predicted]
    found = {}
    columns: dict[str, set[str]] = {}
    for order, said in runner.ask(Order(method, one.rows, one.folders) for one in posed):
        case, task = order.rows.case.name, order.rows.task.name
        if isinstance(said, MethodError):
            raise MethodError(f"it fails on {case}: {said}", said.traceback)
        found[case] = said.predicted
        columns.setdefault(task, set()).update(said.columns)
    for task, names in columns.items():
        if names != set(checked.entry.columns[task]):
            first = sorted(names ^ set(checked.entry.columns[task]))[0]
            raise MethodError(f"it looks at other columns for {task} than its entry says: {first}")
    return found


def _differences(environment: Environment) -> list[str]:
    """Return in what an environment differs from this one, of what may change a prediction and is in both."""
    here = Environment.here()
    found = [
        f"{name} {environment.packages[name]}, here {version}"
        for name, version in here.packages.items()
        if environment.packages.get(name, version) != version
    ]
    if environment.python != here.python:
        found.append(f"Python {environment.python}, here {here.python}")
    if environment.platform != here.platform:
        found.append(f"{environment.platform}, here {platform.platform()}")
    return found


def _rejected(reason: str) -> Verdict:
    return Verdict(outcome="rejected", reason=reason)
