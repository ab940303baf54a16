"""Figures: accuracy against budget, and phase plots of a zoo."""

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import matplotlib as mpl

if "ipykernel" not in sys.modules:  # a notebook shows figures in a way of its own
    mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mdbench.errors import MdbenchError, nearest
from mdbench.scoring import CaseRecord, Difference, Result
from mdbench.tables import COLUMNS, NONE, Family, Task, Zoo, kind, level_text, same_level

FORMATS: Final = (".pdf", ".png", ".svg")
#: Okabe and Ito's colours, which people with any common colour vision tell apart; black first, for what matters most.
COLOURS: Final = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C8C8C")
MARKERS: Final = "osD^vPX*"
#: A verdict has one colour, whatever the task.
VERDICT_COLOURS: Final = {
    "temperature_too_low": "#0072B2",
    "temperature_too_high": "#E69F00",
    "optimizer": "#56B4E9",
    "width": "#009E73",
    "data": "#CC79A7",
    "training_too_short": "#F0E442",
    "regularization_too_weak": "#D55E00",
    "regularization_too_strong": "#7A4FA3",
    NONE: "#dddddd",
}
#: What a method is given at most, and its colour.
SEEN_COLOURS: Final = {
    "landscape only": "#0072B2",
    "validation": "#E69F00",
    "training configuration": "#009E73",
    "nothing": "#8C8C8C",
}
#: Baselines that look at numbers in order to draw from them: whatever they are given, it tells them nothing.
DRAWS: Final = frozenset({"random"})
#: Data amounts shown by a phase plot, and levels of one more knob.
PANELS: Final = 3

_AXES: Final = ("width", "batch_size")

#: How all figures look: parameters of Matplotlib.
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "figure.dpi": 150,
    "legend.frameon": False,
    "svg.hashsalt": "mdbench",
}


