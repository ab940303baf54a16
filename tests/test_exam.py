"""Exams: which cases an entry answers, and the data that it says it answered for; sheets are tested with the checks."""

import hashlib
import json

import pytest
import toy
from dishonest import case, honest, small_exam

from leaderboard.entry.checks import check, read_entry
from leaderboard.entry.exam import Exam
from leaderboard.entry.refused import Refused
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
    assert len(exam.posed) == len(load_cases("unseen")) + 12
    assert exam.digest == exam.digest_of(exam.posed)


def test_an_entry_stays_what_it_was_where_cases_and_samples_are_added(exam, tmp_path):
    """It is checked against what was asked when it was accepted; a new one has to answer what is asked today."""
    folder = honest(tmp_path / "entries", exam)
    entry = read_entry(folder)
    more = {"optimizer": (42, 90, 1, 2), "width_vs_optimizer": (42, 7, 18, 3), "data_vs_optimizer": (42, 90)}
    grown = Exam.posing({"core": [case(task, seeds) for task, seeds in more.items()]})
    then = grown.as_recorded(entry.dataset)
    assert then.cases(["core"], entry.columns) == (FIRST, SECOND)
    assert then.record((FIRST, SECOND)) == exam.record((FIRST, SECOND))
    assert then.digest_of((FIRST, SECOND)) == exam.digest_of((FIRST, SECOND))
    assert [len(said) for said in check(folder, then).predicted.values()] == [2, 3]
    assert grown.as_recorded(entry.dataset) is then
    with pytest.raises(Refused, match="has other rows here"):
        check(folder, grown)


def test_what_is_no_longer_asked_is_found_not_to_fit(exam, tmp_path):
    folder = honest(tmp_path / "entries", exam)
    fewer = Exam.posing({"core": [case("optimizer"), case("width_vs_optimizer", (42,))]})
    with pytest.raises(Refused, match="has other rows here"):
        check(folder, fewer.as_recorded(read_entry(folder).dataset))
    gone = Exam.posing({"core": [case("optimizer"), case("data_vs_optimizer")]})
    with pytest.raises(Refused):
        check(folder, gone.as_recorded(read_entry(folder).dataset))
