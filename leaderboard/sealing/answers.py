"""Answers to a sealed zoo: a method is asked, and what it says becomes a file, or such a file is read."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leaderboard.entry import PREDICTION_COLUMNS, TEXTS, Exam, Refused, Sheet, read_table, sealed_file
from leaderboard.sealing.sealed import Part, Sealed
from mdbench.cases import CaseRows
from mdbench.methods import CORES, TIMEOUT, Here, Method, MethodError, Order, Runner, depends_on_others, given_columns
from mdbench.scoring import Progress


@dataclass(frozen=True)
class Answered:
    """What a method said of a sealed zoo.

    Attributes
    ----------
    sealed : what was asked.
    content : the predictions, as the file that an entry has, see `leaderboard.entry.sealed_file`; None where there are none.
    left_out : task → why the method does not answer it.
    """

    sealed: Sealed
    content: bytes | None
    left_out: Mapping[str, str]


def answer(
    method_file: Path,
    public: Path,
    *,
    workers: int = CORES,
    timeout: float = TIMEOUT,
    sandbox: bool = True,
    secret: str = "",
    progress: Progress | None = None,
) -> Answered:
    """Ask a method about a sealed zoo.

    Parameters
    ----------
    method_file : the method.
    public : the public part.
    workers, timeout : sandboxes at a time, and seconds that the method may take for one case.
    sandbox : whether the method is isolated. Otherwise it runs in this process, without a time limit.
    secret : what orders, halves and seeds follow from in place of public names, see `mdbench.methods.questions`.
    progress : called with the number of answers there and wanted.

    Raises
    ------
    MdbenchError
        The method cannot be loaded, or fails where it answers, or says other things of a half of the rows; the public part
        is damaged, or the zoo to learn from is not there.
    """
    part = Part.read(public)
    exam = part.exam()
    predicted, left_out, orders = {}, {}, []
    with _runner(workers, timeout, sandbox=sandbox) as runner:
        ((_, method),) = runner.load([method_file.resolve()])
        if isinstance(method, MethodError):
            raise method
        for one in exam.posed.values():
            why = _cannot(method, one.rows)
            if why is None:
                orders.append(Order(method, one.rows, secret))
            else:
                left_out[one.rows.task.name] = why
        for order, said in runner.ask(orders):
            name = order.rows.case.name
            if isinstance(said, MethodError):
                raise MethodError(f"{method.name} fails on {name}: {said}", said.traceback)
            if said.changed:
                changed = f"{said.changed:,} of {said.again:,}"
                inductive = method.track == "inductive"
                why = depends_on_others(changed) if inductive else f"it does not repeat itself: {changed} changed"
                raise MethodError(f"{method.name} on {name}: {why}")
            predicted[name] = said.predicted
            if progress:
                progress(len(predicted), len(orders))
    cases = tuple(name for name in exam.posed if name in predicted)
    return Answered(part.sealed, Sheet(exam, cases).write(predicted) if cases else None, left_out)


def _runner(workers: int, timeout: float, *, sandbox: bool) -> AbstractContextManager[Runner]:
    if not sandbox:
        return nullcontext(Here())
    from mdbench.methods import Sandbox

    return Sandbox(workers, timeout)


def _cannot(method: Method, rows: CaseRows) -> str | None:
    """Return why a method does not answer a case; None where it does."""
    if not method.answers(rows.task.name):
        return "it is not made for this task"
    try:
        given_columns(method, rows)
    except MethodError as error:
        return str(error)
    return None


def check_answers(content: bytes, exam: Exam) -> dict[str, np.ndarray]:
    """Read predictions on a sealed zoo, which may come from anywhere.

    Parameters
    ----------
    content : a file, see `Answered`.
    exam : the cases, see `Part.exam`.

    Returns
    -------
    case → places in the task's classes, int8, shape (seeds, rows), for the tasks that are answered.

    Raises
    ------
    Refused
        They are not one verdict for every seed and row of one task or several.
    """
    file, every = sealed_file(*exam.selections), Sheet(exam, tuple(exam.posed))
    table = read_table(content, file, PREDICTION_COLUMNS, TEXTS, most=2 * every.size)
    named = {text for chunk in table["case"].chunks for text in chunk.dictionary.to_pylist()}
    cases = tuple(name for name in exam.posed if name in named)
    if not cases:
        raise Refused("missing row", f"{file} answers none of {', '.join(exam.posed)}")
    return Sheet(exam, cases, file).read(content)
