"""The pages: what each of them says, page after page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

import mdbench
from leaderboard.board import Board, CaseScore, Place, Row, View
from leaderboard.lines import Scored, case_lines, method_lines, ranked, scale_of
from leaderboard.mistakes import ACROSS, DOWN, Mistakes, mistakes
from leaderboard.standings import MARKDOWN, STANDINGS
from leaderboard.whisker import Scale
from mdbench.evaluation import Posed
from mdbench.labels import decided
from mdbench.schema import COLUMNS, VISIBLE_FAMILIES, Family
from mdbench.tasks import NONE, TASKS, Task
from mdbench.zoo import Zoo

#: Lines in a figure of accuracy against budget: as many as there are colours and shapes to tell them apart.
LINES: Final = 8
TASK_WORDS: Final = {"published": "the three published tasks", "all": "all tasks"}
ALL_SCENARIOS: Final = "all scenarios"
#: What an entry is given at most → how the board says it, the least first.
SEES: Final = {
    "nothing": "nothing",
    Family.LANDSCAPE.value: "landscape only",
    Family.VALIDATION.value: "validation, too",
    Family.CONFIGURATION.value: "training configuration, too",
}
_VERDICT_SIGNS: Final = {"verified": "✓", "reproduced within noise": "≈", "self-reported": "○", "rejected": "✕"}
_KINDS: Final = {
    "accepted": "accepted",
    "verification": "checked",
    "rescored": "scored anew",
    "superseded": "superseded",
    "removed": "removed",
    "sealed": "scored on sealed labels",
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
#: Characters that end a script, or a line of one, in texts that stand in a script.
_UNSAFE: Final = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}

Page = tuple[str, str]


def embedded(data: Any) -> Markup:
    """Return data as JSON that can stand within a script element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE))  # noqa: S704 - nothing that ends the element is left


def most_seen(families: Sequence[str]) -> str:
    """Return the key in `SEES` of what a method is given: the family that diagnosis can do without least."""
    return next((family for family in reversed(SEES) if family in families), "nothing")


def track_of(row: Row) -> str:
    """Return an entry's track; methods that are not trained are a kind of their own."""
    return "not trained" if row.entry.method.zero_shot else row.entry.method.track


def case_page(name: str) -> str:
    """Return where the page of a case is."""
    return f"cases/{name}.html"


