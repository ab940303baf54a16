"""Libraries used once before the fork, and questions as bytes."""

import importlib
import json
import random
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mdbench.methods import rehearsal
from mdbench.methods.letter import read_question, write_question
from mdbench.methods.trial import Question
from mdbench.tables import TASKS

KNOWN = ("scipy.optimize", "xgboost", *rehearsal._KINDS)


@pytest.fixture(scope="module", autouse=True)
def imported():
    for module in KNOWN:
        importlib.import_module(module)


@pytest.mark.parametrize("task", rehearsal.TASKS_ASKED, ids=lambda task: task.name)
@pytest.mark.parametrize("place", range(len(rehearsal.sources(KNOWN))))
@pytest.mark.filterwarnings("ignore")
def test_every_method_that_rehearses_answers(place, task):
    reply = rehearsal.rehearse_one(rehearsal.sources(KNOWN)[place], task)
    assert len(reply.said) == 12
    assert set(reply.said) <= set(range(len(task.classes)))


def test_only_what_was_imported_is_used():
    assert len(rehearsal.sources(())) == 1
    assert not any("sklearn" in text or "xgboost" in text for text in rehearsal.sources(("scipy.optimize",)))


def test_afterwards_nothing_runs_beside_and_the_generators_are_as_before():
    # A thread would be lost in the fork, and with it the locks that it holds.
    threads = len(list(Path("/proc/self/task").iterdir()))
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3)
    np.random.seed(3)
    rehearsal.rehearse()
    assert (random.random(), np.random.random()) == expected
    assert len(list(Path("/proc/self/task").iterdir())) == threads


@pytest.mark.parametrize(
    ("task", "columns"), [("optimizer", ("train_error", "ρ")), ("failure_source", ("train_error",)), ("optimizer", ())]
)
def test_a_question_that_was_sent_is_the_question(task, columns):
    asked = TASKS[task]
    draws = np.random.default_rng(5)
    train, test = draws.normal(size=(7, len(columns))), draws.normal(size=(4, len(columns)))
    if columns:
        train[2, 0], test[1, 0], test[0, 0] = np.nan, np.inf, -0.0
    labels = np.array([asked.classes[place % 2] for place in range(7)], dtype=object)
    question = Question(asked, columns, train, labels, test, seed=2**32 - 1)
    about, parts = write_question(question)
    read = read_question(json.loads(json.dumps(about)), parts)
    for field in fields(Question):
        mine, theirs = getattr(question, field.name), getattr(read, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert mine.tolist() == theirs.tolist() or mine.tobytes("C") == theirs.tobytes("C")
        else:
            assert mine == theirs
    assert read.train.flags.writeable  # a method may write into what it is given
    assert read.test.flags.writeable


def test_a_label_that_is_none_of_the_tasks_is_not_sent():
    question = Question(
        TASKS["optimizer"], (), np.empty((1, 0)), np.array(["x"], dtype=object), np.empty((1, 0)), seed=0
    )
    with pytest.raises(AssertionError, match="one of the task's labels"):
        write_question(question)
