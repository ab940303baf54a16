"""Boards assembled from folders of entries and their ledger."""

import hashlib
import json
import shutil
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import toy
from dishonest import case, describe, honest, read, small_exam

from leaderboard.entry.checks import check, read_entries
from leaderboard.entry.exam import Exam
from leaderboard.entry.sheet import sheet_of
from leaderboard.ranking import board as module
from leaderboard.ranking.board import assemble
from leaderboard.verifying import ledger
from leaderboard.verifying.ledger import LEDGER, Verdict
from leaderboard.verifying.run import Controls, Run, keep
from mdbench.errors import MdbenchError
from mdbench.paths import zoo_home
from mdbench.scoring import stats

SOURCE = '''\
"""On which side of a quantile of the training error a verdict is."""

columns = {{task: ["train_error"] for task in {tasks}}}


class Rule:
    def fit(self, models, labels, task):
        self.classes = task.classes
        self.cut = models["train_error"].quantile({quantile})

    def predict(self, models):
        return [self.classes[int(error {sign} self.cut)] for error in models["train_error"]]
'''
TASKS = ("optimizer", "width_vs_optimizer", "data_vs_optimizer")
#: Name → tasks, quantile and sign.
METHODS = {
    "Above": (TASKS, 0.5, ">"),
    "Below": (TASKS, 0.5, "<"),
    "High": (TASKS, 0.8, ">"),
    "Two tasks": (TASKS[:2], 0.4, ">"),
}
SLUGS = ("above", "below", "high", "two-tasks")
VERIFIED = Verdict(outcome="verified", reason="the same in all rows")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("zoos")


@pytest.fixture(scope="module")
def exam(home):
    return small_exam(home)


def write(entries, exam, name, **more):
    tasks, quantile, sign = METHODS[name]
    method = SOURCE.format(tasks=tasks, quantile=quantile, sign=sign)
    return honest(entries, exam, name=name, method=method, authors=[f"{name} Author"], **more)


def append(entries, exam, slug, kind, **said):
    """Append an event about an entry; of the exam's data, where nothing else is said."""
    found = check(entries / slug, exam, rescored=True)
    if kind in ("accepted", "rescored"):
        said.setdefault("scores", accuracies(found, exam))
    said.setdefault("dataset", exam.digest_of(found.predicted))
    said.setdefault("mdbench", "0.1.0")
    return ledger.append(
        entries / LEDGER, kind=kind, entry=slug, entry_sha256=found.entry_sha256, reason=f"{kind} for a test", **said
    )


def accuracies(found, exam):
    truth = {name: exam.posed[name].rows.test.codes for name in found.predicted}
    return {name: float(np.mean(100.0 * (said == truth[name]))) for name, said in found.predicted.items()}


@pytest.fixture(scope="module")
def made(exam, tmp_path_factory):
    """A folder of four entries on the board, and one that the ledger does not know."""
    entries = tmp_path_factory.mktemp("made") / "entries"
    for name in METHODS:
        slug = write(entries, exam, name).name
        append(entries, exam, slug, "accepted")
        append(entries, exam, slug, "verification", verdict=VERIFIED)
    honest(entries, exam, name="Pending")
    return entries


@pytest.fixture
def entries(made, tmp_path):
    return shutil.copytree(made, tmp_path / "entries")


@pytest.fixture(scope="module")
def board(made, exam):
    return assemble(made, exam)


# --- What is on it ------------------------------------------------------------------------------------------------------


def test_what_was_accepted_is_on_the_board_and_nothing_else(board, made, exam):
    assert tuple(board.rows) == tuple(board.entries) == SLUGS
    assert board.exam is exam
    assert not board.left_out
    assert not board.sealed
    for slug, row in board.rows.items():
        assert row.entry.slug == slug
        assert row.verdict == VERIFIED
        assert [event.kind for event in row.history] == ["accepted", "verification"]
        assert row.verified_on == row.history[1].date
        assert row.source == (made / slug / "method.py").read_text()
        assert row.requirements is None
    assert len(board.events) == 8
    assert board.as_of == board.events[-1].date


