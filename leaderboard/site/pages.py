"""The pages: what each of them says, page after page."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import isnan
from typing import Any, Final

import numpy as np
from markupsafe import escape

import mdbench
from leaderboard.ranking import COMPARED, LEVEL, MARKDOWN, STANDINGS, Board, CaseScore, Place, Row, View
from leaderboard.site.lines import Scored, case_lines, method_lines, ranked, scale_of
from leaderboard.site.mistakes import Figures
from leaderboard.site.template import SIGNS, breakable, case_page, cells, highlighted, render, track_of
from leaderboard.site.whisker import Scale
from leaderboard.site.zoo_card import zoo_card
from mdbench.extras import OPTIONAL
from mdbench.methods import optional_imports
from mdbench.scoring import Posed
from mdbench.tables import COLUMNS, VISIBLE_FAMILIES, Family, Task

#: Lines in a figure of accuracy against budget: as many as there are colours and shapes to tell them apart.
LINES: Final = 8
#: Entries of a sealed ranking that the board leads with.
LEADING: Final = 10
TASK_WORDS: Final = {"published": "the three published tasks", "all": "all tasks"}
ALL_SCENARIOS: Final = "all scenarios"
#: What an entry is given at most → how the board says it, the least first.
SEES: Final = {
    "nothing": "nothing",
    Family.LANDSCAPE.value: "landscape only",
    Family.VALIDATION.value: "validation, too",
    Family.CONFIGURATION.value: "training configuration, too",
}
#: A whole method, for the page on submitting.
EXAMPLE: Final = """\
columns = ["train_error", "mode_connectivity_peak", "log_hessian_trace"]


class MyMethod:
    def fit(self, models, labels, task):
        # models: one row a network; labels: one verdict a row
        self.verdict = labels.mode()[0]

    def predict(self, models):
        return [self.verdict] * len(models)
