"""A method run by the maintainers on questions drawn then: what it says counts, and is compared with what was sent."""

import hashlib
import importlib.metadata
import importlib.util
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Final, get_args

import numpy as np
from packaging.requirements import Requirement

from leaderboard.entry import METHOD, Checked, Entry, Exam, requirement_lines, sheet_of
from leaderboard.verifying.ledger import Verdict
from leaderboard.verifying.run import BEYOND, Controls, Run, Sure
from mdbench.cases import CaseRows
from mdbench.errors import MdbenchError
from mdbench.methods import (
    Answer,
    Control,
    Method,
    MethodError,
    Order,
    Runner,
    depends_on_others,
    leans_on_others,
    optional_imports,
)
from mdbench.scoring import probability_record

#: case → what was predicted, see `leaderboard.entry.Checked`.
Predicted = Mapping[str, np.ndarray]

#: How often a method is run that does not repeat itself.
RUNS: Final = 5
#: Points that its runs may be apart, the best from the worst.
SPREAD: Final = 1.0
#: How many times as many of its predictions may change on a half of the rows as between any two of its runs.
FARTHER: Final = 1.25

VERIFIED: Final = "verified"


@dataclass(frozen=True)
class Rerun:
    """What came of running a method.

    Attributes
    ----------
    verdict : what the entry is worth.
    contents : the predictions of each run, as files (`leaderboard.entry.Sheet`); none where it was not run, or rejected.
    """

    verdict: Verdict
    contents: tuple[bytes, ...] = ()


def rerun(checked: Checked, exam: Exam, runner: Runner, secret: str | None = None) -> Rerun:
    """Run an entry's method, and judge the entry by what it says.

    Parameters
    ----------
    checked : the entry; what is run is the text that was checked.
    exam : the cases.
    runner : runs the method.
    secret : of an earlier run, to be repeated; where there is none, one is drawn.

    Returns
    -------
    ``verified`` where the method is one that can be judged: it keeps to its track, repeats itself (or nearly, see `judge`),
    and does what honest methods do on changed questions. ``self-reported`` where what it requires or imports is not installed
    here; else ``rejected``.
    """
    absent = [*missing_requirements(checked.requirements), *missing_packages(checked.source)]
    if absent:
        reason = f"not run again: {', '.join(absent)} is not installed here"
        return Rerun(Verdict(outcome="self-reported", reason=reason))
    secret = secret or secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="mdbench-verify-") as folder:
        file = Path(folder, METHOD)
        file.write_text(checked.source, encoding="utf-8")
        try:
            ((_, method),) = runner.load([file])
            if isinstance(method, MethodError):
                raise method
            check_declared(checked.entry, method)
            return _judged(checked, method, exam, runner, secret)
        except MdbenchError as error:
            if not isinstance(error, MethodError):
                raise
            return Rerun(_rejected(f"run again, {error}"))


def _judged(checked: Checked, method: Method, exam: Exam, runner: Runner, secret: str) -> Rerun:
    run = Asked(checked, method, exam, runner, secret)
    first, controls = run.first()
    runs = [first]
    if any(answer.changed for answer in first.values()):
        runs += [run.again() for _ in range(RUNS - 1)]
    refused = judge(runs, exam, method)
    if refused:
        return Rerun(_rejected(f"run again, {refused}"))
    beyond = controls.found(trained=not method.zero_shot, allowed=BEYOND)
    if beyond:
        return Rerun(_rejected(f"run again, it does what no honest method does: {'; '.join(beyond)}"))
    predicted = [_predictions(answers) for answers in runs]
    sheet = sheet_of(exam, tuple(checked.predicted))
    try:
        contents = tuple(sheet.write(one) for one in predicted)
    except MdbenchError as error:
        return Rerun(_rejected(f"run again, {error}"))
    scores = {case: float(np.mean([_accuracy(one[case], exam, case) for one in predicted])) for case in first}
    spread = float(np.ptp([accuracy(one, exam) for one in predicted]))
    wrong = difference(checked.predicted, predicted[0])
    count = sum(said.size for said in checked.predicted.values())
    as_sent = 100 * (1 - wrong / count)
    made = Run(
        secret=secret,
        predictions=tuple(hashlib.sha256(content).hexdigest() for content in contents),
        scores=scores,
        spread=spread,
        as_sent=as_sent,
        controls=controls,
        sure=sure_of(first, exam),
    )
    mine, sent = float(np.mean(list(scores.values()))), accuracy(checked.predicted, exam)
    text = f"run here on questions drawn then: {mine:.2f} %"
    if len(runs) > 1:
        text += f", the mean of {RUNS} runs, {spread:.2f} points apart"
    text += (
        f"; all {count:,} predictions sent are the same"
        if not wrong
        else f"; of those sent, worth {sent:.2f} %, {as_sent:.1f} % are the same"
    )
    said = controls.found(trained=not method.zero_shot)
    if said:
        text += f"; knows these rows, it seems: {'; '.join(said)}"
    return Rerun(Verdict(outcome=VERIFIED, reason=text, run=made), contents)


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


