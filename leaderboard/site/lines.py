"""Lines of the tables of scores: one for every entry and case, tens of thousands on a large board.

Templates take several times as long for them. Whatever somebody wrote is escaped before it comes here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
    accuracy, low, high, balanced : of the score, in %.
    said : accuracy and interval, as HTML.
    """

    slug: str
    place: int
    accuracy: float
    low: float
    high: float
    balanced: float
    said: str


def ranked(scores: Iterable[tuple[str, CaseScore]], others: Iterable[tuple[str, CaseScore]] = ()) -> list[Scored]:
    """Rank the scores of a case, best first; equal accuracies share the better place.

    Parameters
    ----------
    scores : entry → score, of entries that are ranked.
    others : the same of those that are not, which follow without a place.
    """
    found: list[Scored] = []
    for slug, accuracy, low, high, balanced in _plain(scores):
        shared = found and found[-1].accuracy == accuracy
        place = found[-1].place if shared else len(found) + 1
        found.append(Scored(slug, place, accuracy, low, high, balanced, _said(accuracy, low, high)))
    for slug, accuracy, low, high, balanced in _plain(others):
        found.append(Scored(slug, 0, accuracy, low, high, balanced, _said(accuracy, low, high)))
    return found


def _plain(scores: Iterable[tuple[str, CaseScore]]) -> list[tuple[str, float, float, float, float]]:
    """Return scores as numbers, best first."""
    plain = [
        (
            slug,
            float(score.accuracy),
            float(score.interval.low),
            float(score.interval.high),
            float(score.balanced_accuracy),
        )
        for slug, score in scores
    ]
    return sorted(plain, key=lambda one: -one[1])


def _said(accuracy: float, low: float, high: float) -> str:
    return f'<b>{accuracy:.1f}</b> <span class="interval">[{low:.1f}, {high:.1f}]</span>'


def scale_of(scores: Iterable[Scored], marks: Iterable[float] = ()) -> Scale:
    """Return the scale that holds the intervals of some scores, and some marks."""
    return Scale.over([*(Interval(one.low, one.high) for one in scores), *(Interval(mark, mark) for mark in marks)])


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
            f'<td class="nowrap">{one.said}</td><td>{scale.drawn(one.accuracy, one.low, one.high)}</td>'
            f'<td class="right">{one.balanced:.1f}</td>{about[one.slug]}</tr>'
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
    bests : case → the best accuracy of all entries that are ranked, where there are any.
    others : case → the case's cell, as HTML, and how many entries are ranked there.
    """
    scale = scale_of(scores.values(), (bests[case] for case in scores if case in bests))
    return Markup(  # noqa: S704 - see above
        "\n".join(
            f'<tr>{others[case][0]}<td class="nowrap">{one.said}</td>'
            f"<td>{scale.drawn(one.accuracy, one.low, one.high, bests.get(case))}</td>"
            f'<td class="right">{f"{bests[case]:.1f}" if case in bests else "–"}</td>'
            f'<td class="right">{one.balanced:.1f}</td>'
            f'<td class="right nowrap">{f"{one.place} of {others[case][1]}" if one.place else "–"}</td></tr>'
            for case, one in scores.items()
        )
    )
