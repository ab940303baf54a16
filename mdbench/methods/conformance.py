"""What any method must stand, whatever it is worth: a list of checks, each of which trains it on rows of a real case.

Methods run in this process: they are one's own. What a method remembers outside of its object is found where it changes an
answer; the sandbox, where each training sample has a process of its own, leaves it no way at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, Final

import numpy as np

from mdbench.cases import Case, load_cases, split
from mdbench.errors import MdbenchError
from mdbench.methods.imports import beside
from mdbench.methods.method import Method, MethodError, loaded_method
from mdbench.methods.replies import ROUNDING
from mdbench.methods.trial import Learner, Question, questions
from mdbench.methods.warned import kept_back, say_once
from mdbench.tables import find_zoo, load_zoo

#: The case whose rows are used, where a method answers its task: it has four verdicts.
CASE: Final = "mnist1d-cnn/failure_source/cross-noise/20"
#: How many rows are asked about at most; share of the values that are null where nulls are asked about.
ROWS, NULLS = 80, 0.2


@dataclass(frozen=True)
class Subject:
    """A method, and two questions of one case that differ in their training rows."""

    method: Method
    question: Question
    other: Question


@dataclass(frozen=True)
class Checked:
    """What became of a check.

    Attributes
    ----------
    name : of the check.
    reason : what was wrong and what to do; empty where it holds.
    traceback : the method's own frames; empty where it raised nothing.
    """

    name: str
    reason: str = ""
    traceback: str = ""


def check_method(method: Any, case: str | None = None) -> tuple[Checked, ...]:
    """Put a method through all checks.

    Parameters
    ----------
    method : the name of a method, its file, or an object or class that is one.
    case : whose rows are used; None for `CASE`, or else the first of the selection ``core`` that the method can answer.

    Returns
    -------
    What became of each check, in the order of `CHECKS`; of the first one alone where that fails.

    Raises
    ------
    MdbenchError
        The method cannot be loaded, or there is no such case, or none that it can answer.
    """
    subject = subject_of(method, case)
    found: list[Checked] = []
    with kept_back() as warned:
        for name in CHECKS:
            try:
                hold(subject, name)
                found.append(Checked(name))
            except MethodError as error:
                found.append(Checked(name, str(error), error.traceback))
                if name == ANSWERS:
                    break
    say_once(subject.method.name, [warned])
    return tuple(found)


def assert_conforms(method: Any, check: str, case: str | None = None) -> None:
    """Put a method through one check, for a test; parameters as in `check_method`.

    Raises
    ------
    MethodError
        It does not hold; the message says what was wrong and what to do.
    MdbenchError
        There is no such check, or see `check_method`.
    """
    if check not in CHECKS:
        raise MdbenchError(f"check {check!r} does not exist; there are {', '.join(CHECKS)}")
    hold(subject_of(method, case), check)


def subject_of(method: Any, case: str | None = None) -> Subject:
    """Load a method and what it is asked; see `check_method`."""
    known = loaded_method(method)
    wanted = load_cases(case) if case else [*load_cases(CASE), *load_cases("core")]
    answered = [one for one in wanted if known.answers(one.task)]
    why = f"it answers none of the tasks {', '.join(dict.fromkeys(one.task for one in wanted))}"
    for one in answered:
        try:
            return Subject(known, *_questions(known, one))
        except MethodError as error:
            why = str(error)
    raise MethodError(f"method {known.name} cannot be checked: {why}; name a case that it can answer (mdbench cases)")


def _questions(method: Method, case: Case) -> tuple[Question, Question]:
    *train, test = (load_zoo(find_zoo(zoo, of_case=True), layers=False) for zoo in case.zoos)
    asked = [question for _, _, question in questions(method, split(case.first(2), train, test))]
    first, second = (replace(one, test=one.test[:ROWS], half=None) for one in (asked[0], asked[-1]))
    if len(asked) == 1:  # every seed has the same rows
        second = _only(first, np.arange(len(first.labels)) % 3 > 0)
    return first, second


def hold(subject: Subject, check: str) -> None:
    """Put a method through one check; raises `MethodError` with what was wrong and what to do."""
    holds, remedy = CHECKS[check]
    try:
        with beside(subject.method.file):
            holds(subject)
    except MethodError as error:
        raise MethodError(f"{str(error).rstrip('.')}. {remedy}", error.traceback) from error


def _only(question: Question, chosen: np.ndarray) -> Question:
    return replace(question, train=question.train[chosen], labels=question.labels[chosen])


def _said(subject: Subject, question: Question) -> np.ndarray:
    # Copies: what a method writes into what it is shown changes no later question.
    asked = replace(question, train=question.train.copy())
    return Learner(subject.method, asked).predict(question.test.copy())


def _same(said: np.ndarray, expected: np.ndarray, when: str) -> None:
    changed = int((said != expected).sum())
    if changed:
        raise MethodError(f"{changed} of {len(said)} answers changed {when}")


def _answers(subject: Subject) -> None:
    _said(subject, subject.question)


def _fresh(subject: Subject) -> None:
    before = _said(subject, subject.question)
    _said(subject, subject.other)
    _same(_said(subject, subject.question), before, "when a fresh copy was trained on the same rows again")


def _shuffled(subject: Subject) -> None:
    question = subject.question
    learner = Learner(subject.method, question)
    twin, part = learner.unasked(), learner.unasked()
    whole = learner.predict(question.test.copy())
    order = np.random.default_rng(0).permutation(len(question.test))
    _same(twin.predict(question.test[order]), whole[order], "when the rows asked about were shuffled")
    if subject.method.track == "inductive":
        half = order[: len(order) // 2]
        _same(part.predict(question.test[half]), whole[half], "when half of the rows were asked about")


def _nulls(subject: Subject) -> None:
    question, draws = subject.question, np.random.default_rng(0)

    def holed(values: np.ndarray) -> np.ndarray:
        return np.where(draws.random(values.shape) < NULLS, np.nan, values)

    test = holed(question.test)
    test[0] = np.nan
    _said(subject, replace(question, train=holed(question.train), test=test))


def _one_class(subject: Subject) -> None:
    _said(subject, _lone(subject.question))


def _one_row(subject: Subject) -> None:
    question = subject.question
    learner = Learner(subject.method, question)
    alone = [learner.unasked().predict(question.test[place : place + 1]) for place in range(3)]
    if subject.method.track == "inductive":
        _same(np.concatenate(alone), learner.predict(question.test)[:3], "when one row was asked about alone")


def _unseen(subject: Subject) -> None:
    _said(subject, _lacking(subject.question))


def _lone(question: Question) -> Question:
    """Return the question with the training rows of the most frequent verdict alone."""
    verdicts, counts = np.unique(question.labels.astype(str), return_counts=True)
    return _only(question, question.labels == verdicts[counts.argmax()])


def _lacking(question: Question) -> Question:
    """Return the question without the training rows of the first verdict that occurs."""
    first = next(verdict for verdict in question.task.classes if (question.labels == verdict).any())
    return _only(question, question.labels != first)


def _probabilities(subject: Subject) -> None:
    question = subject.question
    learner = Learner(subject.method, question)
    given = learner.probabilities(question.test.copy())
    if given is None:
        return
    _agree(given, learner.predict(question.test.copy()), question)
    for less, when in ((_lacking(question), "a verdict is"), (_lone(question), "all verdicts but one are")):
        try:
            trained = Learner(subject.method, less)
            trained.predict(question.test.copy())
        except MethodError:
            continue  # another check says so
        try:
            trained.probabilities(question.test.copy())
        except MethodError as error:
            raise MethodError(f"where {when} not in training, {error}", error.traceback) from error
    if subject.method.track == "inductive":
        half = Learner(subject.method, question).probabilities(question.test[::2].copy())
        if half is None or (np.abs(half - given[::2]) > ROUNDING).any():
            raise MethodError("its probabilities changed when half of the rows were asked about")


def _agree(given: np.ndarray, said: np.ndarray, question: Question) -> None:
    """Make sure that what is said is what is likeliest, of rows that are answered."""
    answered = said >= 0
    given, said = given[answered], said[answered]

    def disagreeing(values: np.ndarray) -> int:
        return int((values[np.arange(len(said)), said] < values.max(axis=1) - ROUNDING).sum())

    wrong = disagreeing(given)
    if not wrong:
        return
    classes = question.task.classes
    orders = permutations(range(len(classes))) if len(classes) <= 6 else ()
    other = next((order for order in orders if not disagreeing(given[:, order])), None)
    hint = f"; its columns seem to stand in another order than {', '.join(classes)}" if other else ""
    raise MethodError(f"in {wrong} of {len(said)} rows another verdict than the one it says is likelier{hint}")


#: The check before all others.
ANSWERS: Final = "trains and answers"
#: Name → what makes sure of it, raising `MethodError`, and what to do where it does not hold.
CHECKS: Final[Mapping[str, tuple[Callable[[Subject], None], str]]] = {
    ANSWERS: (_answers, "fit(models, labels, task) learns; predict(models) returns one of task.classes a row, or None"),
    "fresh copies": (
        _fresh,
        "Keep what fit learns in the object alone, and draw from Python's or NumPy's global generator, which is seeded",
    ),
    "shuffled rows": (
        _shuffled,
        'Answer each row by itself, whatever its place; one that uses the rows as a batch declares track = "transductive"',
    ),
    "nulls": (
        _nulls,
        "Fill them in, as sklearn.impute.SimpleImputer does in a pipeline, or use a model that takes NaN",
    ),
    "one class in training": (_one_class, "Where labels hold one verdict, answer that one"),
    "one row": (_one_row, "Take no mean, rank or shape from the rows that are asked about"),
    "an unseen class": (_unseen, "Number the verdicts that are in labels; not all of task.classes need be"),
    "probabilities": (
        _probabilities,
        "predict_proba(models) returns n × classes, in the order of task.classes (or of its own classes_), rows that add up "
        "to 1, the verdict that predict says the likeliest",
    ),
}
