"""Which columns decide, on the terminal and as a figure."""

import math

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from rich.markup import escape

from mdbench.scoring import Explanation
from mdbench.showing.plots import COLOURS, STYLE
from mdbench.showing.report import console, plain_table, put


def show_explanation(explanation: Explanation) -> None:
    """Print an explanation: a line a column, the one that matters most first."""
    out = console()
    table = plain_table(title=f"{escape(explanation.method)} on {escape(explanation.case)}")
    table.add_column("column", no_wrap=True)
    table.add_column("lost", justify="right")
    table.add_column("95 % interval", justify="center", no_wrap=True)
    for one in explanation.importances:
        low, high = one.interval.low, one.interval.high
        style = "bold" if low > 0 else "dim"
        table.add_row(
            f"[{style}]{escape(one.column)}[/]", f"[{style}]{one.lost:+.2f}[/]", rf"\[{low:+.2f}, {high:+.2f}]"
        )
    put(out, table)
    out.print(f"\n[dim]{escape(said(explanation))}[/]", soft_wrap=True)


def said(explanation: Explanation) -> str:
    """Return in a sentence what the numbers are."""
    of = explanation
    samples = f"{of.samples} training sample{'s' if of.samples > 1 else ''}"
    return (
        f"balanced accuracy lost, in points of {of.balanced_accuracy:.2f} %, where a column's values are shuffled among the "
        f"test rows: mean of {samples} × {of.shuffles} shuffles; Student's interval over {of.over}"
    )


def importance(explanation: Explanation) -> Figure:
    """Draw an explanation: columns from top to bottom, what is lost without each, with its interval.

    Returns
    -------
    A figure; `mdbench.showing.plots.save` writes and closes it.
    """
    found = explanation.importances[::-1]
    with plt.rc_context(STYLE):
        figure, panel = plt.subplots(figsize=(6.3, 1.25 + 0.24 * len(found)), layout="constrained")
        for place, one in enumerate(found):
            decided = one.interval.low > 0
            colour = COLOURS[2] if decided else COLOURS[7]
            if not math.isnan(one.interval.low):
                panel.plot([one.interval.low, one.interval.high], [place, place], color=colour, linewidth=1.5)
            panel.plot(one.lost, place, "o", color=colour, markersize=5, markerfacecolor=colour if decided else "white")
        panel.axvline(0, color="#999999", linewidth=0.8, zorder=0)
        panel.set_yticks(range(len(found)), [one.column for one in found])
        panel.set_ylim(-0.6, len(found) - 0.4)
        panel.set_xlabel(f"balanced accuracy lost by shuffling, in points (of {explanation.balanced_accuracy:.1f} %)")
        panel.set_title(
            f"{explanation.method} on {explanation.case}\n95 % intervals over {explanation.over}; filled: above 0",
            loc="left",
            fontsize=9,
        )
    return figure
