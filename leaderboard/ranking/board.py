"""The board: entries in their places, as of a date."""

import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from leaderboard.entry import (
    ENTRY,
    REQUIRED,
    SELECTIONS,
    Checked,
    Entry,
    Exam,
    Refused,
    check,
    read_entry,
    sheet_of,
)
from leaderboard.ranking.places import CaseScore, View, scores_of, tallies_of, views_of
from leaderboard.ranking.sealed_ranking import SealedBoard, sealed_rankings
from leaderboard.verifying import LEDGER, Event, Head, Ledger, State, Verdict, read_runs
from mdbench.cases import load_cases
from mdbench.errors import MdbenchError
from mdbench.methods import CORES
from mdbench.scoring import pose

#: Recorded scores are those of the predictions to so many points: what differs more was not scored on these data.
_EQUAL: Final = 1e-9


@dataclass(frozen=True)
class Row:
    """An entry on the board.

    Attributes
    ----------
    entry : what it says of itself.
    verdict : what became of verifying it last, and when (`verified_on`).
    ranked : whether its method was run here. Others have scores of what was sent, and no place.
    scores : case → score, for the cases that it answers: of the run here, or of what was sent.
    predicted : case → places in the task's classes, int8, shape (seeds, test rows), test rows in the zoo's order; of the
        first run, where there were several.
    source : text of the method's file.
    requirements : text of its requirements; None where it has none.
    history : events of the ledger about it, oldest first.
    """

    entry: Entry
    verdict: Verdict
    verified_on: datetime
    ranked: bool
    scores: Mapping[str, CaseScore]
    predicted: Mapping[str, np.ndarray]
    source: str
    requirements: str | None
    history: Sequence[Event]

    @property
    def flags(self) -> tuple[str, ...]:
        """What the method did on changed questions that honest ones do not, see `leaderboard.verifying.run.Controls`."""
        run = self.verdict.run
        return run.controls.found(trained=not self.entry.method.zero_shot) if run else ()

    @property
    def accepted_on(self) -> datetime:
        """When it came on the board, which is for the board to say."""
        return next(event.date for event in self.history if event.kind == "accepted")


@dataclass(frozen=True)
class Board:
    """Everything that the pages show.

    Attributes
    ----------
    as_of : the date that it shows.
    exam : the cases.
    rows : slug → entry, for the entries on the board: accepted, not superseded, removed or rejected.
    views : rankings, the headline first: of the selection core what nobody trained on, where it has such cases,
        and the published tasks.
    sealed : rankings on sealed zoos.
    events : the whole ledger up to the date, oldest first.
    entries : slug → entry of every entry that the ledger speaks of, those no longer on the board included.
    left_out : selection that entries answer and that cannot be shown here → why.
    head : where the ledger ended at the date.
    """

    as_of: datetime
    exam: Exam
    rows: Mapping[str, Row]
    views: Sequence[View]
    sealed: Sequence[SealedBoard]
    events: Sequence[Event]
    entries: Mapping[str, Entry]
    left_out: Mapping[str, str] = field(default_factory=dict)
    head: Head = field(default_factory=Head)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles among millions of things that all stay, again and again on a large board."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@no_collection()
def assemble(entries: Path, exam: Exam | None = None, as_of: datetime | None = None) -> Board:
    """Read a folder of entries and rank those that the ledger has on the board.

    Parameters
    ----------
    entries : the folder. What the ledger does not know of is pending, and not looked at.
    exam : what entries answer. Where it is not given, the selections of those on the board; of these, selections whose zoos
        are not on this machine are left out.
    as_of : the date; without a time zone it is UTC. Where it is not given, the ledger's last: the same folder gives the same
        board.

    Raises
    ------
    MdbenchError
        The ledger is damaged. The files of an entry that it knows are missing, or were changed. Its scores are not those of
        its predictions. The data of the date are not the ones that this mdbench has.
    """
    if not entries.is_dir():
        raise MdbenchError(f"there is no folder {entries}; --entries says where the entries are")
    ledger = Ledger.read(entries / LEDGER)
    if as_of is not None:
        as_of = as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)
        ledger = ledger.until(as_of)
    states = {slug: ledger.state(slug) for slug in sorted({event.entry for event in ledger.events})}
    known = {slug: _entry(entries / slug, state) for slug, state in states.items()}
    listed = {slug: entry for slug, entry in known.items() if states[slug].status == "on board"}
    wanted = [name for name in SELECTIONS if any(name in entry.selections for entry in listed.values())]
    exam, left_out = _posed([REQUIRED, *wanted]) if exam is None else (exam, _missing(wanted, exam))
    found = _checked(
        entries, listed, states, Exam({**dict.fromkeys(left_out, ()), **exam.selections}, exam.posed), as_of
    )
    answers = {slug: _answers(entries, one, states[slug], exam) for slug, one in found.items()}
    scores = scores_of(answers, exam)
    for slug, mine in scores.items():
        _check_scores(slug, mine, states[slug])
    ranked = {slug: answers[slug] for slug in found if _is_ranked(states[slug])}
    return Board(
        as_of or (ledger.events[-1].date if ledger.events else datetime.now(UTC)),
        exam,
        {slug: _row(one, answers[slug], scores[slug], states[slug]) for slug, one in found.items()},
        views_of(exam, tallies_of(ranked, exam)),
        sealed_rankings(ledger, found, known),
        ledger.events,
        known,
        left_out,
        ledger.head,
    )


