"""Methods × cases → a result."""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from mdbench.cases import Case, CaseRows
from mdbench.errors import MdbenchError, reason
from mdbench.methods import (
    TIMEOUT,
    Answer,
    Here,
    Method,
    MethodError,
    MethodWarning,
    Order,
    Runner,
    Workers,
    as_method,
    find_method,
    say_once,
)
from mdbench.methods import (
    cache as kept,
)
from mdbench.paths import cache_home
from mdbench.scoring import stats
from mdbench.scoring.posing import AtHand, Posed, choose, pose
from mdbench.scoring.probability import probability_record
from mdbench.scoring.results import (
    PREDICTION_COLUMNS,
    PROBABILITY,
    CaseRecord,
    Environment,
    Failure,
    IntervalRecord,
    MethodRecord,
    Result,
    Score,
    SplitRecord,
    ZooRecord,
)
from mdbench.scoring.student import Interval
from mdbench.tables import COLUMNS

#: Told how many answers are there, of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluated:
    """A result, with what its scores are made of.

    Attributes
    ----------
    result : the scores.
    posed : the cases that could be posed.
    answers : (method, case) → what the method said.
    """

    result: Result
    posed: Sequence[Posed]
    answers: Mapping[tuple[str, str], Answer]


class Asking:
    """Methods loaded and ready to be asked: the part that evaluating, comparing and prescribing share.

    Parameters
    ----------
    methods : one or several of: the name of a method, the path of a method file, an object or class that is a method.
    workers : processes to run method files in. 0 runs them in this one, without a time limit; objects always run here.
    timeout : seconds a method may take for one case, with workers.
    cache : whether answers given before, by the same source to the same case, are used and new ones kept.
    sandbox : whether methods run in isolation, see `mdbench.methods.sandbox`; nothing is then taken from the cache or
        kept in it.
    strict : whether a method that cannot be loaded ends everything, before any is asked; otherwise it is a failure.
    progress : called with the number of answers there and wanted, after every answer.

    Attributes
    ----------
    methods : the methods that could be loaded, in the order in which they were named.
    failures : what could not be loaded or answered.

    Raises
    ------
    MdbenchError
        No method is given; there is no sandbox here; or a method that is no file is to run in one.
    """

    def __init__(
        self,
        methods: Any,
        *,
        workers: int = 0,
        timeout: float = TIMEOUT,
        cache: bool = True,
        sandbox: bool = False,
        strict: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.methods: list[Method] = []
        self.failures: list[Failure] = []
        self._cache, self._progress, self._strict = cache and not sandbox, progress, strict
        self._things: list[Path | Method] = []
        several = list(methods) if isinstance(methods, Sequence) and not isinstance(methods, str) else [methods]
        if not several:
            raise MdbenchError("no method to evaluate")
        for thing in several:
            try:
                found = find_method(str(thing)) if isinstance(thing, str | Path) else as_method(thing)
            except MethodError as error:
                if strict:
                    raise
                self.failures.append(Failure(method=str(thing), case=None, reason=str(error)))
            else:
                if found not in self._things:
                    self._things.append(found)
        self._running = self._runner_of(workers, timeout, sandbox=sandbox)

    def _runner_of(self, workers: int, timeout: float, *, sandbox: bool) -> AbstractContextManager[Runner]:
        in_files = [isinstance(thing, Path) for thing in self._things]
        if sandbox:
            from mdbench.methods import Sandbox

            if not all(in_files):
                raise MdbenchError("only a method's file can run in the sandbox, not an object of this process")
            return Sandbox(max(workers, 1), timeout)
        # The workers start now: they import what they need while this process reads the zoos.
        files = [thing for thing in self._things if isinstance(thing, Path)]
        return Workers(workers, timeout, files) if workers and files else nullcontext(Here())

    def __enter__(self) -> Self:
        self._runner = self._running.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)

    def answers(self, posed: Sequence[Posed]) -> dict[tuple[str, str], Answer]:
        """Load the methods and ask each the cases whose task it answers; warn once a method of what it was warned of.

        Returns
        -------
        (method, case) → answer. What failed is in `failures`.

        Raises
        ------
        MdbenchError
            Two methods share a name; or one cannot be loaded, and all have to be.
        """
        loaded = dict(self._runner.load([thing for thing in self._things if isinstance(thing, Path)]))
        for thing in self._things:
            method = loaded[thing] if isinstance(thing, Path) else thing
            if isinstance(method, MethodError):
                if self._strict:
                    raise method
                name = thing.stem if isinstance(thing, Path) else thing.name
                self.failures.append(Failure(method=name, case=None, reason=str(method), traceback=method.traceback))
            else:
                self.methods.append(method)
        names = [method.name for method in self.methods]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise MdbenchError(
                f'two methods are called {twice!r}; give one of them another name (name = "…" in its file)'
            )

        answers: dict[tuple[str, str], Answer] = {}
        keys: dict[tuple[str, str], str | None] = {}
        orders = []
        # Method by method: what a method touches is then still in the processor's caches for its next case.
        for method in self.methods:
            for case in posed:
                if method.answers(case.rows.task.name):
                    pair = method.name, case.rows.case.name
                    kept_as = keys[pair] = kept.key(method, case.rows, case.zoos) if self._cache else None
                    found = kept.read(kept_as, case.rows) if kept_as else None
                    if found is not None:
                        answers[pair] = found
                    else:
                        orders.append(Order(method, case.rows))
        done, wanted = len(answers), len(answers) + len(orders)
        self._tell(done, wanted)
        full = None
        elsewhere = [order for order in orders if order.method.file is not None]
        here = [order for order in orders if order.method.file is None]
        for order, answer in chain(self._runner.ask(elsewhere), Here().ask(here)):
            pair = order.method.name, order.rows.case.name
            if isinstance(answer, MethodError):
                failure = Failure(method=pair[0], case=pair[1], reason=str(answer), traceback=answer.traceback)
                self.failures.append(failure)
            else:
                answers[pair] = answer
                kept_as = keys[pair]
                if kept_as and not full:
                    full = kept.write(kept_as, answer)
            done += 1
            self._tell(done, wanted)
        if full:
            warnings.warn(
                f"answers are not kept in {cache_home()}: {reason(full)}; they will be asked for again",
                MethodWarning,
                stacklevel=2,
            )
        for name in names:
            say_once(name, (answer.warned for (method, _), answer in answers.items() if method == name))
        return answers

    def _tell(self, done: int, wanted: int) -> None:
        if self._progress:
            self._progress(done, wanted)