def test_scores_are_those_that_evaluating_shows(board, made, exam):
    for slug, row in board.rows.items():
        assert list(row.scores) == [name for name, one in exam.posed.items() if one.rows.task.name in row.entry.columns]
        for name, score in row.scores.items():
            test = exam.posed[name].rows.test
            several = exam.posed[name].rows.several
            expected = stats.accuracies(
                row.predicted[name][None], test.codes, test.cells, test.cell_count, several=several
            )
            balanced = expected.balanced_by_seed.mean()
            assert score.accuracy == pytest.approx(expected.by_seed.mean(), abs=1e-9)
            assert score.balanced_accuracy == pytest.approx(balanced, abs=1e-9)
            verdicts = len(stats.counted(test.codes))
            assert score.score == pytest.approx(stats.above_chance(balanced, verdicts), abs=1e-9)
            ends = expected.balanced_intervals[0]
            for mine, end in ((score.interval.low, ends.low), (score.interval.high, ends.high)):
                if 0 < end < 100:
                    assert mine == pytest.approx(stats.above_chance(end, verdicts))
        assert len(row.scores) == (2 if slug == "two-tasks" else 3)


def test_there_is_a_view_of_every_part_that_has_cases_and_the_headline_is_the_first(board, exam):
    views = {(view.selection, view.task, view.scenario): view.cases for view in board.views}
    names = {one.rows.task.name: name for name, one in exam.posed.items()}
    every = tuple(names[task] for task in TASKS)
    assert len(views) == len(board.views)
    assert next(iter(views)) == ("core", "published", "all")
    expected = {
        (selection, task, scenario): cases
        for selection, parts in (
            ("core", {"published": every, "all": every} | {task: (names[task],) for task in TASKS}),
            ("bundled", dict.fromkeys(("published", "all", "optimizer"), (names["optimizer"],))),
        )
        for task, cases in parts.items()
        for scenario in ("all", "few-shot")
    }
    assert views == expected


def test_places_are_among_those_who_answer_every_case(board, exam):
    for view in board.views:
        expected = {}
        for slug, row in board.rows.items():
            if set(view.cases) <= set(row.scores):
                expected[slug] = np.mean([row.scores[name].score for name in view.cases])
        places = {place.slug: place for place in view.places}
        assert (
            places.keys()
            == expected.keys()
            == set(SLUGS)
            - ({"two-tasks"} if len(view.cases) == 3 else set())
            - ({"two-tasks"} if view.task == "data_vs_optimizer" else set())
        )
        for slug, place in places.items():
            assert place.score == pytest.approx(expected[slug], abs=1e-9)
            assert place.interval.low <= place.score <= place.interval.high
        shown = [place.score for place in view.places]
        assert shown == sorted(shown, reverse=True)
        assert view.places[0].place == 1
        assert all(place.groups for place in view.places)
        ranks = [place.average_rank for place in view.places]
        assert sum(ranks) == pytest.approx(len(ranks) * (len(ranks) + 1) / 2)
        for shares in ("first_over_rows", "first_over_cases"):
            assert sum(getattr(place, shares) for place in view.places) == pytest.approx(1)


def test_the_headline_has_p_of_each_pair_alone_and_corrected(board):
    view = board.views[0]
    slugs = [place.slug for place in view.places]
    alone, corrected = ({}, {})
    for slug in slugs:
        others = view.against(slug)
        assert [other for other, *_ in others] == [other for other in slugs if other != slug]
        for other, one, both in others:
            assert alone.setdefault(frozenset((slug, other)), one) == one  # whichever of the two is asked
            assert corrected.setdefault(frozenset((slug, other)), both) == both
    order = sorted(alone, key=alone.get)
    stepped = np.maximum.accumulate([alone[two] * (len(order) - at) for at, two in enumerate(order)])
    assert [corrected[two] for two in order] == pytest.approx(np.minimum(stepped, 1).tolist())
    letters = {place.slug: set(place.groups.split()) for place in view.places}
    for two, p in corrected.items():
        one, other = two
        assert bool(letters[one] & letters[other]) == (p > 0.05)
    assert [[view.alone[one, other] for other in range(len(slugs)) if other != one] for one in range(len(slugs))] == [
        [p for _, p, _ in view.against(slug)] for slug in slugs
    ]
    assert all(other.alone.shape == (len(other.places),) * 2 for other in board.views)
    assert view.against("nobody") == []
    assert all(other.ranking is None for other in board.views[1:] if other.cases != view.cases)


def test_the_same_folder_gives_the_same_board(board, made, exam):
    again = assemble(made, exam)
    assert (again.as_of, again.views, again.events, again.entries) == (
        board.as_of,
        board.views,
        board.events,
        board.entries,
    )
    assert [row.scores for row in again.rows.values()] == [row.scores for row in board.rows.values()]


def test_a_folder_without_a_ledger_is_a_board_without_entries(entries, exam, tmp_path):
    (entries / LEDGER).unlink()
    (entries / LEDGER).with_suffix(".head").unlink()
    found = assemble(entries, exam)
    assert (found.rows, found.events, found.entries, found.sealed) == ({}, (), {}, [])
    assert found.views
    assert all(view.places == () for view in found.views)
    assert datetime.now(UTC) - found.as_of < timedelta(minutes=5)
    with pytest.raises(MdbenchError, match=r"there is no folder .*nothing"):
        assemble(tmp_path / "nothing", exam)


