"""The mistakes of methods, on the terminal."""

import os
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mdbench.errors import MdbenchError
from mdbench.scoring import NO_ANSWER, Result, axes_of, by_axes, by_margin, two_axes
from mdbench.showing.report import console, plain_table, put
from mdbench.tables import find_zoo, load_zoo

#: How many of the surest mistakes are shown.
SHOWN: Final = 5


def show_mistakes(result: Result, methods: Sequence[str], zoo: str | os.PathLike[str] | None = None) -> None:
    """Print, for each method and case, the confusion, accuracy over two axes and over margins, and the surest mistakes.

    Parameters
    ----------
    result, methods : whose mistakes, of which methods.
    zoo : name or folder of the zoo whose own cases were asked; None where they were mdbench's.
    """
    predictions, counts, wrong = result.predictions, result.confusion(), result.mistakes()
    for method in methods:
        for record in result.cases:
            case = record.case
            mine = predictions[(predictions["method"] == method) & (predictions["case"] == case.name)]
            if not len(mine):
                continue
            out = console()
            out.print(f"[bold]{escape(method)}[/] on [bold]{escape(case.name)}[/]\n")
            said = counts[
                (counts.index.get_level_values(0) == method) & (counts.index.get_level_values(1) == case.name)
            ]
            shares = (
                said.droplevel([0, 1]).reindex(index=record.classes, columns=[*record.classes, NO_ANSWER]).fillna(0)
            )
            shares = 100 * shares.div(shares.sum(axis=1).clip(lower=1), axis=0)
            shares = shares[[name for name in shares if name != NO_ANSWER or shares[name].any()]]
            _print(out, "what was true ↓, what was said →, in % of each", _framed(shares))
            axes = two_axes(axes_of(mine["row"]))
            if axes:
                _print(out, f"accuracy in % by {axes[0]} ↓ and {axes[1]} →", _framed(by_axes(mine, *axes)))
            margins = _margins(case.test if zoo is None else zoo, case.task, of_case=zoo is None)
            if margins is not None:
                found = by_margin(mine, margins)
                _print(out, "accuracy in % by the label's margin over its standard error", _framed(found))
            surest = wrong[(wrong["method"] == method) & (wrong["case"] == case.name)].head(SHOWN)
            if len(surest):
                _print(
                    out,
                    f"surest mistakes on {case.test}; mdbench zoo show FOLDER --config CONFIGURATION, where it was built",
                    _surest(surest),
                )


def _margins(zoo: str | os.PathLike[str], task: str, *, of_case: bool) -> pd.Series | None:
    """Return margin over standard error of each grid point; None where the zoo is not at hand or has no single networks."""
    try:
        table = load_zoo(find_zoo(zoo, of_case=of_case), layers=False).configurations
    except MdbenchError:
        return None
    error = f"{task}_margin_se"
    return table[f"{task}_margin"] / table[error] if error in table else None


def _framed(values: pd.DataFrame) -> Table:
    table = plain_table()
    table.add_column("", no_wrap=True)
    for name in values.columns:
        table.add_column(escape(_level(name)), justify="right")
    for name, row in zip(values.index, values.to_numpy(float), strict=True):
        table.add_row(escape(_level(name)), *("–" if np.isnan(one) else f"{one:.0f}" for one in row))
    return table


def _level(name: object) -> str:
    return f"{name:g}" if isinstance(name, int | float) else str(name)


def _print(out: Console, title: str, table: Table) -> None:
    out.print(f"[dim]{escape(title)}[/]", soft_wrap=True)  # a table's own title is no wider than the table
    put(out, table)
    out.print()


def _surest(wrong: pd.DataFrame) -> Table:
    table = plain_table()
    for name, justify in (("configuration", "left"), ("true", "left"), ("said", "left")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("wrong, % of seeds", justify="right")
    table.add_column("sure, %", justify="right")
    numbers = wrong[["wrong", "confidence"]].to_numpy(float)
    for texts, (often, sure) in zip(wrong[["row", "true", "said"]].astype(str).to_numpy(), numbers, strict=True):
        table.add_row(*map(escape, texts), f"{often:.0f}", "–" if np.isnan(sure) else f"{sure:.0f}")
    return table
