"""The board: entries in their places, as of a date."""

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from leaderboard.entry import (
    ENTRY,
    PUBLISHED,
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
from leaderboard.ranking.ranking import Tally, rank
from leaderboard.ranking.sealed_ranking import SealedBoard, sealed_rankings
from leaderboard.verifying import LEDGER, Event, Head, Ledger, State, Verdict, read_runs
from mdbench.cases import load_cases
from mdbench.errors import MdbenchError
from mdbench.methods import CORES
from mdbench.scoring import Interval, pose, stats
from mdbench.tables import TASKS

K = TypeVar("K")
V = TypeVar("V")

#: Recorded scores are those of the predictions to so many points: what differs more was not scored on these data.
_EQUAL: Final = 1e-9


@dataclass(frozen=True)
class CaseScore:
    """How an entry did on one case, in %."""

    accuracy: float
    interval: Interval
    balanced_accuracy: float


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
class Place:
    """The place of an entry among those that answer every case of a view.

    Attributes
    ----------
    slug : the entry.
    accuracy : mean over the cases, in %, with its `interval`.
    average_rank : mean over the cases of the rank among these entries; 1 is best, equal accuracies share the mean rank.
    place : 1 + the number of entries whose accuracy is higher; whether more than chance made it so, the groups say.
    groups : letters of the groups of entries that cannot be told apart, parted by spaces; two that share a letter cannot.
    first_over_rows, first_over_cases : share of random halves of the test cells, and of the cases, in which it is first.
    """

    slug: str
    accuracy: float
    interval: Interval
    average_rank: float
    place: int
    groups: str
    first_over_rows: float
    first_over_cases: float


@dataclass(frozen=True)
class View:
    """A ranking over some of the cases.

    Attributes
    ----------
    selection : selection of cases.
    task, scenario : what is looked at; ``all``, and for tasks also ``published``: the three of the paper.
    cases : names of its cases.
    places : best first; entries that do not answer all of them have no place.
    """

    selection: str
    task: str
    scenario: str
    cases: tuple[str, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Board:
    """Everything that the pages show.

    Attributes
    ----------
    as_of : the date that it shows.
    exam : the cases.
    rows : slug → entry, for the entries on the board: accepted, not superseded, removed or rejected.
    views : rankings, the headline (selection core, task published, scenario all) first.
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
    scores = _scores(answers, exam)
    for slug, mine in scores.items():
        _check_scores(slug, mine, states[slug])
    ranked = {slug: answers[slug] for slug in found if _is_ranked(states[slug])}
    return Board(
        as_of or (ledger.events[-1].date if ledger.events else datetime.now(UTC)),
        exam,
        {slug: _row(one, answers[slug], scores[slug], states[slug]) for slug, one in found.items()},
        _views(exam, _tallies(ranked, exam)),
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


# --- Scores and places --------------------------------------------------------------------------------------------------

#: Entry → what it said of each case, in each run.
Answers = Mapping[str, Sequence[Mapping[str, np.ndarray]]]


def _alike(answers: Answers, exam: Exam) -> dict[tuple[str, int, int], list[str]]:
    """Return who answers as many samples of a case in as many runs: case, samples and runs → entries, in the exam's order."""
    found: dict[tuple[str, int, int], list[str]] = {}
    for slug, runs in answers.items():
        for case, said in runs[0].items():
            found.setdefault((case, len(said), len(runs)), []).append(slug)
    order = {case: number for number, case in enumerate(exam.posed)}
    return dict(sorted(found.items(), key=lambda one: (order[one[0][0]], one[0][1:])))


def _tally(case: str, slugs: Sequence[str], answers: Answers, exam: Exam) -> Tally:
    test = exam.posed[case].rows.test
    said = np.stack([[run[case] for run in answers[slug]] for slug in slugs])
    return Tally.of(slugs, said, test.codes, test.cells, test.cell_count, exam.posed[case].test.name)


def _scores(answers: Answers, exam: Exam) -> dict[str, dict[str, CaseScore]]:
    """Score entries, slug → case → score; the numbers are those of `mdbench.scoring.stats.accuracies`."""
    scores: dict[str, dict[str, CaseScore]] = {slug: {} for slug in answers}
    alike = _alike(answers, exam)

    def scored(which: tuple[str, int, int]) -> tuple[Tally, np.ndarray, list[Interval]]:
        case, slugs = which[0], alike[which]
        codes = exam.posed[case].rows.test.codes
        tally = _tally(case, slugs, answers, exam)
        right = np.stack([np.mean([run[case] == codes for run in answers[slug]], axis=0) for slug in slugs])
        recalls = [right[:, :, codes == verdict].mean(axis=(1, 2)) for verdict in stats.counted(codes)]
        return tally, 100 * np.mean(recalls, axis=0), tally.intervals

    for (case, *_), (tally, balanced, intervals) in _in_threads(scored, list(alike)).items():
        numbers = tally.accuracies.tolist(), intervals, balanced.tolist()
        for slug, *score in zip(tally.methods, *numbers, strict=True):
            scores[slug][case] = CaseScore(*score)
    return scores


def _tallies(answers: Answers, exam: Exam) -> dict[str, Tally]:
    """Return how often entries are right, case by case.

    Samples of a case may have been added since an entry was made: such an entry is not among those who are compared, who
    answer the most samples.
    """
    counts: dict[str, dict[str, int]] = {}
    for slug, runs in answers.items():
        for case, said in runs[0].items():
            counts.setdefault(case, {})[slug] = len(said)
    slugs = {
        case: [slug for slug, count in counts[case].items() if count == max(counts[case].values())]
        for case in exam.posed
        if case in counts
    }

    def of(case: str) -> Tally:
        # One run stands for as many as others had.
        several = max(len(answers[slug]) for slug in slugs[case])
        runs = {slug: (list(answers[slug]) * several)[:several] for slug in slugs[case]}
        return _tally(case, slugs[case], runs, exam)

    return _in_threads(of, list(slugs))


def _in_threads(work: Callable[[K], V], over: Sequence[K]) -> dict[K, V]:
    """Do some work over several things, several at a time; NumPy's matrix products, which have threads of their own, wait."""
    with threadpool_limits(1), ThreadPoolExecutor(CORES) as pool:
        return dict(zip(over, pool.map(work, over), strict=True))


def _views(exam: Exam, tallies: Mapping[str, Tally]) -> list[View]:
    """Return rankings over every part of every selection that has cases, the headline first."""
    asked = []
    for selection, names in exam.selections.items():
        cases = [exam.posed[name].rows.case for name in names]
        tasks = [task for task in TASKS if any(case.task == task for case in cases)]
        for task, several in {"published": PUBLISHED, "all": tasks, **{task: (task,) for task in tasks}}.items():
            for scenario in ("all", *dict.fromkeys(case.scenario for case in cases)):
                some = tuple(case.name for case in cases if case.task in several and scenario in ("all", case.scenario))
                if some:
                    asked.append((selection, task, scenario, some))
    different = list(dict.fromkeys(some for *_, some in asked))
    places = _in_threads(lambda some: _places([tallies.get(case) for case in some]), different)
    return [View(selection, task, scenario, some, places[some]) for selection, task, scenario, some in asked]


def _places(cases: Sequence[Tally | None]) -> tuple[Place, ...]:
    """Return the places over some cases, where anybody answers all of them."""
    tallies = [tally for tally in cases if tally]
    if len(tallies) < len(cases) or not set.intersection(*(set(tally.methods) for tally in tallies)):
        return ()
    found = rank(tallies)
    return tuple(
        Place(slug, accuracy, interval, average_rank, place, groups, over_rows, over_cases)
        for slug, accuracy, interval, average_rank, place, groups, over_rows, over_cases in zip(
            found.methods,
            found.accuracies.tolist(),
            found.intervals,
            found.average_ranks.tolist(),
            found.places.tolist(),
            found.groups,
            found.first_over_rows.tolist(),
            found.first_over_cases.tolist(),
            strict=True,
        )
    )