def test_who_has_left_the_board_is_remembered(entries, exam):
    append(entries, exam, "below", "superseded", by="above")
    append(entries, exam, "high", "removed")
    append(entries, exam, "two-tasks", "verification", verdict=Verdict(outcome="rejected", reason="it peeks"))
    found = assemble(entries, exam)
    assert tuple(found.rows) == ("above",)
    assert tuple(found.entries) == SLUGS
    assert [event.kind for event in found.events[-3:]] == ["superseded", "removed", "verification"]
    assert [place.slug for place in found.views[0].places] == ["above"]
    # A board of another date has those who were on it.
    before = assemble(entries, exam, found.events[-3].date)
    assert tuple(before.rows) == ("above", "high", "two-tasks")


def test_what_was_refused_at_once_may_change(entries, exam):
    rejected = Verdict(outcome="rejected", reason="it peeks")
    append(entries, exam, "pending", "verification", verdict=rejected)
    (entries / "pending" / "method.py").write_text("# another file\n")
    describe(entries / "pending")
    found = assemble(entries, exam)
    assert tuple(found.rows) == SLUGS
    assert found.entries["pending"].name == "Pending"


def test_who_was_not_verified_yet_is_self_reported(entries, exam):
    append(entries, exam, "pending", "accepted")
    row = assemble(entries, exam).rows["pending"]
    assert row.verdict.outcome == "self-reported"
    assert row.verified_on == row.history[0].date


# --- As of a date -------------------------------------------------------------------------------------------------------


