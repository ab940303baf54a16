"""Lines of the tables of scores: one for every entry and case, tens of thousands on a large board.

Templates take several times as long for them. Whatever somebody wrote is escaped before it comes here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from markupsafe import Markup

from leaderboard.ranking import CaseScore
from leaderboard.site.whisker import Scale
from mdbench.scoring import Interval


@dataclass(frozen=True, slots=True)
class Scored:
    """A score among those of a case.

    Attributes
    ----------
    slug : whose.
    place : 1 + the number of better scores of entries that are ranked; 0 of one that is not.
    score, low, high : above chance with its interval, in %; NaN where nobody can be.
    said : score and interval, as HTML.
    accuracy, balanced : how often it is right, in %.
    """

    slug: str
    place: int
    score: float
    low: float
    high: float
    said: str
    accuracy: float
    balanced: float


def ranked(scores: Iterable[tuple[str, CaseScore]], others: Iterable[tuple[str, CaseScore]] = ()) -> list[Scored]:
    """Rank the scores of a case, best first; equal ones share the better place.

    Parameters
    ----------
    scores : entry → score, of entries that are ranked.
    others : the same of those that are not, which follow without a place.
    """
    found: list[Scored] = []
    for slug, score, low, high, *rest in _plain(scores):
        shared = found and (found[-1].score == score or isnan(score))
        place = found[-1].place if shared else len(found) + 1
        found.append(Scored(slug, place, score, low, high, _said(score, low, high), *rest))
    for slug, score, low, high, *rest in _plain(others):
        found.append(Scored(slug, 0, score, low, high, _said(score, low, high), *rest))
    return found


def _plain(scores: Iterable[tuple[str, CaseScore]]) -> list[tuple[str, float, float, float, float, float]]:
    """Return scores as numbers, best first."""
    plain = []
    for slug, one in scores:
        ends = (one.interval.low, one.interval.high) if one.interval else (nan, nan)
        plain.append((slug, nan if one.score is None else one.score, *ends, one.accuracy, one.balanced_accuracy))
    return sorted(plain, key=lambda one: (isnan(one[1]), -one[1], -one[4]))


def _said(score: float, low: float, high: float) -> str:
    return "–" if isnan(score) else f'<b>{score:.1f}</b> <span class="interval">[{low:.1f}, {high:.1f}]</span>'


def scale_of(scores: Iterable[Scored], marks: Iterable[float] = ()) -> Scale:
    """Return the scale that holds the intervals of some scores, and some marks."""
    intervals = [*(Interval(one.low, one.high) for one in scores), *(Interval(mark, mark) for mark in marks)]
    return Scale.over(one for one in intervals if not isnan(one.low))


def _drawn(scale: Scale, one: Scored, mark: float | None = None) -> str:
    return "" if isnan(one.score) else scale.drawn(one.score, one.low, one.high, mark)


def case_lines(scores: Sequence[Scored], root: str, links: Mapping[str, str], about: Mapping[str, str]) -> Markup:
    """Return the lines of a case's table.

    Parameters
    ----------
    scores : best first.
    root : the way from the page to the site's root.
    links, about : entry → the link to its page, without root and what is in front of it, and the cells behind its score, as
        HTML.
    """
    scale = scale_of(scores)
    return Markup(  # noqa: S704 - see above
        "\n".join(
            f'<tr><td class="right">{one.place or "–"}</td><td class="name"><a href="{root}{links[one.slug]}</td>'
            f'<td class="nowrap">{one.said}</td><td>{_drawn(scale, one)}</td>'
            f'<td class="right">{one.balanced:.1f}</td><td class="right">{one.accuracy:.1f}</td>{about[one.slug]}</tr>'
            for one in scores
        )
    )


def method_lines(
    scores: Mapping[str, Scored], bests: Mapping[str, float], others: Mapping[str, tuple[str, int]]
) -> Markup:
    """Return the lines of a method's table.

    Parameters
    ----------
    scores : case → its score.
    bests : case → the best score of all entries that are ranked, where there are any.
    others : case → the case's cell, as HTML, and how many entries are ranked there.
    """
    scale = scale_of(scores.values(), (bests[case] for case in scores if case in bests))
    return Markup(  # noqa: S704 - see above
        "\n".join(
            f'<tr>{others[case][0]}<td class="nowrap">{one.said}</td>'
            f"<td>{_drawn(scale, one, bests.get(case))}</td>"
            f'<td class="right">{f"{bests[case]:.1f}" if case in bests else "–"}</td>'
            f'<td class="right">{one.balanced:.1f}</td><td class="right">{one.accuracy:.1f}</td>'
            f'<td class="right nowrap">{f"{one.place} of {others[case][1]}" if one.place else "–"}</td></tr>'
            for case, one in scores.items()
        )
    )
