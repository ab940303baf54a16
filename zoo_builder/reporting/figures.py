"""The figures of a zoo's data report. What they show is computed in `zoo_builder.reporting.summary`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mdbench.showing import STYLE, VERDICT_COLOURS
from mdbench.tables import NONE

#: Line height, inches.
_LINE: Final = 0.19
_CENTRED: Any = {"ha": "center", "va": "center"}
_DOT, _RANGE = "#0072B2", "#9ecae1"


def balance(found: pd.DataFrame) -> Figure:
    """Draw how often each verdict is the label: one panel a task, one bar for all rows and one a label noise.

    Parameters
    ----------
    found : what `zoo_builder.reporting.label_balance` returned, not empty.
    """
    tasks = list(dict.fromkeys(found["task"]))
    bars = found["label_noise"].drop_duplicates().tolist()
    across = min(2, len(tasks))
    lines = -(-len(tasks) // across)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            lines,
            across,
            figsize=(4.4 * across, lines * (0.75 + 0.3 * len(bars)) + 0.4),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for panel, task in zip(axes.flat, tasks, strict=False):
            own = found[found["task"] == task]
            for at, noise in enumerate(bars):
                _draw_bar(panel, at, own[own["label_noise"].isna() if np.isnan(noise) else own["label_noise"] == noise])
            panel.set_title(task)
            panel.set_yticks(range(len(bars)), ["all" if np.isnan(n) else f"{n:g} % label noise" for n in bars])
            panel.set_ylim(len(bars) - 0.5, -0.5)
            panel.set_xlim(0, 100)
            panel.spines[:].set_visible(False)
            panel.tick_params(length=0)
        for panel in axes.flat[len(tasks) :]:
            panel.axis("off")
        for panel in axes[-1]:
            panel.set_xlabel("% of configurations")
        patches = [
            Patch(color=colour, label="no verdict" if verdict == NONE else verdict)
            for verdict, colour in VERDICT_COLOURS.items()
            if verdict in set(found["verdict"])
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8, handlelength=1)
    return figure


def _draw_bar(panel: Axes, at: int, verdicts: pd.DataFrame) -> None:
    """Draw the verdicts of some rows, one behind the other, and the share of each where there is room for it."""
    whole = verdicts["rows"].sum()
    left = 0.0
    for verdict, count in zip(verdicts["verdict"], verdicts["rows"], strict=True):
        share = 100 * count / whole if whole else 0.0
        panel.barh(at, share, left=left, height=0.74, color=VERDICT_COLOURS[verdict], edgecolor="white", lw=0.8)
        if share >= 6:
            colour = "black" if verdict in (NONE, "temperature_too_high", "optimizer", "data") else "white"
            panel.text(left + share / 2, at, f"{share:.0f}", fontsize=8, color=colour, **_CENTRED)
        left += share


def dots(found: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Draw rank correlations as dots, one line a metric, grouped by family, one panel a thing that is held fixed.

    A line from dot to dot goes from the smallest to the largest level; a metric that gives the test error away has a hollow
    dot.

    Parameters
    ----------
    found : rows of what `zoo_builder.reporting.summary.correlations` returned, family by family, not empty.
    titles : ``data`` or ``width`` → title of the panel.
    """
    heights, headings = _lines(found["family"].tolist())
    bottom = heights[-1] + 0.8
    with plt.rc_context({**STYLE, "font.size": 8}):
        figure, axes = plt.subplots(
            1, len(titles), figsize=(8.6, _LINE * bottom + 0.9), sharey=True, squeeze=False, layout="constrained"
        )
        for panel, (fixed, title) in zip(axes.flat, titles.items(), strict=True):
            for at, (_, row) in zip(heights, found.iterrows(), strict=True):
                if np.isnan(row[f"{fixed}_mean"]):
                    panel.text(
                        0,
                        at,
                        "no number",
                        ha="center",
                        va="center",
                        fontsize=6.5,
                        color="#8c8c8c",
                        backgroundcolor="white",
                    )
                    continue
                panel.plot([row[f"{fixed}_low"], row[f"{fixed}_high"]], [at, at], color=_RANGE, lw=2, zorder=2)
                fill = "white" if row["reveals_label"] else _DOT
                panel.plot(row[f"{fixed}_mean"], at, "o", ms=4.5, mfc=fill, mec=_DOT, mew=1, zorder=3)
            panel.axvline(0, color="#8c8c8c", lw=0.8, zorder=1)
            panel.hlines(heights, -1, 1, color="#eeeeee", lw=0.6, zorder=0)
            panel.set_xlim(-1.03, 1.03)
            panel.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
            panel.set_ylim(bottom, -0.8)
            panel.set_title(title)
            panel.set_xlabel("rank correlation with test error")
            panel.spines[:].set_visible(False)
            panel.tick_params(length=0)
        first = axes[0, 0]
        first.set_yticks([*heights, *headings.values()], [*map(str, found.index), *headings])
        for label in first.get_yticklabels()[len(heights) :]:
            label.set_fontweight("bold")
    return figure


def _lines(families: Sequence[str]) -> tuple[list[float], dict[str, float]]:
    """Return the height of each row, and of each family's heading above its rows, in lines from the top."""
    heights: list[float] = []
    headings: dict[str, float] = {}
    at = 0.0
    for family in families:
        if family not in headings:
            at += 0.4 * bool(headings)
            headings[family] = at
            at += 1
        heights.append(at)
        at += 1
    return heights, headings
