"""Scores of entries, and their places in every view of an exam."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from leaderboard.entry import PUBLISHED, Exam
from leaderboard.ranking.ranking import Ranking, Tally, rank
from mdbench.cases import UNSEEN
from mdbench.methods import CORES
from mdbench.scoring import Interval, stats
from mdbench.tables import TASKS

K = TypeVar("K")
V = TypeVar("V")

#: Places of a view whose pairs are kept: as many as readers compare.
COMPARED: Final = 60
#: Entry → what it said of each case, in each run.
Answers = Mapping[str, Sequence[Mapping[str, np.ndarray]]]


@dataclass(frozen=True)
class CaseScore:
    """How an entry did on one case, in %.

    Attributes
    ----------
    score : what it has above chance, with its `interval`; None where all rows but a few have one verdict.
    accuracy, balanced_accuracy : how often it is right, and the mean of how often over the verdicts that are not rare.
    """

    score: float | None
    interval: Interval | None
    accuracy: float
    balanced_accuracy: float


@dataclass(frozen=True)
class Place:
    """The place of an entry among those that answer every case of a view.

    Attributes
    ----------
    slug : the entry.
    score : mean of what it has above chance, in %, with its `interval`; see `leaderboard.ranking.ranking`.
    average_rank : mean over the cases of the rank among these entries; 1 is best, equal scores share the mean rank.
    place : 1 + the number of entries whose score is higher; whether more than chance made it so, the groups say.
    groups : letters of the groups of entries that cannot be told apart, parted by spaces; two that share a letter cannot.
    first_over_rows, first_over_cases : share of random halves of the test cells, and of the cases, in which it is first.
    """

    slug: str
    score: float
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
    alone : p of "no difference" for each pair of the first places, `COMPARED` at most, which says nothing of others; shape
        (places, places).
    ranking : what the places follow from, pair by pair; of the headline alone.
    """

    selection: str
    task: str
    scenario: str
    cases: tuple[str, ...]
    places: tuple[Place, ...]
    alone: np.ndarray = field(default_factory=lambda: np.ones((0, 0)), compare=False, repr=False)
    ranking: Ranking | None = field(default=None, compare=False, repr=False)

    def against(self, slug: str) -> list[tuple[str, float, float]]:
        """Return the others, best first, with p of "no difference": of the two alone, and corrected for all pairs.

        The groups follow from the latter. There is nothing where pairs are not known.
        """
        found = self.ranking
        if found is None or slug not in found.methods:
            return []
        own = found.methods.index(slug)
        every = zip(found.methods, found.alone[own].tolist(), found.p[own].tolist(), strict=True)
        return [one for one in every if one[0] != slug]


def _alike(answers: Answers, exam: Exam) -> dict[tuple[str, int, int], list[str]]:
    """Return who answers as many samples of a case in as many runs: case, samples and runs → entries, in the exam's order."""
    found: dict[tuple[str, int, int], list[str]] = {}
    for slug, runs in answers.items():
        for case, said in runs[0].items():
            found.setdefault((case, len(said), len(runs)), []).append(slug)
    order = {case: number for number, case in enumerate(exam.posed)}
    return dict(sorted(found.items(), key=lambda one: (order[one[0][0]], one[0][1:])))


def _tally(case: str, slugs: Sequence[str], answers: Answers, exam: Exam) -> Tally | None:
    posed = exam.posed[case]
    test = posed.rows.test
    return Tally.of(
        slugs,
        np.stack([[run[case] for run in answers[slug]] for slug in slugs]),
        test.codes,
        test.cells,
        test.cell_count,
        posed.test.name,
        several=posed.rows.several,
        unseen=posed.rows.case.scenario == UNSEEN,
    )


