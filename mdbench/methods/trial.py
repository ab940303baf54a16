"""A method asked one case: the only place where a method meets data, and where the rules of fair play are held.

What a method sees is shuffled and opaquely named for each case and seed, holds the columns it declared and no other, and
carries labels for training rows alone (rules 1, 2 and 4 of docs/design.md).
"""

import copy
import hashlib
import inspect
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from mdbench.cases import CaseRows, codes
from mdbench.methods.forest import stand_in, takes_values
from mdbench.methods.imports import beside
from mdbench.methods.interrupts import pressed
from mdbench.methods.method import Method, MethodError, alternatives, describe, own_frames
from mdbench.methods.probabilities import in_order
from mdbench.methods.replies import ABSTAINED, UNASKED, Answer, Reply, check_inductive, differing
from mdbench.methods.warned import kept_back
from mdbench.tables import COLUMNS, Family, Task

#: How the reason begins where a zoo lacks what a method looks at.
WANTS_COLUMN: Final = "it wants column"
#: By which share of themselves values move in a control.
MOVED: Final = 1e-6

#: What is changed of a question to see what a method goes by: labels of training rows exchanged, values of test rows moved by
#: a millionth of themselves, rows in another order.
Control = Literal["permuted", "moved", "order"]


def given_columns(method: Method, rows: CaseRows) -> tuple[str, ...]:
    """Return the columns a method gets in a case.

    A method that declares none gets every validation and landscape column that all zoos have in full, less those that its
    track does not get: transductive methods those that reveal labels, inductive ones those that place a row among all others.

    Of the alternatives that a method declares, it gets the first that all zoos have. Where there is none and several zoos are
    learned from, it gets the one that the zoo asked about has and most of the others; rows of zoos without it are null.

    Raises
    ------
    MethodError
        A declared column that the method cannot do without, or each of its alternatives, is not in the zoo asked about, or in
        none that is learned from.
    """
    learned, asked = [part.table for part in rows.train.parts], rows.test.table
    if method.columns is not None:
        found: dict[str, None] = {}
        for wanted in method.columns[rows.task.name]:
            having = {name: sum(name in table for table in learned) for name in alternatives(wanted)}
            best = max(having, key=lambda name: having[name] if name in asked else 0)
            if not having[best] or best not in asked:
                if "" in having:
                    continue
                which = rows.case.test if any(having.values()) else ", ".join(rows.case.train_zoos)
                raise MethodError(f"{WANTS_COLUMN} {wanted!r}, which zoo {which} does not have")
            found[best] = None
        return tuple(found)
    return tuple(
        name
        for name, column in COLUMNS.items()
        if column.family in (Family.VALIDATION, Family.LANDSCAPE)
        and not (column.reveals_label if method.track == "transductive" else column.relative)
        and all(name in table and table[name].notna().all() for table in (*learned, asked))
    )


@dataclass(frozen=True, eq=False)
class Question:
    """What a method is shown of one training sample: all that it is shown.

    Attributes
    ----------
    task : what is asked.
    columns : names of the columns.
    train : the models to learn from, shape (m, columns), float64.
    labels : their verdicts, shape (m,), strings.
    test : the models to diagnose, shape (n, columns), float64.
    seed : of the global generators.
    half : places in `test` that are asked about once more, to see whether a row's answer depends on the others; None where
        that is not checked.
    """

    task: Task
    columns: tuple[str, ...]
    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    seed: int
    half: np.ndarray | None = None

    def halved(self) -> "Question":
        """Return the same question about `half` of the rows alone."""
        return replace(self, test=self.test[self.half], half=None)

    @cached_property
    def header(self) -> pd.Index:
        """The names of the columns. Made once: pandas spends longer on a list of names than scikit-learn on a small tree."""
        return pd.Index(self.columns, dtype=object)


def ask(method: Method, rows: CaseRows, secret: str = "", control: Control | None = None) -> Answer:
    """Train and ask a method, once for each seed of a case, in this process.

    Parameters
    ----------
    method : asked as a fresh copy for every seed.
    rows : the case.
    secret, control : see `questions`.

    Raises
    ------
    MethodError
        The method raised, or predicted something that cannot be scored, or broke the rules of its track.
    """
    with beside(method.file), kept_back() as warned:
        found = answer(method, rows, partial(map, partial(solve, method)), secret, control)
    return replace(found, warned=tuple(warned))


