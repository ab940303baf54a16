"""Exams: which cases an entry answers, and the data that it says it answered for; sheets are tested with the checks."""

import hashlib
import json

import pytest
import toy
from dishonest import case, small_exam

from leaderboard.entry.exam import Exam
from mdbench.cases.cases import load_cases
from mdbench.errors import MdbenchError
from mdbench.paths import zoo_home
from mdbench.tables.loading import load_zoo

FIRST, SECOND, THIRD = (f"own/{task}/few-shot/3" for task in ("optimizer", "width_vs_optimizer", "data_vs_optimizer"))


@pytest.fixture
def exam(home):
    return small_exam(home)


def test_the_cases_of_some_tasks_in_the_order_of_the_exam(exam):
    assert exam.cases(["core"], ["width_vs_optimizer", "optimizer"]) == (FIRST, SECOND)
    assert exam.cases(["bundled"], ["width_vs_optimizer", "optimizer"]) == (FIRST,)
    assert exam.cases(["bundled", "core"], ["data_vs_optimizer", "optimizer", "nothing"]) == (FIRST, THIRD)
    assert exam.cases([], ["optimizer"]) == ()
    with pytest.raises(MdbenchError, match="'paper' are not posed here, but only core, bundled"):
        exam.cases(["paper"], ["optimizer"])


def test_the_record_is_of_the_zoos_and_rows_that_are_asked(exam):
    record = exam.record([FIRST])
    assert record.zoos == {name: load_zoo(zoo_home() / name).digest for name in ("own", "own-too")}
    (posed,) = (exam.posed[FIRST].rows,)
    for seed, said in enumerate(record.splits[FIRST]):
        trained = sorted(posed.train.ids[posed.samples[seed]])
        tested = sorted(posed.test.ids)
        assert said == hashlib.sha256("\n".join([*tested, "", *trained]).encode()).hexdigest()
    assert set(exam.dataset.splits) == {FIRST, SECOND, THIRD}


def test_the_digest_is_of_the_data_and_not_of_the_version(exam, monkeypatch):
    before = exam.digest
    said = json.loads(exam.dataset.model_dump_json(exclude={"version"}))
    assert before == hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    monkeypatch.setattr("mdbench.__version__", "99.0")
    assert small_exam(zoo_home().parent).digest == before
    toy.own_zoo("own-too", widths=(3, 11, 45), fractions=(10, 30)).save(zoo_home() / "own-too")
    assert small_exam(zoo_home().parent).digest != before


def test_a_zoo_that_is_not_here(home):
    with pytest.raises(MdbenchError, match="zoo 'own' is not there"):
        Exam.posing({"core": [case("optimizer")]})
    with pytest.raises(MdbenchError, match="modeldiagnosis"):
        Exam.of(["core", "paper"])


def test_the_board_asks_the_cases_of_the_package():
    exam = Exam.of(["core"])
    assert list(exam.posed) == [one.name for one in load_cases("core")] == list(exam.selections["core"])
    assert len(exam.posed) == 12
    assert exam.digest == exam.digest_of(exam.posed)