def scores_of(answers: Answers, exam: Exam) -> dict[str, dict[str, CaseScore]]:
    """Score entries, slug → case → score; the numbers are those of `mdbench.evaluate`."""
    scores: dict[str, dict[str, CaseScore]] = {slug: {} for slug in answers}
    alike = _alike(answers, exam)

    def scored(which: tuple[str, int, int]) -> list[CaseScore]:
        case, slugs = which[0], alike[which]
        codes = exam.posed[case].rows.test.codes
        tally = _tally(case, slugs, answers, exam)
        right = np.stack([np.mean([run[case] == codes for run in answers[slug]], axis=0) for slug in slugs])
        above = (tally.means.values.tolist(), tally.means.intervals(high=100)) if tally else ([None] * len(slugs),) * 2
        plain, balanced = 100 * right.mean(axis=(1, 2)), 100 * stats.recalls(right, codes).mean(axis=1)
        return [CaseScore(*one) for one in zip(*above, plain.tolist(), balanced.tolist(), strict=True)]

    for which, found in _in_threads(scored, list(alike)).items():
        for slug, score in zip(alike[which], found, strict=True):
            scores[slug][which[0]] = score
    return scores


def tallies_of(answers: Answers, exam: Exam) -> dict[str, Tally | None]:
    """Return how often entries are right, case by case; None where nobody can be above chance.

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

    def of(case: str) -> Tally | None:
        # One run stands for as many as others had.
        several = max(len(answers[slug]) for slug in slugs[case])
        runs = {slug: (list(answers[slug]) * several)[:several] for slug in slugs[case]}
        return _tally(case, slugs[case], runs, exam)

    return _in_threads(of, list(slugs))


def _in_threads(work: Callable[[K], V], over: Sequence[K]) -> dict[K, V]:
    """Do some work over several things, several at a time; NumPy's matrix products, which have threads of their own, wait."""
    with threadpool_limits(1), ThreadPoolExecutor(CORES) as pool:
        return dict(zip(over, pool.map(work, over), strict=True))


def views_of(exam: Exam, tallies: Mapping[str, Tally | None]) -> list[View]:
    """Return rankings over every part of every selection that has cases, the headline first."""
    asked = []
    for selection, names in exam.selections.items():
        cases = [exam.posed[name].rows.case for name in names]
        tasks = [task for task in TASKS if any(case.task == task for case in cases)]
        scenarios = dict.fromkeys(case.scenario for case in cases)
        for task, several in {"published": PUBLISHED, "all": tasks, **{task: (task,) for task in tasks}}.items():
            # A mean over zoos and over samples of one is neither; where nobody trained on them, that is asked first.
            for scenario in scenarios if UNSEEN in scenarios else ("all", *scenarios):
                some = tuple(case.name for case in cases if case.task in several and scenario in ("all", case.scenario))
                if some:
                    asked.append((selection, task, scenario, some))
    different = list(dict.fromkeys(some for *_, some in asked))
    headline = different[0] if different else ()

    def ranked(some: tuple[str, ...]) -> tuple[tuple[Place, ...], np.ndarray, Ranking | None]:
        found = _ranking([tallies[case] for case in some] if set(some) <= set(tallies) else [])
        if not found:
            return (), np.ones((0, 0)), None
        return _places(found), found.alone[:COMPARED, :COMPARED].copy(), found if some == headline else None

    places = _in_threads(ranked, different)
    return [View(selection, task, scenario, some, *places[some]) for selection, task, scenario, some in asked]


def _ranking(cases: Sequence[Tally | None]) -> Ranking | None:
    """Rank over some cases, where anybody answers all of them that can tell methods apart."""
    tallies = [tally for tally in cases if tally]
    if not tallies or not set.intersection(*(set(tally.methods) for tally in tallies)):
        return None
    return rank(tallies)


def _places(found: Ranking) -> tuple[Place, ...]:
    """Return the places of a ranking."""
    return tuple(
        Place(slug, score, interval, average_rank, place, groups, over_rows, over_cases)
        for slug, score, interval, average_rank, place, groups, over_rows, over_cases in zip(
            found.methods,
            found.scores.tolist(),
            found.intervals,
            found.average_ranks.tolist(),
            found.places.tolist(),
            found.groups,
            found.first_over_rows.tolist(),
            found.first_over_cases.tolist(),
            strict=True,
        )
    )
