"""A question as what a sandbox is sent: JSON and numbers, of which nothing is run when they are read."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from mdbench.cases import codes
from mdbench.methods.trial import Question
from mdbench.tables import find_task

#: Byte strings of a question: training rows, their labels, test rows.
PARTS: Final = 3


def write_question(question: Question) -> tuple[dict[str, Any], list[bytes]]:
    """Return what says how a question is to be read, and its numbers.

    Returns
    -------
    For JSON; and `PARTS` byte strings: training rows (columns, m) as little-endian float64, their labels (m,) as places in
    ``task.classes``, int8, test rows (columns, n). The half that is asked about once more is not in it.
    """
    task = question.task
    labels = codes(question.labels, task)
    assert (labels >= 0).all(), "every training row has one of the task's labels"
    about = {
        "task": task.name,
        "moves": task.moves,
        "columns": question.columns,
        "rows": (len(question.train), len(question.test)),
        "seed": question.seed,
    }
    return about, [_bytes(question.train), labels.tobytes(), _bytes(question.test)]


def read_question(about: Mapping[str, Any], parts: Sequence[bytes]) -> Question:
    """Return the question that `write_question` wrote, without its half."""
    task = find_task(about["task"]).among(about["moves"])
    assert task is not None, "these are its own moves"
    columns = tuple(about["columns"])
    train, test = (
        np.frombuffer(content, "<f8").reshape(len(columns), rows).astype(float).T
        for content, rows in zip(parts[::2], about["rows"], strict=True)
    )
    labels = np.array(task.classes, dtype=object)[np.frombuffer(parts[1], np.int8)]
    return Question(task, columns, train, labels, test, about["seed"])


def _bytes(values: np.ndarray) -> bytes:
    return values.T.astype("<f8").tobytes()
