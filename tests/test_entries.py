"""The entries of the board: what the continuous integration of a pull request runs."""

import shutil
from pathlib import Path

import pytest

from leaderboard.entry.checks import check, check_names, read_entries
from leaderboard.verifying.ledger import LEDGER, Ledger
from leaderboard.verifying.maintenance import verified
from leaderboard.verifying.verification import Exams, Verified, scored

ENTRIES = Path(__file__).resolve().parent.parent / "leaderboard" / "entries"
FOLDERS = sorted(path for path in ENTRIES.iterdir() if path.name != LEDGER)


@pytest.fixture(scope="module")
def ledger():
    return Ledger.read(ENTRIES / LEDGER)


@pytest.fixture(scope="module")
def exams():
    return Exams()


def test_there_are_entries_and_no_two_are_alike():
    known = read_entries(ENTRIES)
    assert set(known) == {folder.name for folder in FOLDERS}
    check_names(known)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_entry_is_what_the_ledger_says(folder, ledger, exams):
    state = ledger.state(folder.name)
    history = state.history
    entry = read_entries(ENTRIES)[folder.name]
    if "paper" in entry.selections:
        pytest.skip("the published tables are no part of this package")
    exam = exams.of_entry(entry, state)
    checked = check(folder, exam, rescored=any(event.kind == "rescored" for event in history))
    said = [event.scores for event in history if event.scores is not None]
    if said:
        assert {event.entry_sha256 for event in history} == {checked.entry_sha256}
        assert said[-1] == scored(checked.predicted, exam)


def test_the_ledger_speaks_of_nothing_that_is_not_there(ledger):
    assert {event.entry for event in ledger.events} <= {folder.name for folder in FOLDERS}


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not here: nothing was run again")
def test_what_was_handed_in_is_what_its_method_says(ledger):
    # Entries that are on the board were run again when they came there; new ones are now, and one of the others.
    new = [folder for folder in FOLDERS if ledger.state(folder.name).status == "pending"]
    for one in verified([*new, ENTRIES / "majority"], ledger, rerun=True, workers=2, timeout=600, sandbox=True):
        assert isinstance(one, Verified), one
        assert one.verdict.outcome != "rejected", (one.slug, one.verdict.reason)
