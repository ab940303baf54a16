"""The entries of the board: what the continuous integration of a pull request runs."""

import hashlib
import json
import math
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leaderboard.entry.checks import check, check_names, read_entries
from leaderboard.verifying.ledger import LEDGER, Ledger
from leaderboard.verifying.maintenance import verified
from leaderboard.verifying.run import SUSPECT
from leaderboard.verifying.verification import Exams, Verified, scored

ENTRIES = Path(__file__).resolve().parent.parent / "leaderboard" / "entries"
HEAD = "ledger.head"
FOLDERS = sorted(path for path in ENTRIES.iterdir() if path.is_dir() and not path.name.startswith("."))


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
    written = hashlib.sha256((folder / "entry.json").read_bytes()).hexdigest()
    assert {event.entry_sha256 for event in history if event.entry == folder.name} <= {written}
    if history and state.status != "on board":
        pytest.skip("it has left the board, and may have been scored on data of its day")
    exam = exams.of_entry(entry, state)
    checked = check(folder, exam, rescored=any(event.kind == "rescored" for event in history))
    said = [event.scores for event in history if event.scores is not None]
    if said:
        assert {event.entry_sha256 for event in history} == {checked.entry_sha256}
        assert said[-1] == scored(checked.predicted, exam)


def test_the_ledger_speaks_of_nothing_that_is_not_there(ledger):
    assert {event.entry for event in ledger.events} <= {folder.name for folder in FOLDERS}


def test_honest_methods_are_far_from_what_controls_suspect(ledger, exams):
    """Of every verification of a baseline, whenever it was: the thresholds are ten times what any of them lost.

    All but `random`, which draws anew for numbers that moved: it is as far as two draws of every row are.
    """
    verdicts = [
        (event.entry, event.verdict.run.controls) for event in ledger.events if event.verdict and event.verdict.run
    ]
    drawn = [found for entry, found in verdicts if re.fullmatch(r"random(-\d+)?", entry)]
    runs = [found for _, found in verdicts if found not in drawn]
    assert len(runs) >= 18
    assert max(found.same - found.moved for found in runs) <= 0.1
    assert max(found.same - found.order for found in [*runs, *drawn]) <= SUSPECT / 10
    assert max(found.permuted - found.constant for found in [*runs, *drawn]) <= 0
    asked = [len(posed.rows.test) for posed in exams.of(["core"]).posed.values()]
    error = 100 * math.sqrt(sum(2 * 0.25 / rows for rows in asked)) / len(asked)
    assert all(abs(found.same - found.moved) < 3 * error < SUSPECT for found in drawn)


def git(*words):
    """What git says in the repository of the entries; None where it cannot."""
    said = subprocess.run(["git", "-C", ENTRIES, *words], capture_output=True, check=False)
    return said.stdout if said.returncode == 0 else None


def committed():
    """The commits that the ledger here continues: where it left the main branch, or else the commit before."""
    here = git("rev-parse", "HEAD")
    base = next((said for main in ("origin/main", "main") if (said := git("merge-base", "HEAD", main))), here)
    return [said.decode().strip() for said in (base, git("rev-parse", "HEAD~1") if base == here else None) if said]


@pytest.mark.skipif(git("rev-parse", "--is-inside-work-tree") is None, reason="this is no clone: there is no past")
def test_the_ledger_continues_that_of_the_main_branch():
    now = (ENTRIES / LEDGER).read_bytes()
    digests = ["0" * 64, *(hashlib.sha256(line).hexdigest() for line in now.splitlines())]
    head = json.loads((ENTRIES / HEAD).read_text())
    assert (head["number"], head["sha256"]) == (len(digests) - 1, digests[-1])
    for commit in committed():
        past, then = git("show", f"{commit}:./{LEDGER}"), git("show", f"{commit}:./{HEAD}")
        assert now.startswith(past or b""), f"lines of the ledger of {commit} are not in this one: bring it back"
        if then is not None:
            head = json.loads(then)
            assert digests[head["number"]] == head["sha256"]


def test_no_line_of_the_ledger_is_dated_in_the_future():
    dates = [datetime.fromisoformat(json.loads(line)["date"]) for line in (ENTRIES / LEDGER).read_text().splitlines()]
    assert max(dates) <= datetime.now(UTC) + timedelta(minutes=1)


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not here: nothing was run again")
def test_what_was_handed_in_is_what_its_method_says(ledger):
    # Entries that are on the board were run again when they came there; new ones are now, and one of the others.
    new = [folder for folder in FOLDERS if ledger.state(folder.name).status == "pending"]
    again = next(f for f in FOLDERS if f.name.startswith("majority") and ledger.state(f.name).status == "on board")
    for _, one in verified([*new, again], ledger, rerun=True, workers=2, timeout=600, sandbox=True):
        assert isinstance(one, Verified), one
        assert one.verdict.outcome != "rejected", (one.slug, one.verdict.reason)