@dataclass(frozen=True)
class Asked:
    """An entry's method, asked about its cases with a secret."""

    checked: Checked
    method: Method
    exam: Exam
    runner: Runner
    secret: str

    def first(self) -> tuple[dict[str, Answer], Controls]:
        """Return what it says of each case, and how it does on changed questions.

        Raises
        ------
        MethodError
            It fails, or looks at other columns than its entry says.
        """
        ones = {case: self._one(exam_rows) for case, exam_rows in self._rows.items()}
        orders = [self._order(rows) for rows in self._rows.values()]
        orders += [self._order(rows, control) for control in get_args(Control) for _, rows in ones.values()]
        answers = self._answers(orders)
        whole = {case: answers[case, None] for case in self._rows}
        self._check_columns(whole)
        right = {control: [] for control in (None, *get_args(Control))}  # type: dict[Control | None, list[float]]
        constant = []
        for case, (at, rows) in ones.items():
            truth = rows.test.codes
            right[None].append(float((whole[case].predicted[at] == truth).mean()))
            for control in get_args(Control):
                right[control].append(float((answers[case, control].predicted[0] == truth).mean()))
            constant.append(float(np.bincount(truth).max() / len(truth)))
        return whole, Controls(
            same=100 * float(np.mean(right[None])),
            **{control: 100 * float(np.mean(right[control])) for control in get_args(Control)},
            constant=100 * float(np.mean(constant)),
        )

    def again(self) -> dict[str, Answer]:
        """Ask the same once more; raises as `first`."""
        answers = self._answers([self._order(rows) for rows in self._rows.values()])
        return {case: answer for (case, _), answer in answers.items()}

    @property
    def _rows(self) -> dict[str, CaseRows]:
        return {case: self.exam.posed[case].rows for case in self.checked.predicted}

    def _order(self, rows: CaseRows, control: Control | None = None) -> Order:
        return Order(self.method, rows, self.secret, control)

    def _one(self, rows: CaseRows) -> tuple[int, CaseRows]:
        """Draw one training sample of a case: its place, and the case with it alone."""
        draws = np.random.default_rng(
            int.from_bytes(hashlib.sha256(f"{self.secret}\0{rows.case.name}".encode()).digest())
        )
        at = int(draws.integers(len(rows.samples)))
        case = rows.case.model_copy(update={"seeds": (rows.case.seeds[at],)})
        return at, replace(rows, case=case, samples=(rows.samples[at],))

    def _answers(self, orders: Sequence[Order]) -> dict[tuple[str, Control | None], Answer]:
        found = {}
        for order, said in self.runner.ask(orders):
            case = order.rows.case.name
            if isinstance(said, MethodError):
                raise MethodError(f"it fails on {case}: {said}", said.traceback)
            found[case, order.control] = said
        return found

    def _check_columns(self, answers: Mapping[str, Answer]) -> None:
        columns: dict[str, set[str]] = {}
        for case, said in answers.items():
            columns.setdefault(self.exam.posed[case].rows.task.name, set()).update(said.columns)
        for task, names in columns.items():
            if names != set(self.checked.entry.columns[task]):
                first = sorted(names ^ set(self.checked.entry.columns[task]))[0]
                raise MethodError(f"it looks at other columns for {task} than its entry says: {first}")


def judge(runs: Sequence[Mapping[str, Answer]], exam: Exam, method: Method) -> str:
    """Say why a method cannot be scored by its runs; nothing where it can.

    One run is enough where every prediction that was asked for once more was the same. Else there are several. Where these
    are equal, what changed depends on the other rows. Where they are not, the method is random (threads, hardware, draws of
    its own): they may be at most `SPREAD` points apart, on a half of the rows no more may have changed than between two
    runs, times `FARTHER`, and what is said of a half must be drawn as what is said of all is (`leans_on_others`).

    Parameters
    ----------
    runs : case → answer, of each run; all with one secret.
    exam : the cases.
    method : the method.
    """
    again, changed = (sum(getattr(answer, name) for answer in runs[0].values()) for name in ("again", "changed"))
    if not changed:
        return ""
    predicted = [_predictions(answers) for answers in runs]
    count = sum(said.size for said in predicted[0].values())
    own = max(difference(one, other) / count for one, other in combinations(predicted, 2))
    spread = float(np.ptp([accuracy(one, exam) for one in predicted]))
    beyond = changed / again > FARTHER * own
    if not beyond and spread > SPREAD:
        return (
            f"it does not repeat itself: with the same seeds, {len(runs)} runs are {spread:.2f} points apart, and {SPREAD:g} "
            "is the most; draw from generators that are seeded, or average until it is steady"
        )
    if beyond or leans_on_others([[run[case] for case in runs[0]] for run in runs]):
        if method.track == "inductive":
            return depends_on_others(f"{changed:,} of {again:,}")
        return (
            f"it does not repeat itself: {changed:,} of {again:,} predictions changed when it was asked the same again"
        )
    return ""


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
    return float(np.mean([_accuracy(said, exam, case) for case, said in predicted.items()]))


def _accuracy(said: np.ndarray, exam: Exam, case: str) -> float:
    return float(100 * (said == exam.posed[case].rows.test.codes).mean(axis=1).mean())


def sure_of(answers: Mapping[str, Answer], exam: Exam) -> Sure | None:
    """Return what the probabilities in some answers are worth, case → answer; None where one of them has none."""
    found = [probability_record(answer, exam.posed[case].rows) for case, answer in answers.items()]
    known = [one.model_dump(include={*Sure.model_fields}) for one in found if one]
    if not known or len(known) < len(found):
        return None
    return Sure(**{name: float(np.mean([one[name] for one in known])) for name in Sure.model_fields})


def _predictions(answers: Mapping[str, Answer]) -> dict[str, np.ndarray]:
    return {case: answer.predicted for case, answer in answers.items()}


def _rejected(reason: str) -> Verdict:
    return Verdict(outcome="rejected", reason=reason)