def evaluate(
    methods: Any,
    cases: str | Sequence[str] | None = None,
    *,
    zoo: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    workers: int = 0,
    timeout: float = TIMEOUT,
    cache: bool = True,
    sandbox: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Score methods on cases.

    Parameters
    ----------
    methods : one or several of: the name of a method, the path of a method file, an object or class that is a method.
    cases : selections, tasks, sweeps, cases or patterns, as `mdbench cases` lists them; None for the selection ``core``.
        With a zoo, of that zoo's own cases, None for all.
    zoo : name or folder of a zoo to evaluate on, by the cases that it makes by itself.
    samples : how many of a case's training samples are learned from, the first ones, for a quick look; None for all.
    workers : processes to run method files in. 0 runs them in this one, without a time limit; objects always run here.
    timeout : seconds a method may take for one case, with workers.
    cache : whether answers given before, by the same source to the same case, are used and new ones kept.
    sandbox : whether methods run in isolation, without network, files, or labels but their own; nothing is then taken from
        the cache or kept in it.
    strict : whether a method that cannot be loaded ends everything, before any is asked; otherwise it is a failure.
    progress : called with the number of answers there and wanted, after every answer.

    Returns
    -------
    The result. A method or a case that fails is in its ``failures`` and loses nothing of the others.

    Raises
    ------
    MdbenchError
        No such case or zoo; none of the cases can be posed; two methods share a name; no method is given.
    """
    wanted, at_hand = choose(cases, zoo)
    wanted = [case.first(samples) for case in wanted]
    return evaluated(
        methods,
        wanted,
        at_hand,
        workers=workers,
        timeout=timeout,
        cache=cache,
        sandbox=sandbox,
        strict=strict,
        progress=progress,
    ).result


def evaluated(
    methods: Any,
    wanted: Iterable[Case],
    at_hand: AtHand | None = None,
    *,
    workers: int = 0,
    timeout: float = TIMEOUT,
    cache: bool = True,
    sandbox: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
) -> Evaluated:
    """Score methods on cases, and keep what the scores are made of; see `evaluate`.

    Parameters
    ----------
    methods, workers, timeout, cache, sandbox, strict, progress : see `Asking`.
    wanted, at_hand : see `pose`.
    """
    started = time.perf_counter()
    with Asking(
        methods, workers=workers, timeout=timeout, cache=cache, sandbox=sandbox, strict=strict, progress=progress
    ) as asking:
        posed, unposed = pose(wanted, at_hand)
        # While the workers start: what the result says beside the scores.
        records, environment = tuple(_case_record(case.rows) for case in posed), Environment.here()
        answers = asking.answers(posed)
    failures = [*asking.failures, *unposed]
    result = _result(asking.methods, posed, answers, records, environment, failures, started)
    return Evaluated(result, posed, answers)


def _result(
    methods: Sequence[Method],
    posed: Sequence[Posed],
    answers: dict[tuple[str, str], Answer],
    records: tuple[CaseRecord, ...],
    environment: Environment,
    failures: list[Failure],
    started: float,
) -> Result:
    scores = []
    for case in posed:
        here = {
            m.name: answers[m.name, case.rows.case.name] for m in methods if (m.name, case.rows.case.name) in answers
        }
        scores += _scores(case.rows, here)
    order = {method.name: number for number, method in enumerate(methods)}
    case_order = {case.rows.case.name: number for number, case in enumerate(posed)}
    failures.sort(key=lambda f: (order.get(f.method or "", -1), case_order.get(f.case or "", -1)))
    result = Result(
        seconds=time.perf_counter() - started,
        environment=environment,
        zoos=tuple(
            ZooRecord(name=zoo.name, rows=len(zoo.configurations), sha256=zoo.digest)
            for zoo in {zoo.name: zoo for case in posed for zoo in case.zoos}.values()
        ),
        cases=records,
        methods=tuple(
            MethodRecord(
                name=method.name,
                file=method.file.name if method.file else None,
                source_sha256=method.source_sha256,
                track=method.track,
                zero_shot=method.zero_shot,
            )
            for method in methods
        ),
        scores=tuple(scores),
        failures=tuple(failures),
    )
    result._predictions = partial(_predictions, methods, posed, answers)
    return result


def _scores(rows: CaseRows, answers: dict[str, Answer]) -> list[Score]:
    if not answers:
        return []
    predicted = np.stack([answer.predicted for answer in answers.values()])
    found = stats.accuracies(predicted, rows.test.codes, rows.test.cells, rows.test.cell_count, several=rows.several)
    means, balanced = found.by_seed.mean(axis=1), found.balanced_by_seed.mean(axis=1)
    several = len(rows.samples) > 1
    verdicts = len(stats.common(rows.test.codes))
    scores = [
        Score(
            method=name,
            case=rows.case.name,
            accuracy=means[i],
            accuracy_std=found.by_seed[i].std(ddof=1) if several else 0.0,
            accuracy_interval=IntervalRecord(**vars(found.intervals[i])),
            balanced_accuracy=balanced[i],
            balanced_accuracy_interval=IntervalRecord(**vars(found.balanced_intervals[i])),
            above_chance=stats.above_chance(balanced[i], verdicts) if verdicts > 1 else None,
            above_chance_interval=_rescaled(found.balanced_intervals[i], verdicts) if verdicts > 1 else None,
            rank=1 + int((balanced > balanced[i]).sum()),
            accuracy_by_seed=tuple(found.by_seed[i].tolist()),
            balanced_accuracy_by_seed=tuple(found.balanced_by_seed[i].tolist()),
            fit_seconds=answer.fit_seconds,
            predict_seconds=answer.predict_seconds,
            columns=answer.columns,
            families=tuple(dict.fromkeys(COLUMNS[column].family.value for column in answer.columns)),
            coverage=100 * float((answer.predicted >= 0).mean()),
            accuracy_answered=_accuracy_answered(answer.predicted, rows.test.codes),
            probability=probability_record(answer, rows),
        )
        for i, (name, answer) in enumerate(answers.items())
    ]
    return sorted(scores, key=lambda score: score.rank)


def _rescaled(interval: Interval, verdicts: int) -> IntervalRecord:
    low, high = (stats.above_chance(end, verdicts) for end in (interval.low, interval.high))
    return IntervalRecord(low=low, high=high)


def _accuracy_answered(said: np.ndarray, truth: np.ndarray) -> float | None:
    answered = said >= 0
    return 100 * float((said == truth)[answered].mean()) if answered.any() else None


def _case_record(rows: CaseRows) -> CaseRecord:
    return CaseRecord(
        case=rows.case,
        classes=rows.task.classes,
        test_rows=len(rows.test),
        test_cells=len(np.unique(rows.test.cells)),
        splits=tuple(
            SplitRecord(seed=seed, train_rows=len(sample), sha256=rows.digests[position])
            for position, (seed, sample) in enumerate(zip(rows.case.seeds, rows.samples, strict=True))
        ),
        counted=tuple(rows.task.classes[code] for code in stats.counted(rows.test.codes)),
    )


def _predictions(methods: Sequence[Method], posed: Sequence[Posed], answers: dict[tuple[str, str], Answer]) -> pa.Table:
    """Return every prediction as a table; texts are dictionary-encoded, for there are millions of them.

    Where a method gave probabilities, there is a column for every verdict.
    """
    verdicts = dict.fromkeys(verdict for case in posed for verdict in case.rows.task.classes)
    if all(answer.probabilities is None for answer in answers.values()):
        verdicts = {}
    parts = []
    for case in posed:
        rows = case.rows
        seeds, size = len(rows.samples), len(rows.test)
        name, every = rows.case.name, np.zeros(seeds * size, dtype=np.int32)
        for method in methods:
            answer = answers.get((method.name, name))
            if answer:
                parts.append(
                    pa.table(
                        {
                            "method": _encoded(every, [method.name]),
                            "case": _encoded(every, [name]),
                            "seed": np.repeat(rows.case.seeds, size),
                            "row": _encoded(np.tile(np.arange(size, dtype=np.int32), seeds), rows.test.ids),
                            "predicted": _encoded(answer.predicted.ravel().astype(np.int32), rows.task.classes),
                            "true": _encoded(np.tile(rows.test.codes, seeds).astype(np.int32), rows.task.classes),
                            **{f"{PROBABILITY}{v}": _probabilities_of(v, answer, rows) for v in verdicts},
                        }
                    )
                )
    empty = pa.table({name: pa.array([], pa.string()) for name in PREDICTION_COLUMNS})
    return pa.concat_tables(parts).unify_dictionaries() if parts else empty


def _probabilities_of(verdict: str, answer: Answer, rows: CaseRows) -> pa.Array:
    if answer.probabilities is None or verdict not in rows.task.classes:
        return pa.nulls(answer.predicted.size, pa.float32())
    return pa.array(answer.probabilities[:, :, rows.task.classes.index(verdict)].ravel())


def _encoded(places: np.ndarray, texts: Sequence[str] | np.ndarray) -> pa.DictionaryArray:
    """Return texts by their places; a place below 0 is null."""
    return pa.DictionaryArray.from_arrays(pa.array(places, mask=places < 0), pa.array(texts, pa.string()))
