"""The standings as files for other programs: ``leaderboard.json``, and ``LEADERBOARD.md`` for READMEs."""

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from leaderboard.entry import Dataset
from leaderboard.ranking.board import Board
from leaderboard.ranking.places import Place, View
from leaderboard.ranking.sealed_ranking import SealedBoard
from leaderboard.verifying import Head, Outcome
from mdbench.showing import code, escape, table

STANDINGS: Final = "leaderboard.json"
MARKDOWN: Final = "LEADERBOARD.md"
FORMAT: Final = 2


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(_Strict):
    """How an entry did on one case, in %: above chance with the 95 % interval (null where nobody can be), how often right."""

    above_chance: float | None
    low: float | None
    high: float | None
    accuracy: float
    balanced_accuracy: float


class Listed(_Strict):
    """An entry on the board, and its scores: case → score. `created` is what it says of itself."""

    slug: str
    name: str
    authors: tuple[str, ...]
    paper: str | None
    track: str
    zero_shot: bool
    families: tuple[str, ...]
    method_sha256: str
    created: datetime
    accepted_on: datetime
    verdict: Outcome
    reason: str
    verified_on: datetime
    scores: dict[str, Score]


class Standing(_Strict):
    """The place of an entry in a ranking; as `leaderboard.ranking.Place`, with the ends of its interval."""

    slug: str
    place: int
    above_chance: float
    low: float
    high: float
    average_rank: float
    groups: str
    first_over_rows: float
    first_over_cases: float


class Ranking(_Strict):
    """A ranking over some cases, best first; as `leaderboard.ranking.View`."""

    selection: str
    task: str
    scenario: str
    cases: tuple[str, ...]
    places: tuple[Standing, ...]


class SealedStanding(_Strict):
    """An entry on a sealed zoo, in %: mean above chance with its interval, accuracies; as `SealedPlace`."""

    slug: str
    rank: int
    above_chance: float
    low: float
    high: float
    accuracy: float
    by_task: dict[str, float]
    displaced_by: str | None


class SealedRanking(_Strict):
    """The ranking on one sealed zoo of those whose mean is over the same tasks; as `SealedBoard`."""

    name: str
    tasks: tuple[str, ...]
    places: tuple[SealedStanding, ...]
    asked: int
    by_author: dict[str, int]


class Standings(_Strict):
    """The content of ``leaderboard.json``.

    Attributes
    ----------
    format : of this file.
    as_of : the date that the board shows.
    ledger : the ledger's lines up to then, and the digest of the last one.
    exam_sha256 : digest of the data that all scores are of, see `leaderboard.entry.Exam.digest`.
    dataset : these data.
    entries : those on the board.
    rankings : the headline first.
    sealed : rankings on zoos with hidden labels.
    """

    format: Literal[2] = FORMAT
    as_of: datetime
    ledger: Head
    exam_sha256: str
    dataset: Dataset
    entries: tuple[Listed, ...]
    rankings: tuple[Ranking, ...]
    sealed: tuple[SealedRanking, ...]