def answer(
    method: Method,
    rows: CaseRows,
    solved: Callable[[Sequence[Question]], Iterable[Reply]],
    secret: str = "",
    control: Control | None = None,
) -> Answer:
    """Put a case to a method, question by question.

    Parameters
    ----------
    method : what the method says of itself.
    rows : the case.
    solved : has the method answer questions; raises `MethodError` where it cannot.
    secret, control : see `questions`. With a secret, whoever asks judges by `Answer.changed`; without one, a method whose
        answer to a half is another one is refused here.

    Raises
    ------
    MethodError
        The zoos lack a column that the method wants, or `solved` raised it.
    """
    columns = given_columns(method, rows)
    predicted = np.empty((len(rows.samples), len(rows.test)), dtype=np.int8)
    halves = np.full_like(predicted, UNASKED) if secret and not control else None
    replies: dict[int, Reply] = {}
    asked = list(questions(method, rows, secret, control))
    again = changed = 0
    for (position, seen, question), reply in zip(asked, solved([question for *_, question in asked]), strict=True):
        if reply.half is not None:
            if halves is None:
                check_inductive(question.half, reply, reply.half)
            else:
                halves[position, seen[question.half]] = reply.half.said
            again += len(reply.half.said)
            changed += int(differing(question.half, reply, reply.half).sum())
        replies[position] = replace(reply, half=None)
        predicted[position, seen] = reply.said
        if reply.probabilities is not None:
            replies[position] = replace(reply, probabilities=reply.probabilities[np.argsort(seen)], half=None)
    # The same training rows have the same named seed: everything would happen again, to the letter.
    by_seed = [replies[first] for first in rows.distinct]
    given = [reply.probabilities for reply in by_seed if reply.probabilities is not None]
    if given and len(given) < len(by_seed):
        raise MethodError("it gave probabilities after one training sample and none after another")
    return Answer(
        predicted[rows.distinct],
        columns,
        tuple(reply.fit_seconds for reply in by_seed),
        tuple(reply.predict_seconds for reply in by_seed),
        np.stack(given) if given else None,
        again,
        changed,
        halves=None if halves is None else halves[rows.distinct],
    )


def questions(
    method: Method, rows: CaseRows, secret: str = "", control: Control | None = None
) -> Iterator[tuple[int, np.ndarray, Question]]:
    """Yield what a method is asked in a case, one question for each training sample that is not there twice.

    Without a secret, orders and seeds follow from the case's public name, and an inductive method is asked about a half of
    the rows after the first sample. A secret, drawn when a method is judged, decides in their place, so that nothing can be
    computed beforehand: the order of the questions too, and which half of the rows the method is asked about once more: the
    same half after every sample, in another order each. Of that half more rows lie on one side of a column, so that a method
    that looks at other rows, however coarsely, sees others. A transductive method is asked about all rows once more, as they
    were: it has to repeat itself. A control asks the same questions but for what it changes, and about no half.

    Yields
    ------
    The sample's place in ``rows.samples``; the places in ``rows.test`` of the rows asked about, in the order in which they
    are, shape (n,); the question.

    Raises
    ------
    MethodError
        See `given_columns`.
    """
    columns = given_columns(method, rows)
    train, test = rows.train.matrix(columns), rows.test.matrix(columns)
    places = [position for position, first in enumerate(rows.distinct) if first == position]
    whole = np.random.default_rng(named_seed(rows.case.name, np.empty(0), secret))  # of what is one for all samples
    chosen = _lopsided_half(test, whole)
    for position in whole.permutation(places).tolist() if secret else places:
        sample = rows.samples[position]
        shuffle = np.random.default_rng(named_seed(rows.case.name, sample, secret))
        drawn = shuffle.permutation(sample)
        seen = shuffle.permutation(len(test))
        seed = int(shuffle.integers(2**32))
        labels, half = rows.train.labels[drawn], None
        if control:
            drawn, labels, seen, shown = _changed(control, shuffle, drawn, labels, seen, test)
            yield position, seen, Question(rows.task, columns, train[drawn], labels, shown, seed)
            continue
        if secret:
            half = np.arange(len(test))
            if method.track == "inductive":
                half = shuffle.permutation(np.flatnonzero(np.isin(seen, chosen)))
        elif method.track == "inductive" and position == 0:
            half = shuffle.permutation(np.flatnonzero(np.isin(seen, chosen)))
        yield position, seen, Question(rows.task, columns, train[drawn], labels, test[seen], seed, half)