@cache
def _highlighted(source: str) -> Markup:
    # The formatter escapes what it is given.
    return Markup(highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)))  # noqa: S704


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "embedded": embedded,
        "number": lambda value: f"{value:.1f}",
        "level": lambda value: f"{value:g}",
        "count": lambda value: f"{value:,}",
        "day": lambda date: f"{date:%Y-%m-%d}",
        "short": lambda digest: digest[:12],
        "unit": lambda knob: "" if COLUMNS[knob].unit in ("1", "") else COLUMNS[knob].unit,
        "words": lambda name: name.replace("_", " "),
    }
    environment.globals |= {"signs": _VERDICT_SIGNS, "kinds": _KINDS, "case_page": case_page, "track_of": track_of}
    return environment


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
        yield self._page("index.html", **self._index())
        yield self._page("cases.html", tasks=self._tasks())
        yield self._page("zoos.html", zoos=[self._zoo(zoo) for zoo in self._zoos.values()])
        yield self._page("sealed.html", boards=self._sealed())
        yield self._page("history.html", **self._history())
        yield self._page("submit.html", families=list(VISIBLE_FAMILIES), example=_highlighted(EXAMPLE))
        for zoo in self._zoos.values():
            yield self._page(f"zoos/{zoo.name}.html", "zoo.html", **self._zoo(zoo))
        for posed in self.exam.posed.values():
            yield self._page(case_page(posed.rows.case.name), "case.html", **self._case(posed))
        for slug in self.board.rows:
            yield self._page(f"methods/{slug}.html", "method.html", **self._method(slug))

    def _page(self, name: str, template: str = "", **said: Any) -> Page:
        root = "../" * name.count("/")
        text = (
            _templates()
            .get_template(f"{template or name}.jinja")
            .render(
                root=root,
                here=name,
                board=self.board,
                version=mdbench.__version__,
                files=(STANDINGS, MARKDOWN),
                **said,
            )
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
        views = []
        for view in self.board.views:
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
                            *(round(float(v), 2) for v in (place.accuracy, place.interval.low, place.interval.high)),
                            round(float(place.average_rank), 2),
                            place.groups,
                            *(round(100 * float(v), 1) for v in (place.first_over_rows, place.first_over_cases)),
                        ]
                        for place in view.places
                    ],
                    "unplaced": [[slugs[slug], int(answered[slugs[slug]])] for slug in slugs if slug not in placed],
                }
            )
        return {
            "entries": [self._entry_data(row) for row in self.board.rows.values()],
            "cases": [[name, case_page(name)] for name in cases],
            "views": views,
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
            "verdict": row.verdict.outcome,
            "sign": _VERDICT_SIGNS[row.verdict.outcome],
            "reason": row.verdict.reason,
            "date": f"{entry.created:%Y-%m-%d}",
        }

    # --- Cases --------------------------------------------------------------------------------------------------------

    @cached_property
    def _in_case(self) -> dict[str, list[Scored]]:
        """Case → its scores, best first."""
        return {
            case: ranked((slug, row.scores[case]) for slug, row in self.board.rows.items() if case in row.scores)
            for case in self.exam.posed
        }

    @cache  # noqa: B019 - there is one for a build
    def _names(self, root: str) -> dict[str, str]:
        """Entry → the cell with its name, on a page so far from the root."""
        return {
            slug: f'<td class="name"><a href="{root}methods/{escape(slug)}.html">{escape(row.entry.name)}</a></td>'
            for slug, row in self.board.rows.items()
        }

    @cached_property
    def _about(self) -> dict[str, str]:
        """Entry → the cells behind its score."""
        parts: Any = _templates().get_template("parts.html.jinja").module
        return {slug: parts.about(row) for slug, row in self.board.rows.items()}

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
                    "best": self._in_case[name][:1],
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
            "lines": case_lines(scores, self._names("../" * case_page(case.name).count("/")), self._about),
            "siblings": [one.rows.case for one in self._by_sweep[case.sweep]],
            "budget": self._budget(self._by_sweep[case.sweep]),
        }

    def _budget(self, sweep: Sequence[Posed]) -> dict[str, Any] | None:
        """Return accuracies against budget of the entries that are best on average; None where there is one budget."""
        names = [posed.rows.case.name for posed in sweep]
        complete = [row for row in self.board.rows.values() if all(name in row.scores for name in names)]
        if len(sweep) < 2 or not complete:
            return None
        complete.sort(key=lambda row: -sum(row.scores[name].accuracy for name in names))
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
        """The views over all scenarios, each with its places by entry."""
        return [
            (view, {place.slug: place for place in view.places}) for view in self.board.views if view.scenario == "all"
        ]

    @cached_property
    def _mistakes(self) -> dict[str, tuple[Mistakes, dict[str, int]]]:
        """Case → the mistakes of the entries that answer it, and which of them is whose."""
        found = {}
        for name, posed in self.exam.posed.items():
            slugs = [slug for slug, row in self.board.rows.items() if name in row.predicted]
            if slugs:
                predicted = np.stack([self.board.rows[slug].predicted[name] for slug in slugs])
                found[name] = mistakes(posed, predicted), {slug: number for number, slug in enumerate(slugs)}
        return found

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
        return {case: scores[0].accuracy for case, scores in self._in_case.items() if scores}

    @cached_property
    def _others(self) -> dict[str, tuple[str, int]]:
        """Case → its cell on the page of a method, and how many answer it."""
        return {
            case: (f'<td class="code"><a href="../{case_page(case)}">{escape(case)}</a></td>', len(scores))
            for case, scores in self._in_case.items()
        }

    def _method(self, slug: str) -> dict[str, Any]:
        row = self.board.rows[slug]
        scores = self._by_entry[slug]
        return {
            "row": row,
            "standings": [(view, places[slug], len(places)) for view, places in self._places if slug in places],
            "words": TASK_WORDS,
            "lines": method_lines(scores, self._bests, self._others),
            "unanswered": len(self.exam.posed) - len(scores),
            "scale": scale_of(scores.values(), (self._bests[case] for case in scores)),
            "source": _highlighted(row.source),
            "figures": self._figures(slug),
        }

    @cached_property
    def _grids(self) -> tuple[list[Any], dict[str, int]]:
        """The grids over which mistakes are drawn, each once; case → which of them is its."""
        grids: list[Any] = []
        whose = {}
        for case, (made, _) in self._mistakes.items():
            grid = [list(made.down), list(made.across)]
            if grid not in grids:
                grids.append(grid)
            whose[case] = grids.index(grid)
        return grids, whose

    @cached_property
    def _listed(self) -> dict[str, tuple[list[Any], list[Any], dict[str, int]]]:
        """Case → the counts and the shares of its mistakes as lists, and whose is which."""
        return {
            case: (made.confusion.tolist(), made.shares.tolist(), whose)
            for case, (made, whose) in self._mistakes.items()
        }

    def _figures(self, slug: str) -> dict[str, Any]:
        """Return the mistakes of an entry, case by case."""
        grids, grid = self._grids
        cases = [
            {
                "name": name,
                "task": self.exam.posed[name].rows.case.task,
                "grid": grid[name],
                "confusion": confusions[whose[slug]],
                "shares": shares[whose[slug]],
            }
            for name, (confusions, shares, whose) in self._listed.items()
            if slug in whose
        ]
        tasks = {case["task"] for case in cases}
        return {
            "down": DOWN.replace("_", " "),
            "across": ACROSS.replace("_", " "),
            "grids": grids,
            "classes": {name: [c.replace("_", " ") for c in TASKS[name].classes] for name in TASKS if name in tasks},
            "cases": cases,
        }

    # --- Zoos ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _zoos(self) -> dict[str, Zoo]:
        return {zoo.name: zoo for posed in self.exam.posed.values() for zoo in (posed.train, posed.test)}

    def _zoo(self, zoo: Zoo) -> dict[str, Any]:
        table = zoo.configurations
        shares = []
        for task in TASKS.values():
            if task.name in table:
                labels = table[task.name].dropna()
                counts = labels.value_counts()
                known = labels.index[(labels != NONE).to_numpy()]
                sure = decided(table, task)[known]
                shares.append(
                    {
                        "task": task,
                        "rows": len(known),
                        "none": int(counts.get(NONE, 0)),
                        "shares": [
                            (verdict, 100 * counts.get(verdict, 0) / max(len(known), 1)) for verdict in task.classes
                        ],
                        "decided": 100 * float(sure.mean())
                        if f"{task.name}_margin_se" in table and len(known)
                        else None,
                    }
                )
        return {
            "zoo": zoo,
            "levels": {knob: zoo.levels(knob) for knob in zoo.knobs},
            "networks": None if zoo.checkpoints is None else len(zoo.checkpoints),
            "errors": (float(table["test_error"].min()), float(table["test_error"].max())),
            "shares": shares,
            "columns": _column_counts(zoo),
            "cases": [p.rows.case for p in self.exam.posed.values() if zoo.name in (p.train.name, p.test.name)],
            "figure": _phase(zoo),
        }

    # --- What happened ------------------------------------------------------------------------------------------------

    def _sealed(self) -> list[dict[str, Any]]:
        return [
            {
                "name": one.name,
                "places": [(1 + sum(o.accuracy > p.accuracy for o in one.places), p) for p in one.places],
                "tasks": list(dict.fromkeys(task for place in one.places for task in place.by_task)),
                "scale": Scale.over(place.interval for place in one.places),
            }
            for one in self.board.sealed
        ]

    def _history(self) -> dict[str, Any]:
        last: dict[str, Any] = {
            event.entry: event for event in self.board.events if event.kind in ("superseded", "removed")
        }
        gone = [event for slug, event in last.items() if slug not in self.board.rows]
        return {"events": self.board.events[::-1], "gone": gone[::-1]}