def summarised(board: Board) -> Standings:
    """Return the standings of a board: every entry with its scores, every ranking, the sealed ones apart."""
    entries = tuple(
        Listed(
            slug=slug,
            name=row.entry.name,
            authors=row.entry.authors,
            paper=row.entry.paper,
            track=row.entry.method.track,
            zero_shot=row.entry.method.zero_shot,
            families=row.entry.families,
            method_sha256=row.entry.method.sha256,
            created=row.entry.created,
            accepted_on=row.accepted_on,
            verdict=row.verdict.outcome,
            reason=row.verdict.reason,
            verified_on=row.verified_on,
            scores={
                case: Score(
                    above_chance=None if score.score is None else _short(score.score),
                    low=score.interval and _short(score.interval.low),
                    high=score.interval and _short(score.interval.high),
                    accuracy=_short(score.accuracy),
                    balanced_accuracy=_short(score.balanced_accuracy),
                )
                for case, score in row.scores.items()
            },
        )
        for slug, row in board.rows.items()
    )
    rankings = tuple(
        Ranking(
            selection=view.selection,
            task=view.task,
            scenario=view.scenario,
            cases=view.cases,
            places=tuple(_standing(place) for place in view.places),
        )
        for view in board.views
    )
    sealed = tuple(
        SealedRanking(
            name=one.name,
            tasks=one.tasks,
            places=tuple(
                SealedStanding(
                    slug=place.slug,
                    rank=rank,
                    above_chance=_short(place.above_chance),
                    low=_short(place.interval.low),
                    high=_short(place.interval.high),
                    accuracy=_short(place.accuracy),
                    by_task={task: _short(value) for task, value in place.by_task.items()},
                    displaced_by=place.displaced_by,
                )
                for rank, place in zip(one.ranks, one.places, strict=True)
            ),
            asked=one.asked,
            by_author=dict(one.by_author),
        )
        for one in board.sealed
    )
    return Standings(
        as_of=board.as_of,
        ledger=board.head,
        exam_sha256=board.exam.digest,
        dataset=board.exam.dataset,
        entries=entries,
        rankings=rankings,
        sealed=sealed,
    )


def _standing(place: Place) -> Standing:
    return Standing(
        slug=place.slug,
        place=place.place,
        above_chance=_short(place.score),
        low=_short(place.interval.low),
        high=_short(place.interval.high),
        average_rank=_short(place.average_rank),
        groups=place.groups,
        first_over_rows=_short(place.first_over_rows),
        first_over_cases=_short(place.first_over_cases),
    )


def _short(value: float) -> float:
    """Return a number with four decimals: far more than its interval is worth."""
    return round(float(value), 4)


def markdown(board: Board) -> str:
    """Return the rankings on sealed zoos, where there are any, and the headline ranking, as Markdown tables."""
    lines = [f"# The mdbench leaderboard, as of {board.as_of:%Y-%m-%d}", ""]
    for one in board.sealed:
        lines += _sealed_table(one, board)
    if not board.views or not board.views[0].places:
        return "\n".join([*lines, *([] if board.sealed else ["No entries yet.", ""])])
    if board.sealed:
        lines += ["## Public zoos", ""]
    return "\n".join([*lines, *_headline(board.views[0], board)])


def _sealed_table(one: SealedBoard, board: Board) -> list[str]:
    rows = [
        (
            rank,
            code(board.entries[place.slug].name) + (" (superseded)" if place.displaced_by else ""),
            f"{place.above_chance:.1f}",
            f"[{place.interval.low:.1f}, {place.interval.high:.1f}]",
            f"{place.accuracy:.1f}",
        )
        for rank, place in zip(one.ranks, one.places, strict=True)
    ]
    return [
        f"## Sealed zoo {one.name}",
        "",
        f"Tasks: {', '.join(one.tasks)}. Nobody but the maintainers has its labels, which were asked {one.asked} times.",
        "",
        table(("rank", "method", "above chance, %", "95 % interval", "accuracy, %"), rows, "rlrlr"),
        "",
    ]


def _headline(view: View, board: Board) -> list[str]:
    rows = []
    for place in view.places:
        row = board.rows[place.slug]
        track = "not trained" if row.entry.method.zero_shot else row.entry.method.track
        sees = ", ".join(f"**{name}**" if name == "configuration" else name for name in row.entry.families) or "nothing"
        rows.append(
            (
                place.place,
                code(row.entry.name),
                f"{place.score:.1f}",
                f"[{place.interval.low:.1f}, {place.interval.high:.1f}]",
                f"{place.average_rank:.1f}",
                place.groups,
                escape(sees),
                track,
                row.verdict.outcome,
            )
        )
    header = (
        "place",
        "method",
        "above chance, %",
        "95 % interval",
        "average rank",
        "group",
        "sees",
        "track",
        "verdict",
    )
    return [
        f"Selection `{view.selection}`, scenario: {view.scenario}, tasks: {view.task}, {len(view.cases)} cases. 0 is one "
        "verdict said always, 100 every verdict right. Entries that share a letter cannot be told apart.",
        "",
        table(header, rows, "rlrlrllll"),
        "",
    ]