# --- Entries ------------------------------------------------------------------------------------------------------------


def _entry(folder: Path, state: State) -> Entry:
    """Return an entry that the ledger knows; see `assemble`."""
    slug = folder.name
    try:
        entry = read_entry(folder)
        sha256 = hashlib.sha256((folder / ENTRY).read_bytes()).hexdigest()
    except (Refused, OSError) as error:
        raise MdbenchError(
            f"{slug} is in the ledger, and its folder is not what it was: {error}; bring it back"
        ) from error
    if state.accepted_on and sha256 != state.history[-1].entry_sha256:
        raise MdbenchError(
            f"{slug}: {ENTRY} was changed after it was accepted (SHA-256 is not the ledger's); bring back what was there"
        )
    return entry


def _posed(selections: Iterable[str]) -> tuple[Exam, dict[str, str]]:
    """Return the exam of those selections that can be posed here, and why the others cannot."""
    cases = {name: load_cases(name) for name in dict.fromkeys(selections)}
    posed, failures = pose({case.name: case for some in cases.values() for case in some}.values())
    reasons = {failure.case: failure.reason for failure in failures}
    left_out = {
        name: next(reasons[case.name] for case in some if case.name in reasons)
        for name, some in cases.items()
        if any(case.name in reasons for case in some)
    }
    if REQUIRED in left_out:
        raise MdbenchError(f"the selection {REQUIRED} cannot be posed: {left_out[REQUIRED]}")
    names = {name: tuple(case.name for case in some) for name, some in cases.items() if name not in left_out}
    shown = set().union(*names.values())
    return Exam(names, {one.rows.case.name: one for one in posed if one.rows.case.name in shown}), left_out


def _missing(selections: Iterable[str], exam: Exam) -> dict[str, str]:
    return {name: "it is not asked here" for name in selections if name not in exam.selections}


def _checked(
    entries: Path, listed: Mapping[str, Entry], states: Mapping[str, State], exam: Exam, as_of: datetime | None
) -> dict[str, Checked]:
    """Check entries against the data that the ledger says they were scored on; `exam` has no cases of what is left out."""
    digest = cache(lambda then, selections, tasks: then.digest_of(then.cases(selections, tasks)))

    def checked(slug: str) -> Checked:
        entry, state = listed[slug], states[slug]
        whole = all(exam.selections[name] for name in entry.selections)
        scored = _scored(state)
        answered = exam.as_recorded(entry.dataset)
        if whole and scored.dataset != digest(answered, entry.selections, tuple(entry.columns)):
            then = f"install mdbench {scored.mdbench} to see the board as of {as_of:%Y-%m-%d}" if as_of else ""
            raise MdbenchError(
                f"{slug} was scored by mdbench {scored.mdbench} on other data than there are here; "
                + (then or "run `mdbench leaderboard rescore`, or install that version")
            )
        try:
            anew = any(event.kind == "rescored" for event in state.history)
            return check(entries / slug, answered, rescored=anew or not whole)
        except Refused as refused:
            raise MdbenchError(f"{slug} is on the board, and its files are not what they were: {refused}") from refused

    with ThreadPoolExecutor(CORES) as pool:
        return dict(zip(listed, pool.map(checked, listed), strict=True))


def _scored(state: State) -> Event:
    """Return the event that says on which data an entry was last scored."""
    return [event for event in state.history if event.scores is not None or (event.verdict and event.verdict.run)][-1]


def _is_ranked(state: State) -> bool:
    """Tell whether an entry's method was run here, and what it said then is known.

    Of a verification of old, whose run is not kept, it is known where it was what had been sent.
    """
    return state.verdict is not None and (state.verdict.run is not None or state.verdict.outcome == "verified")


def _answers(entries: Path, found: Checked, state: State, exam: Exam) -> list[Mapping[str, np.ndarray]]:
    """Return what counts of an entry: what its method said in each run here; where it was not run, what was sent."""
    run = state.verdict.run if state.verdict else None
    if run is None:
        return [found.predicted]
    answered = exam.as_recorded(found.entry.dataset)
    return read_runs(entries, run, sheet_of(answered, tuple(found.predicted)), more=True)


def _check_scores(slug: str, scores: Mapping[str, CaseScore], state: State) -> None:
    """Make sure that scores are those that the ledger has of them; of a run, unless the data have changed since."""
    run = state.verdict.run if state.verdict else None
    if run is None:
        recorded = [event.scores for event in state.history if event.scores is not None][-1]
    elif any(event.kind == "rescored" for event in state.history[state.history.index(_verification(state)) :]):
        return
    else:
        recorded = run.scores
    for case, score in scores.items():
        if case not in recorded or abs(recorded[case] - score.accuracy) > _EQUAL:
            raise MdbenchError(
                f"{slug}: {case}: its predictions are right in {score.accuracy:.4f} %, and the ledger says "
                f"{recorded.get(case, 'nothing')}; the predictions, the data or the ledger were changed"
            )


def _verification(state: State) -> Event:
    """Return the last verification of an entry."""
    return [event for event in state.history if event.verdict is not None][-1]


def _row(
    found: Checked, answers: Sequence[Mapping[str, np.ndarray]], scores: Mapping[str, CaseScore], state: State
) -> Row:
    verdict = state.verdict or Verdict(outcome="self-reported", reason="not verified yet")
    date = state.verified_on or state.history[0].date
    source = found.source, found.requirements
    return Row(found.entry, verdict, date, _is_ranked(state), scores, answers[0], *source, state.history)