def _ends(score: CaseScore) -> Mapping[str, float]:
    return {"y": score.accuracy, "low": score.interval.low, "high": score.interval.high}


def _column_counts(zoo: Zoo) -> dict[str, int]:
    """Return how many columns of each family that methods see a zoo has."""
    families = [COLUMNS[str(column)].family for column in zoo.configurations]
    return {family: families.count(Family(family)) for family in SEES if family != "nothing"}


def _phase(zoo: Zoo) -> dict[str, Any] | None:
    """Return what a phase plot over `DOWN` and `ACROSS` is drawn from; None where a zoo has no such grid."""
    if DOWN not in zoo.knobs or ACROSS not in zoo.knobs:
        return None
    table = zoo.configurations
    tasks = [task for task in TASKS if task in table]
    classes = list(dict.fromkeys([c for task in tasks for c in TASKS[task].classes] + [NONE]))
    return {
        "down": DOWN,
        "across": ACROSS,
        "knobs": [[knob, COLUMNS[knob].unit, zoo.levels(knob)] for knob in zoo.knobs],
        "points": table[zoo.knobs].to_numpy().tolist(),
        "tasks": tasks,
        "classes": classes,
        "labels": [[classes.index(v) if v in classes else -1 for v in table[task]] for task in tasks],
        "errors": [None if np.isnan(v) else round(float(v), 1) for v in table["test_error"]],
    }