def check_format(path: Path) -> None:
    """Check that a figure can be written under a name, before any work is done for it.

    Raises
    ------
    MdbenchError
        The ending is not one of `FORMATS`, or the folder is not there.
    """
    if path.suffix not in FORMATS:
        raise MdbenchError(f"{path}: a figure's name ends in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise MdbenchError(f"{path}: there is no folder {path.parent}")


def save(figure: Figure, path: Path) -> None:
    """Write a figure and close it.

    Raises
    ------
    MdbenchError
        The file cannot be written.
    """
    try:
        figure.savefig(path, bbox_inches="tight")
    except OSError as error:
        raise MdbenchError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        plt.close(figure)


def accuracy_against_budget(result: Result) -> Figure:
    """Draw accuracy against training budget, one panel a sweep: the layout of Zhou et al.'s Figures 3 and 6.

    Parameters
    ----------
    result : scores of several budgets; the bands are their 95 % intervals.
    """
    sweeps = [(name, list(records)) for name, records in groupby(result.cases, key=lambda record: record.case.sweep)]
    columns = min(3, len(sweeps))
    lines = -(-len(sweeps) // columns)
    names = [method.name for method in result.methods]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            lines, columns, figsize=(3.9 * columns, 3.1 * lines + 0.5), sharey=True, squeeze=False, layout="constrained"
        )
        for panel, (_, records) in zip(axes.flat, sweeps, strict=False):
            _draw_sweep(panel, records, result, names)
        for panel in axes.flat[len(sweeps) :]:
            panel.axis("off")
        for panel in axes[:, 0]:
            panel.set_ylabel("accuracy, %")
        handles = {
            label: handle
            for panel in axes.flat
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(2 * columns, len(handles)))
    return figure


def _draw_sweep(panel: Axes, records: Sequence[CaseRecord], result: Result, names: Sequence[str]) -> None:
    case = records[0].case
    budgets = [record.case.budget for record in records]
    counted = case.sample != "limit"
    positions = (
        [float(np.mean([split.train_rows for split in record.splits])) for record in records] if counted else budgets
    )
    for number, name in enumerate(names):
        scores = [result.score(name, record.case.name) for record in records]
        known = [(x, score) for x, score in zip(positions, scores, strict=True) if score]
        if known:
            x = [place for place, _ in known]
            colour = COLOURS[number % len(COLOURS)]
            marker = MARKERS[number % len(MARKERS)]
            panel.plot(x, [s.accuracy for _, s in known], color=colour, marker=marker, ms=3.5, lw=1.4, label=name)
            low, high = zip(*((s.accuracy_interval.low, s.accuracy_interval.high) for _, s in known), strict=True)
            panel.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    panel.set_title(f"{case.sweep.partition('/')[0]}\n{case.task}\n{case.scenario}")
    panel.grid(axis="y", color="#dddddd", lw=0.6)
    panel.set_axisbelow(True)
    if counted:
        panel.set_xlabel("training configurations")
    else:
        unit = COLUMNS[case.knobs[0]].unit
        panel.set_xlabel(f"{case.knobs[0].replace('_', ' ')} at most{'' if unit == '1' else f', {unit}'}")
        if max(budgets) > 20 * min(budgets):
            panel.set_xscale("log", base=2)
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def scores_by_panel(
    panels: Mapping[tuple[str, str], Mapping[str, Difference]], sees: Mapping[str, Sequence[str]]
) -> Figure:
    """Draw scores with their intervals: one panel a scenario and task, one line a method.

    Parameters
    ----------
    panels : scenario and task → method → what it has above chance in %, with its interval.
    sees : method → families of columns that it is given, which its colour says.
    """
    scenarios, tasks = (list(dict.fromkeys(key[place] for key in panels)) for place in (0, 1))
    by_kind = {method: _kind(() if method in DRAWS else families) for method, families in sees.items()}
    answered = {method for means in panels.values() for method in means}
    overall = {m: np.mean([means[m].estimate for means in panels.values() if m in means]) for m in answered}
    names = sorted(answered, key=lambda m: (list(SEEN_COLOURS).index(by_kind[m]), -overall[m], m))
    lines = {task: [m for m in names if any(m in panels.get((s, task), {}) for s in scenarios)] for task in tasks}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(tasks),
            len(scenarios),
            figsize=(2.6 * len(scenarios) + 1.9, 0.16 * sum(map(len, lines.values())) + 0.55 * len(tasks) + 0.6),
            height_ratios=[len(lines[task]) + 1 for task in tasks],
            sharex=True,
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        for row, task in zip(axes, tasks, strict=True):
            for panel, scenario in zip(row, scenarios, strict=True):
                _draw_dots(panel, panels.get((scenario, task), {}), lines[task], by_kind)
                panel.set_title(f"{task}\n{scenario}", fontsize=9)
        for panel in axes[-1]:
            panel.set_xlabel("above chance, %")
        kinds = [kind for kind in SEEN_COLOURS if kind in {by_kind[method] for method in names}]
        handles = [Line2D([], [], color=SEEN_COLOURS[kind], marker="o", ms=4, lw=1.4, label=kind) for kind in kinds]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _kind(families: Sequence[str]) -> str:
    """Return the key in `SEEN_COLOURS` of what a method is given: the family that diagnosis can do without least."""
    kinds = dict(
        zip((Family.CONFIGURATION, Family.VALIDATION, Family.LANDSCAPE), list(SEEN_COLOURS)[2::-1], strict=True)
    )
    return next((kind for family, kind in kinds.items() if family in families), list(SEEN_COLOURS)[-1])


def _draw_dots(panel: Axes, means: Mapping[str, Difference], lines: Sequence[str], kinds: Mapping[str, str]) -> None:
    for height, method in enumerate(lines):
        if method in means:
            accuracy, colour = means[method], SEEN_COLOURS[kinds[method]]
            panel.plot([accuracy.interval.low, accuracy.interval.high], [height, height], color=colour, lw=1.4)
            panel.plot(accuracy.estimate, height, color=colour, marker="o", ms=3.5)
    panel.set_yticks(range(len(lines)), labels=[name.replace("$", r"\$") for name in lines], fontsize=7)
    panel.set_ylim(len(lines) - 0.4, -0.6)
    panel.grid(axis="x", color="#dddddd", lw=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)


def levels_at(zoo: Zoo, said: Sequence[str]) -> dict[str, float | str]:
    """Return the levels of knobs that texts ``knob=value`` say.

    Raises
    ------
    MdbenchError
        A text is none of these, or the zoo has no such knob, or the knob no such level; or a knob has two.
    """
    chosen: dict[str, float | str] = {}
    free = [knob for knob in zoo.knobs if knob not in _AXES]
    for text in said:
        knob, _, value = (part.strip() for part in text.partition("="))
        if knob not in free:
            raise MdbenchError(
                f"{text!r} is no knob=value of zoo {zoo.name}; its knobs are {', '.join(free) or 'none'}"
            )
        levels = {level_text(level): level for level in zoo.levels(knob)}
        level = next((levels[one] for one in levels if same_level(value, one)), None)
        if level is None:
            raise MdbenchError(f"zoo {zoo.name} has no {knob}={value}; it has {', '.join(levels)}")
        if chosen.setdefault(knob, level) != level:
            raise MdbenchError(f"{knob} is at one level at a time, not at {level_text(chosen[knob])} and {value}")
    return chosen


def phase(zoo: Zoo, column: str, at: Mapping[str, float | str] | None = None) -> Figure:
    """Draw a column over width × batch size: a panel for each of a few data amounts, a row of them for each level of a knob.

    Parameters
    ----------
    zoo : a zoo with the knobs ``width`` and ``batch_size``.
    column : any column of the zoo but its identifier.
    at : levels of other knobs, which are then shown alone. Of knobs that are not here, the first with several levels has a
        row of panels for each of a few, others are shown at their first level; the title says which.

    Raises
    ------
    MdbenchError
        The zoo has no such column, or no grid to draw it over.
    """
    _check_phase(zoo, column)
    at = dict(at or {})
    others = [knob for knob in zoo.knobs if knob not in (*_AXES, "data_fraction", *at)]
    more = next((knob for knob in others if len(zoo.levels(knob)) > 1), None)
    at |= {knob: zoo.levels(knob)[0] for knob in others if knob != more}
    table = zoo.configurations
    for knob, level in at.items():
        table = table[table[knob] == level]
    across = _some(zoo, "data_fraction" if "data_fraction" in zoo.knobs and "data_fraction" not in at else None)
    down = _some(zoo, more)
    about = COLUMNS[column]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(down),
            len(across),
            figsize=(3.4 * len(across) + 1.2, 2.9 * len(down) + 0.9),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        options, ticks = _colours(table[column], zoo.tasks.get(column))
        drawn = 0
        for row, level in zip(axes, down, strict=True):
            for panel, fraction in zip(row, across, strict=True):
                part = table if fraction is None else table[table["data_fraction"] == fraction]
                part = part if more is None else part[part[more] == level]
                drawn += len(part)
                image = _draw_phase(panel, part, column, options, ticks)
                titles = [] if fraction is None else [f"{fraction:g} % of the data"]
                panel.set_title("\n".join(titles if more is None or level is None else [*titles, _said(more, level)]))
            row[0].set_ylabel("batch size")
        for panel in axes[-1]:
            panel.set_xlabel("width")
        bar = figure.colorbar(image, ax=list(axes.flat), pad=0.02)
        bar.outline.set_visible(False)
        if ticks:
            bar.set_ticks(list(range(len(ticks))), labels=ticks)
        else:
            bar.locator = MaxNLocator(6)
            bar.set_label(about.unit if about.unit != "1" else "")
        fixed = [_said(knob, level) for knob, level in at.items()]
        said = ", ".join([*fixed, f"{drawn:,} of {len(zoo.configurations):,} configurations"])
        figure.suptitle(f"{column} · {zoo.title}\n{said}", x=0.01, ha="left", fontsize=11)
    return figure


def _some(zoo: Zoo, knob: str | None) -> list[Any]:
    """Return some levels of a knob, from the first to the last; without a knob, None alone."""
    levels = zoo.levels(knob) if knob else [None]
    return [levels[round(i)] for i in np.linspace(0, len(levels) - 1, min(PANELS, len(levels)))]


def phases(zoo: Zoo, panels: Sequence[tuple[str, Mapping[str, float | str]]], *, across: int = 4) -> Figure:
    """Draw a page of small phase plots over width × batch size, each with its own colours.

    Parameters
    ----------
    zoo : a zoo with the knobs ``width`` and ``batch_size``.
    panels : a column of the zoo, and the level of every other knob; one small plot each.
    across : how many stand side by side.

    Raises
    ------
    MdbenchError
        There are no panels; the zoo has not such a column, or no grid to draw it over.
    """
    if not panels:
        raise MdbenchError("there is nothing to draw: a page of phase plots has at least one")
    for column, _ in panels:
        _check_phase(zoo, column)
    across = min(across, len(panels))
    lines = -(-len(panels) // across)
    with plt.rc_context({**STYLE, "font.size": 7, "axes.titlesize": 7.5}):
        figure, axes = plt.subplots(
            lines, across, figsize=(2.25 * across, 1.75 * lines + 0.4), squeeze=False, layout="constrained"
        )
        said: dict[str, None] = {}
        levels = [at for _, at in panels]
        differing = [knob for knob in levels[0] if len({at.get(knob) for at in levels}) > 1]
        for place, (panel, (column, at)) in enumerate(zip(axes.flat, panels, strict=False)):
            table = zoo.configurations
            part = table[(table[list(at)] == pd.Series(at, dtype=object)).all(axis=1)]
            options, ticks = _colours(part[column], zoo.tasks.get(column))
            image = _draw_phase(panel, part, column, options, ticks, most=8)
            panel.set_facecolor("#f2f2f2")
            panel.set_title("\n".join([_broken(column), *(_said(knob, at[knob]) for knob in differing)]))
            below = place + across < len(panels)  # what stands at the rim says what all axes are
            panel.set_xlabel("" if below else "width")
            panel.set_ylabel("" if place % across else "batch size")
            if ticks:
                said |= dict.fromkeys(part[column].dropna())
            elif part[column].notna().any():
                bar = figure.colorbar(image, ax=panel, pad=0.02, fraction=0.07, aspect=18)
                bar.outline.set_visible(False)
                bar.locator = MaxNLocator(4)
            else:
                panel.text(0.5, 0.5, "no numbers", transform=panel.transAxes, ha="center", va="center", color="#8c8c8c")
        for panel in axes.flat[len(panels) :]:
            panel.axis("off")
        if said:
            patches = [
                Patch(color=colour, label="no verdict" if name == NONE else name)
                for name, colour in VERDICT_COLOURS.items()
                if name in said
            ]
            figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8)
    return figure


def _broken(column: str) -> str:
    """Return a column's name and unit in lines that fit above a small plot."""
    unit = COLUMNS[column].unit
    named = f"{column}, {unit}" if unit not in ("1", "") else column
    # Names have no spaces to break at: one behind every underscore may become the end of a line.
    return "\n".join(line.replace(" _", "_") for line in wrap(named.replace("_", " _"), 30))


def _said(knob: str, level: float | str) -> str:
    unit = COLUMNS[knob].unit
    return f"{knob.replace('_', ' ')} {level_text(level)}{'' if unit in ('1', '') else f' {unit}'}"


def _check_phase(zoo: Zoo, column: str) -> None:
    if column not in COLUMNS:
        raise MdbenchError(
            f"column {column!r} does not exist; `mdbench columns` lists those that do{nearest(column, COLUMNS)}"
        )
    if column not in zoo.configurations:
        raise MdbenchError(f"zoo {zoo.name} has no column {column!r}; it has {', '.join(zoo.configurations.columns)}")
    if kind(column) == "text" and column not in zoo.tasks:
        raise MdbenchError(f"column {column!r} holds texts: a phase plot draws numbers, or the verdicts of a task")
    for knob in ("width", "batch_size"):
        if knob not in zoo.knobs:
            raise MdbenchError(f"zoo {zoo.name} has no knob {knob!r}; a phase plot is drawn over width × batch_size")


def _draw_phase(
    panel: Axes, part: pd.DataFrame, column: str, options: Mapping[str, Any], ticks: Sequence[str], most: int = 99
) -> AxesImage:
    """Draw a column over the widths and batch sizes of some rows; verdicts as their positions in `ticks`.

    Of more than `most` levels, every second one is named, or every third, and so on.
    """
    values = part[column].map({tick: i for i, tick in enumerate(ticks)}) if ticks else part[column]
    grid = part[["batch_size", "width"]].assign(_value=values.astype(float))
    grid = grid.pivot_table(index="batch_size", columns="width", values="_value", dropna=False)
    image = panel.imshow(grid.to_numpy(), origin="lower", aspect="auto", interpolation="nearest", **options)
    for put, levels, rotation in ((panel.set_xticks, grid.columns, 90), (panel.set_yticks, grid.index, 0)):
        named = range(0, len(levels), -(-len(levels) // most))
        put(named, [f"{levels[at]:g}" for at in named], rotation=rotation)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    return image


def _colours(values: "pd.Series[Any]", task: Task | None) -> tuple[dict[str, Any], list[str]]:
    """Return how to colour values, and, for the verdicts of a task, the texts that the colours stand for."""
    if task is None:
        return {"cmap": "viridis", "vmin": values.min(), "vmax": values.max()}, []
    classes = [*task.classes, NONE]
    norm = BoundaryNorm(np.arange(len(classes) + 1) - 0.5, len(classes))
    return {"cmap": ListedColormap([VERDICT_COLOURS[verdict] for verdict in classes]), "norm": norm}, classes