def test_a_board_of_a_date_knows_of_nothing_later(made, exam, board, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    for number, event in enumerate(board.events, 1):
        then = assemble(made, exam, event.date)
        assert len(then.events) == number
        assert tuple(then.rows) == SLUGS[: (number + 1) // 2]
        assert then.as_of == event.date
    assert not assemble(made, exam, board.events[0].date - timedelta(seconds=1)).rows
    naive = board.events[3].date.replace(tzinfo=None)
    assert assemble(made, exam, naive).as_of == board.events[3].date  # UTC, wherever this is
    monkeypatch.undo()
    time.tzset()


def test_data_of_another_date_are_those_of_another_version(entries, exam):
    old = append(entries, exam, "pending", "accepted", dataset="0" * 64, mdbench="0.0.7")
    with pytest.raises(
        MdbenchError, match=r"pending was scored by mdbench 0\.0\.7 on other data .* leaderboard rescore"
    ):
        assemble(entries, exam)
    append(entries, exam, "pending", "rescored")
    assert "pending" in assemble(entries, exam).rows
    with pytest.raises(MdbenchError, match=rf"install mdbench 0\.0\.7 to see the board as of {old.date:%Y-%m-%d}"):
        assemble(entries, exam, old.date)


def test_an_entry_that_was_scored_anew_may_have_been_made_on_other_data(entries, exam):
    entry = read(entries / "pending")
    entry["dataset"]["zoos"]["own"] = "0" * 64
    (entries / "pending" / "entry.json").write_text(json.dumps(entry))
    append(entries, exam, "pending", "accepted")
    with pytest.raises(MdbenchError, match=r"^pending is on the board, .* zoo 'own' is not the one"):
        assemble(entries, exam)
    append(entries, exam, "pending", "rescored")
    assert "pending" in assemble(entries, exam).rows


# --- Nothing vanishes, and nothing changes, unexplained -----------------------------------------------------------------


@pytest.mark.parametrize("gone", ["removed", None])
def test_a_folder_that_is_missing_is_named(entries, exam, gone):
    if gone:
        append(entries, exam, "high", gone)
    shutil.rmtree(entries / "high")
    with pytest.raises(
        MdbenchError, match=r"^high is in the ledger, and its folder is not what it was: .*; bring it back"
    ):
        assemble(entries, exam)


@pytest.mark.parametrize("gone", ["removed", None])
def test_an_entry_that_was_changed_is_named(entries, exam, gone):
    if gone:
        append(entries, exam, "high", gone)
    entry = read(entries / "high")
    (entries / "high" / "entry.json").write_text(json.dumps(entry | {"authors": ["Somebody Else"]}))
    with pytest.raises(MdbenchError, match=r"^high: entry\.json was changed after it was accepted"):
        assemble(entries, exam)


def test_a_file_that_was_changed_is_named(entries, exam):
    with (entries / "high" / "predictions.parquet").open("ab") as file:
        file.write(b" ")
    with pytest.raises(MdbenchError, match=r"^high is on the board, and its files .*: predictions\.parquet is not"):
        assemble(entries, exam)


@pytest.mark.parametrize("change", [lambda score: score + 1e-6, None])
def test_scores_that_are_not_those_of_the_predictions_are_named(entries, exam, change):
    scores = accuracies(check(entries / "pending", exam), exam)
    name = list(scores)[1]
    wrong = {one: change(score) if one == name and change else score for one, score in scores.items()}
    if change is None:
        del wrong[name]
    append(entries, exam, "pending", "accepted", scores=wrong)
    said = "the ledger says nothing" if change is None else "the ledger says"
    with pytest.raises(MdbenchError, match=rf"^pending: {name}: its predictions are right in .* %, and {said}"):
        assemble(entries, exam)


def test_a_damaged_ledger_is_no_board(entries, exam):
    path = entries / LEDGER
    path.write_bytes(path.read_bytes().replace(b"for a test", b"for a jest", 1))
    with pytest.raises(MdbenchError, match="line 2"):
        assemble(entries, exam)


# --- Sealed zoos --------------------------------------------------------------------------------------------------------


def sealed(above, labels="1" * 64, zoo="winter"):
    return ledger.SealedScore(
        zoo=zoo,
        labels_sha256=labels,
        tasks=("optimizer",),
        above_chance=above,
        low=above - 5,
        high=above + 5,
        accuracy=50 + above / 2,
        by_task={"optimizer": 50 + above / 2},
    )


def test_sealed_zoos_have_rankings_of_their_own(entries, exam):
    for slug, accuracy in (("above", 60.0), ("below", 70.0), ("high", 50.0), ("above", 80.0), ("two-tasks", 90.0)):
        append(entries, exam, slug, "sealed", sealed=sealed(accuracy))
    append(entries, exam, "above", "sealed", sealed=sealed(30.0, zoo="autumn"))
    append(entries, exam, "two-tasks", "removed")
    found = assemble(entries, exam).sealed
    assert [(one.name, [(place.slug, place.above_chance) for place in one.places]) for one in found] == [
        ("autumn", [("above", 30)]),
        ("winter", [("above", 80), ("below", 70), ("high", 50)]),
    ]
    place = found[1].places[0]
    assert (place.interval.low, place.interval.high, place.by_task) == (75, 85, {"optimizer": 90})


def test_superseded_entries_keep_their_rows_on_sealed_zoos_and_every_score_is_counted(entries, exam):
    for slug, accuracy in (("above", 60.0), ("below", 70.0), ("high", 50.0), ("above", 80.0)):
        append(entries, exam, slug, "sealed", sealed=sealed(accuracy))
    append(entries, exam, "below", "superseded", by="above")
    append(entries, exam, "high", "removed")
    (one,) = assemble(entries, exam).sealed
    assert [(place.slug, place.displaced_by) for place in one.places] == [("above", None), ("below", "above")]
    assert one.ranks == (1, 2)
    assert one.asked == 4
    known = read_entries(entries)
    counts = Counter(author for slug in ("above", "below", "high", "above") for author in known[slug].authors)
    assert one.by_author == counts
    assert list(one.by_author.values()) == sorted(counts.values(), reverse=True)


def test_scores_against_other_labels_are_not_ranked_together(entries, exam):
    append(entries, exam, "above", "sealed", sealed=sealed(60.0))
    append(entries, exam, "below", "sealed", sealed=sealed(70.0, labels="2" * 64))
    append(entries, exam, "high", "sealed", sealed=sealed(50.0, labels="2" * 64))
    found = assemble(entries, exam).sealed
    assert [(one.name, [place.slug for place in one.places]) for one in found] == [
        ("winter (11111111)", ["above"]),
        ("winter (22222222)", ["below", "high"]),
    ]


# --- Which selections ---------------------------------------------------------------------------------------------------


@pytest.fixture
def selections(exam, home, tmp_path, monkeypatch):
    """Selections as they would stand in cases.toml; that of the paper asks a zoo which is not everywhere."""
    monkeypatch.setenv("MDBENCH_HOME", str(tmp_path / "home"))
    shutil.copytree(home, tmp_path / "home")
    toy.own_zoo("own-paper", widths=(4, 16, 64), fractions=(10, 60)).save(zoo_home() / "own-paper")
    core = [one.rows.case for one in exam.posed.values()]
    # Of many times as many predictions as the others have together.
    other = {"name": "paper/optimizer/few-shot/3", "test": "own-paper", "seeds": tuple(range(100, 140))}
    paper = case("optimizer").model_copy(update=other)
    cases = {"core": core, "bundled": core[:1], "paper": [paper, core[2]]}
    monkeypatch.setattr(module, "load_cases", cases.__getitem__)
    return cases


@pytest.fixture
def of_two(entries, selections):
    """Five entries, of which one answers the paper's selection too."""
    whole = Exam.posing({name: selections[name] for name in ("core", "paper")})
    source = SOURCE.format(tasks=TASKS, quantile=0.3, sign=">")
    seeds = sorted({seed for one in whole.posed.values() for seed in one.rows.case.seeds})
    folder = honest(entries, whole, name="Complete", method=source, seeds=seeds)
    (folder / "entry.json").write_text(json.dumps(read(folder) | {"selections": ["core", "paper"]}))
    append(entries, whole, "complete", "accepted")
    append(entries, whole, "complete", "verification", verdict=VERIFIED)
    return entries


def test_the_exam_is_what_entries_on_the_board_answer(of_two, exam):
    found = assemble(of_two)
    assert list(found.exam.selections) == ["core", "paper"]
    assert found.exam.digest_of(exam.posed) == exam.digest
    assert not found.left_out
    assert found.views[0].cases == exam.selections["core"]
    assert len(found.views[0].places) == 4
    paper = [view for view in found.views if view.selection == "paper"]
    assert {view.task for view in paper} == {"published", "all", "optimizer", "data_vs_optimizer"}
    assert [[place.slug for place in view.places] for view in paper[:1]] == [["complete"]]
    append(of_two, found.exam, "complete", "removed")
    assert list(assemble(of_two).exam.selections) == ["core"]


def test_a_selection_whose_zoos_are_not_here_is_left_out(of_two):
    there = assemble(of_two)
    shutil.rmtree(zoo_home() / "own-paper")
    found = assemble(of_two)
    assert list(found.left_out) == ["paper"]
    assert "'own-paper' is not there" in found.left_out["paper"]
    assert list(found.exam.selections) == ["core"]
    assert list(found.exam.posed) == list(found.exam.selections["core"])
    assert tuple(found.rows) == tuple(there.rows)
    row, before = found.rows["complete"], there.rows["complete"]
    assert list(row.scores) == list(row.predicted) == list(found.exam.selections["core"])
    assert len(before.scores) == 4
    assert all(row.scores[name] == before.scores[name] for name in row.scores)
    core = [view for view in there.views if view.selection == "core"]
    assert found.views == core


def test_a_selection_that_is_not_asked_is_left_out(of_two, exam):
    found = assemble(of_two, exam)
    assert list(found.left_out) == ["paper"]
    assert found.exam is exam
    assert "complete" in found.rows


def test_without_the_core_there_is_no_board(of_two):
    shutil.rmtree(zoo_home() / "own-too")
    with pytest.raises(MdbenchError, match="'own-too' is not there"):
        assemble(of_two)


def test_what_was_not_run_changes_nobody_elses_place(entries, exam, board):
    folder = honest(entries, exam, name="Not run", method=SOURCE.format(tasks=TASKS, quantile=0.3, sign=">"))
    append(entries, exam, folder.name, "accepted")
    said = Verdict(outcome="self-reported", reason="not run again: torch is not installed here")
    append(entries, exam, folder.name, "verification", verdict=said)
    found = assemble(entries, exam)
    assert found.views == board.views  # no rank, no letters, no tests
    assert not found.rows[folder.name].ranked
    assert len(found.rows[folder.name].scores) == 3


def test_the_score_is_that_of_the_run_here_the_mean_of_several(entries, exam, board):
    sent = check(entries / "above", exam).predicted
    sheet = sheet_of(exam, tuple(sent))
    other = {name: 1 - said for name, said in sent.items()}
    contents = [sheet.write(one) for one in (sent, other)]
    keep(entries, contents)
    half = dict.fromkeys(sent, 50.0)
    controls = Controls(same=50, permuted=50, moved=50, order=50, constant=50)
    digests = tuple(hashlib.sha256(content).hexdigest() for content in contents)
    run = Run(secret="0" * 32, predictions=digests, scores=half, spread=0.5, as_sent=100, controls=controls)
    append(entries, exam, "above", "verification", verdict=Verdict(outcome="verified", reason="run here", run=run))
    row = assemble(entries, exam).rows["above"]
    assert {name: score.accuracy for name, score in row.scores.items()} == pytest.approx(half)
    assert board.rows["above"].scores != row.scores
    (entries / ".runs" / f"{digests[1]}.parquet").unlink()
    with pytest.raises(MdbenchError, match="bring it back"):
        assemble(entries, exam)