"""
Page = tuple[str, str]


def most_seen(families: Sequence[str]) -> str:
    """Return the key in `SEES` of what a method is given: the family that diagnosis can do without least."""
    return next((family for family in reversed(SEES) if family in families), "nothing")


class Pages:
    """The pages of a board, in no need of anything but the files beside them.

    Parameters
    ----------
    board : what they show.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.exam = board.exam

    def __iter__(self) -> Iterator[Page]:
        """Yield the name and the text of every page."""
        cards = self._cards()
        yield self._page("index.html", **self._index())
        yield self._page("cases.html", tasks=self._tasks())
        yield self._page("zoos.html", zoos=cards)
        yield self._page("sealed.html", boards=self._sealed)
        yield self._page("history.html", **self._history())
        yield self._page("submit.html", families=list(VISIBLE_FAMILIES), example=highlighted(EXAMPLE))
        for card in cards:
            yield self._page(f"zoos/{card['zoo'].name}.html", "zoo.html", **card)
        for posed in self.exam.posed.values():
            yield self._page(case_page(posed.rows.case.name), "case.html", **self._case(posed))
        for slug in self.board.rows:
            yield self._page(f"methods/{slug}.html", "method.html", **self._method(slug))

    def _page(self, name: str, template: str = "", **said: Any) -> Page:
        text = render(
            template or name,
            root="../" * name.count("/"),
            here=name,
            board=self.board,
            version=mdbench.__version__,
            files=(STANDINGS, MARKDOWN),
            **said,
        )
        return name, text

    # --- The board ----------------------------------------------------------------------------------------------------

    def _index(self) -> dict[str, Any]:
        views = self.board.views
        view = views[0] if views else None
        scale = Scale.over(place.interval for place in view.places) if view else Scale(0, 100)
        placed = {place.slug for place in view.places} if view else set()
        return {
            "view": view,
            "leading": self._leading(),
            "most_leading": LEADING,
            "scale": scale,
            "words": TASK_WORDS,
            "all_scenarios": ALL_SCENARIOS,
            "unplaced": [
                (row, self._answered(row, view)) for slug, row in self.board.rows.items() if slug not in placed
            ]
            if view
            else [],
            "sees_words": SEES,
            "data": self._board_data(),
        }

    @staticmethod
    def _answered(row: Row, view: View) -> int:
        return sum(case in row.scores for case in view.cases)

    def _board_data(self) -> dict[str, Any]:
        slugs = {slug: number for number, slug in enumerate(self.board.rows)}
        cases = {name: number for number, name in enumerate(self.exam.posed)}
        answers = np.zeros((len(slugs), len(cases)), dtype=bool)
        for slug, row in self.board.rows.items():
            answers[slugs[slug], [cases[case] for case in row.scores]] = True
        views: list[dict[str, Any]] = []
        pairs: dict[tuple[str, ...], list[float]] = {}
        for view in self.board.views:
            upper = view.alone[np.triu_indices(len(view.alone), 1)]
            pairs.setdefault(view.cases, [float(f"{p:.4g}") for p in upper])
            asked = [cases[case] for case in view.cases]
            answered = answers[:, asked].sum(axis=1)
            placed = {place.slug for place in view.places}
            views.append(
                {
                    "selection": view.selection,
                    "task": view.task,
                    "scenario": view.scenario,
                    "cases": asked,
                    "rows": sum(len(self.exam.posed[case].rows.test) for case in view.cases),
                    "places": [
                        [
                            slugs[place.slug],
                            place.place,
                            *map(float, (place.score, place.interval.low, place.interval.high, place.average_rank)),
                            place.groups,
                            *(100 * float(v) for v in (place.first_over_rows, place.first_over_cases)),
                        ]
                        for place in view.places
                    ],
                    "pairs": list(pairs).index(view.cases),
                    "unplaced": [[slugs[slug], int(answered[slugs[slug]])] for slug in slugs if slug not in placed],
                }
            )
        return {
            "entries": [self._entry_data(row) for row in self.board.rows.values()],
            "cases": [[name, case_page(name)] for name in cases],
            "views": views,
            "pairs": list(pairs.values()),
            "compared": COMPARED,
            "level": LEVEL,
            "words": {**TASK_WORDS, "all_scenarios": ALL_SCENARIOS},
        }

    @staticmethod
    def _entry_data(row: Row) -> dict[str, Any]:
        entry = row.entry
        return {
            "slug": entry.slug,
            "name": entry.name,
            "authors": ", ".join(entry.authors),
            "families": list(entry.families),
            "sees": most_seen(entry.families),
            "track": track_of(row),
            "ranked": row.ranked,
            "flags": "; ".join(row.flags),
            "verdict": row.verdict.outcome,
            "sign": SIGNS[row.verdict.outcome],
            "reason": row.verdict.reason,
            "date": f"{row.accepted_on:%Y-%m-%d}",
        }

    # --- Cases --------------------------------------------------------------------------------------------------------

    @cached_property
    def _in_case(self) -> dict[str, list[Scored]]:
        """Case → its scores, best first."""
        return {
            case: ranked(self._of_case(case, in_rank=True), self._of_case(case, in_rank=False))
            for case in self.exam.posed
        }

    def _of_case(self, case: str, *, in_rank: bool) -> list[tuple[str, CaseScore]]:
        return [
            (slug, row.scores[case])
            for slug, row in self.board.rows.items()
            if case in row.scores and row.ranked == in_rank
        ]

    @cached_property
    def _links(self) -> dict[str, str]:
        """Entry → the link to its page, from the root on, without what is in front of its address."""
        return {
            slug: f'methods/{escape(slug)}.html">{breakable(row.entry.name)}</a>'
            for slug, row in self.board.rows.items()
        }

    @cached_property
    def _about(self) -> dict[str, str]:
        """Entry → the cells behind its score."""
        return {slug: cells(row) for slug, row in self.board.rows.items()}

    @cached_property
    def _by_sweep(self) -> dict[str, list[Posed]]:
        sweeps: dict[str, list[Posed]] = {}
        for posed in self.exam.posed.values():
            sweeps.setdefault(posed.rows.case.sweep, []).append(posed)
        return {name: sorted(several, key=lambda one: one.rows.case.budget) for name, several in sweeps.items()}

    def _tasks(self) -> dict[Task, list[dict[str, Any]]]:
        """Return the cases of every task."""
        found: dict[Task, list[dict[str, Any]]] = {}
        for name, posed in self.exam.posed.items():
            found.setdefault(posed.rows.task, []).append(
                {
                    "case": posed.rows.case,
                    "rows": len(posed.rows.test),
                    "selections": [selection for selection, cases in self.exam.selections.items() if name in cases],
                    "best": [one for one in self._in_case[name][:1] if one.place],
                }
            )
        return found

    def _case(self, posed: Posed) -> dict[str, Any]:
        rows, case = posed.rows, posed.rows.case
        scores = self._in_case[case.name]
        counts = np.bincount(rows.test.codes, minlength=len(rows.task.classes))
        return {
            "case": case,
            "task": rows.task,
            "zoos": {"train": posed.train, "test": posed.test},
            "trained_on": [len(sample) for sample in rows.samples],
            "test_rows": len(rows.test),
            "test_cells": len(np.unique(rows.test.cells)),
            "labels": [
                (verdict, 100 * count / len(rows.test))
                for verdict, count in zip(rows.task.classes, counts, strict=True)
            ],
            "scores": scores,
            "scale": scale_of(scores),
            "lines": case_lines(scores, "../" * case_page(case.name).count("/"), self._links, self._about),
            "siblings": [one.rows.case for one in self._by_sweep[case.sweep]],
            "budget": self._budget(self._by_sweep[case.sweep]),
        }

    def _budget(self, sweep: Sequence[Posed]) -> dict[str, Any] | None:
        """Return scores against budget of the entries that are best on average; None where there is one budget."""
        names = [posed.rows.case.name for posed in sweep]
        complete = [row for row in self.board.rows.values() if row.ranked and all(name in row.scores for name in names)]
        complete = [row for row in complete if all(row.scores[name].interval for name in names)]
        if len(sweep) < 2 or not complete:
            return None
        complete.sort(key=lambda row: -sum(row.scores[name].score or 0 for name in names))
        case = sweep[0].rows.case
        limited = case.sample == "limit"
        knob = case.knobs[0]
        x = [posed.rows.case.budget if limited else np.mean([len(s) for s in posed.rows.samples]) for posed in sweep]
        unit = COLUMNS[knob].unit
        points = [
            {
                "method": row.entry.name,
                "x": float(at),
                **{key: round(float(value), 2) for key, value in _ends(row.scores[name]).items()},
            }
            for row in complete[:LINES]
            for at, name in zip(x, names, strict=True)
        ]
        label = (
            f"{knob.replace('_', ' ')} at most{'' if unit == '1' else f', {unit}'}"
            if limited
            else "training configurations"
        )
        return {"label": label, "log": bool(max(x) > 20 * min(x)), "points": points, "of": len(complete)}

    # --- Methods ------------------------------------------------------------------------------------------------------

    @cached_property
    def _places(self) -> list[tuple[View, dict[str, Place]]]:
        """Of each selection and task the view that comes first, over all scenarios or the one it leads with; its places."""
        first: dict[tuple[str, str], View] = {}
        for view in self.board.views:
            first.setdefault((view.selection, view.task), view)
        return [(view, {place.slug: place for place in view.places}) for view in first.values()]

    @cached_property
    def _figures(self) -> Figures:
        return Figures(self.exam.posed, {slug: row.predicted for slug, row in self.board.rows.items()})

    @cached_property
    def _by_entry(self) -> dict[str, dict[str, Scored]]:
        """Entry → case → its score."""
        found: dict[str, dict[str, Scored]] = {slug: {} for slug in self.board.rows}
        for case, scores in self._in_case.items():
            for one in scores:
                found[one.slug][case] = one
        return found

    @cached_property
    def _bests(self) -> dict[str, float]:
        return {
            case: scores[0].score
            for case, scores in self._in_case.items()
            if scores and scores[0].place and not isnan(scores[0].score)
        }

    @cached_property
    def _others(self) -> dict[str, tuple[str, int]]:
        """Case → its cell on the page of a method, and how many answer it."""
        return {
            case: (
                f'<td class="code"><a href="../{case_page(case)}">{breakable(case)}</a></td>',
                sum(one.place > 0 for one in scores),
            )
            for case, scores in self._in_case.items()
        }

    def _method(self, slug: str) -> dict[str, Any]:
        row = self.board.rows[slug]
        scores = self._by_entry[slug]
        return {
            "row": row,
            "history": [event for event in self.board.events if slug in (event.entry, event.restores)],
            "standings": [(view, places[slug], len(places)) for view, places in self._places if slug in places],
            "against": self.board.views[0].against(slug) if self.board.views else [],
            "words": TASK_WORDS,
            "lines": method_lines(scores, self._bests, self._others),
            "unanswered": len(self.exam.posed) - len(scores),
            "scale": scale_of(scores.values(), (self._bests[case] for case in scores if case in self._bests)),
            "source": highlighted(row.source),
            "figures": self._figures.of(slug),
            "extras": ["leaderboard", *(OPTIONAL[package] for package in optional_imports(row.source))],
        }

    # --- Zoos ---------------------------------------------------------------------------------------------------------

    def _cards(self) -> list[dict[str, Any]]:
        zoos = {zoo.name: zoo for posed in self.exam.posed.values() for zoo in posed.zoos}
        return [zoo_card(zoo, (posed.rows.case for posed in self.exam.posed.values())) for zoo in zoos.values()]

    # --- What happened ------------------------------------------------------------------------------------------------

    @cached_property
    def _sealed(self) -> list[dict[str, Any]]:
        return [
            {
                "board": one,
                "places": list(zip(one.ranks, one.places, strict=True)),
                "tasks": list(dict.fromkeys(task for place in one.places for task in place.by_task)),
                "scale": Scale.over(place.interval for place in one.places),
            }
            for one in self.board.sealed
        ]

    def _leading(self) -> list[dict[str, Any]]:
        """Return the first ranking on each sealed zoo: that over the most tasks."""
        return list({one["board"].name: one for one in reversed(self._sealed)}.values())[::-1]

    def _history(self) -> dict[str, Any]:
        last = {
            event.entry: event
            for event in self.board.events
            if event.kind in ("superseded", "removed") or (event.verdict and event.verdict.outcome == "rejected")
        }
        gone = [event for slug, event in last.items() if slug not in self.board.rows]
        return {"events": self.board.events[::-1], "gone": gone[::-1]}


def _ends(score: CaseScore) -> Mapping[str, float]:
    return (
        {"y": score.score, "low": score.interval.low, "high": score.interval.high}
        if score.score is not None and score.interval
        else {}
    )