def _lopsided_half(values: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Return a half of the rows (n, columns), seven in eight of which lie on one side of a column: places, ((n + 1) // 2,).

    The column and the side are drawn.
    """
    order = draws.permutation(len(values))  # of rows that are alike, and of all where a method wants no column
    if values.shape[1]:
        order = order[np.argsort(values[order, draws.integers(values.shape[1])], kind="stable")]
    if draws.random() < 0.5:
        order = order[::-1]
    # The least of numbers from 0 to 1 on one side, and from 3/4 to 7/4 on the other: up to 7/8.
    late = draws.random(len(order)) + 0.75 * (2 * np.arange(len(order)) >= len(order))
    return order[np.argsort(late)[: (len(order) + 1) // 2]]


def _changed(
    control: Control,
    draws: np.random.Generator,
    drawn: np.ndarray,
    labels: np.ndarray,
    seen: np.ndarray,
    test: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training rows, their labels, and test rows with their values, changed as a control says."""
    if control == "permuted":
        return drawn, draws.permutation(labels), seen, test[seen]
    if control == "moved":
        return drawn, labels, seen, test[seen] * (1 + draws.uniform(-MOVED, MOVED, (len(seen), test.shape[1])))
    order = draws.permutation(len(drawn))
    seen = draws.permutation(seen)
    return drawn[order], labels[order], seen, test[seen]


class Learner:
    """A fresh copy of a method, trained as a question says, that can be asked about any rows.

    Parameters
    ----------
    method, question : whose copy, and what it learns from.

    Raises
    ------
    MethodError
        Here and in what is asked: it raised, or said something that cannot be scored.
    """

    def __init__(self, method: Method, question: Question) -> None:
        self._method, self._question = method, question
        with _blaming(method):
            self._solver, _ = _trained(method, question)

    def unasked(self) -> "Learner":
        """Return a copy that has seen what this one has; one trained alike where this one cannot be copied."""
        twin = copy.copy(self)
        solver = _copy(self._solver)
        if solver is None:
            return Learner(self._method, self._question)
        twin._solver = solver
        return twin

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return what it says of rows (n, columns): places in ``task.classes``, −1 where it abstains; shape (n,), int8."""
        with _blaming(self._method):
            return _predict(self._solver, values, self._question)

    def probabilities(self, values: np.ndarray) -> np.ndarray | None:
        """Return how sure it is, shape (n, classes), float32; None of a method without ``predict_proba``."""
        with _blaming(self._method):
            return _probabilities(self._solver, values, self._question)


def solve(method: Method, question: Question) -> Reply:
    """Train a fresh copy of a method and ask it; raises as `ask` does."""
    with _blaming(method):
        solver, fit_seconds = _trained(method, question, stand_in)
        twin = None if question.half is None else _copy(solver)
        started = time.perf_counter()
        said = _predict(solver, question.test, question)
        predict_seconds = time.perf_counter() - started
        reply = Reply(said, fit_seconds, predict_seconds, _probabilities(solver, question.test, question))
        if question.half is not None:
            # The half is asked of one trained alike that has not seen the whole: the method itself could remember its
            # answers, or keep what it took from its first batch. What is remembered outside of the object, in the module
            # or the class, is not seen here; in the sandbox, where the twin lives in another process, it is.
            twin, half = _trained(method, question, stand_in)[0] if twin is None else twin, question.halved().test
            again = _predict(twin, half, question)
            reply = replace(reply, half=replace(reply, said=again, probabilities=_probabilities(twin, half, question)))
    return reply


def _trained(
    method: Method, question: Question, replaced: Callable[..., Any] = lambda solver, *_: solver
) -> tuple[Any, float]:
    """Return a method trained as a question says, and how long that took; the same seed gives the same.

    `replaced` may put something faster, which says the same, in the place of one that will see the question's rows alone.
    """
    _seed_everything(question.seed)
    solver = replaced(method.fresh(), question.train, question.test)
    started = time.perf_counter()
    if not method.zero_shot:
        models = pd.DataFrame(question.train, columns=question.header)
        _fit(solver, models, pd.Series(question.labels, name="label", dtype=object), question.task)
    return solver, time.perf_counter() - started


def _copy(solver: Any) -> Any | None:
    """Return a copy of a trained method; `None` where it cannot be copied, such as one that holds a lock or a file."""
    try:
        return copy.deepcopy(solver)
    except Exception:  # noqa: BLE001 - whatever its parts raise
        return None


def named_seed(case: str, sample: np.ndarray, secret: str = "") -> int:
    """Return the seed of everything random about one training sample of a case: row order, and the method's own draws.

    Parameters
    ----------
    case, sample : which.
    secret : what it follows from besides; see `questions`.
    """
    named = f"{secret}\0{case}" if secret else case
    return int.from_bytes(hashlib.sha256(named.encode() + b"\0" + sample.tobytes()).digest()[:8], "big")


def _seed_everything(seed: int) -> None:
    """Seed the global generators, so that a method that draws from them gives the same answers on every run."""
    random.seed(seed)
    np.random.seed(seed)


@contextmanager
def _blaming(method: Method) -> Iterator[None]:
    """Turn whatever a method raises, exits included, into a `MethodError` with its own frames; Ctrl-C stays itself."""
    with pressed() as ctrl_c:
        try:
            yield
        except MethodError:
            raise
        except BaseException as error:
            if ctrl_c:
                raise
            raise MethodError(f"it raised {describe(error)}", own_frames(error, method.file)) from error


def _fit(solver: Any, models: pd.DataFrame, labels: pd.Series, task: Task) -> None:
    if takes_values(type(solver)):
        solver.fit(models.to_numpy(), labels.to_numpy())
    else:
        named = _task_parameter(type(solver).fit)
        solver.fit(models, labels, **({named: task} if named else {}))


@cache
def _task_parameter(fit: Callable[..., object]) -> str | None:
    """Return what a class's ``fit`` calls the task: ``task``, or its third parameter if it cannot do without."""
    parameters = list(inspect.signature(fit).parameters.values())[1:]
    third = [p.name for p in parameters[2:3] if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return "task" if any(p.name == "task" for p in parameters) else next(iter(third), None)


def _predict(solver: Any, values: np.ndarray, question: Question) -> np.ndarray:
    models = pd.DataFrame(values, columns=question.header)
    answer = solver.predict(values if takes_values(type(solver)) else models)
    if isinstance(answer, pd.Series) and not answer.index.equals(models.index):
        # Rows are joined by their names: a Series may come back in any order, but it must name the same rows.
        if answer.index.has_duplicates or len(answer) != len(models) or not answer.index.isin(models.index).all():
            raise MethodError("it predicted a Series whose index does not name the rows it was asked about")
        answer = answer.reindex(models.index)
    if isinstance(answer, str | bytes | dict | set | frozenset) or not hasattr(answer, "__len__"):
        raise MethodError(f"it predicted a {type(answer).__name__}, not one label a row")
    labels = np.asarray(answer, dtype=object)
    if labels.shape != (len(models),):
        shape = "×".join(map(str, labels.shape))
        raise MethodError(f"it predicted {shape} labels for {len(models)} rows")
    said = codes(labels, question.task)
    bad = [place for place in np.flatnonzero(said == ABSTAINED) if labels[place] is not None]
    if len(bad):
        first = labels[bad[0]]
        if pd.isna(first) is True:
            raise MethodError(
                f"it predicted NaN for {len(bad)} of {len(models)} rows; "
                "to abstain is to say None, in a list or an array of objects"
            )
        raise MethodError(
            f"it predicted {str(first)[:60]!r}; the labels of {question.task.name} are {', '.join(question.task.classes)}"
        )
    return said


def _probabilities(solver: Any, values: np.ndarray, question: Question) -> np.ndarray | None:
    """Return the probabilities of a trained method, checked and in the task's order; None where it has no such method."""
    give = getattr(solver, "predict_proba", None)
    if not callable(give):
        return None
    models = pd.DataFrame(values, columns=question.header)
    given = give(values if takes_values(type(solver)) else models)
    return in_order(given, getattr(solver, "classes_", None), question.task, len(values))
