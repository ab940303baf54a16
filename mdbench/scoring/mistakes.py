"""Where a method goes wrong: which verdicts it confuses, where on the grid, and how sure it was.

All of it is made of predictions, one row a method, case, seed and test row (see `Result.predictions`). The name of a row is
its grid point, ``width=16/batch_size=256``, so that the axes are read from it.
"""

from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

#: What stands in the place of a verdict where a method abstained.
NO_ANSWER: Final = "no answer"
_KEYS: Final = ["method", "case"]
#: Ends of the classes of a label's margin, in standard errors.
MARGINS: Final = (1.0, 2.0, 4.0)


def _said(predictions: pd.DataFrame) -> pd.Series:
    return predictions["predicted"].astype(object).fillna(NO_ANSWER).astype(str)


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return how often each verdict was said where each was true, all seeds together.

    Returns
    -------
    A row for each method, case and true verdict, a column for each verdict said; counts.
    """
    counts = (
        predictions[[*_KEYS, "true"]]
        .astype(str)
        .assign(said=_said(predictions))
        .value_counts(sort=False)
        .unstack("said", fill_value=0)
    )
    return counts.sort_index()


def mistakes(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the networks that a method was wrong about, the surest mistakes first. An abstention is no wrong verdict.

    Returns
    -------
    A row for each method, case and network with a wrong verdict: ``row``, its grid point; ``true``; ``said``, the wrong
    verdict that was given most often; ``wrong``, the share of seeds in which a wrong one was given, in %; ``confidence``,
    the mean probability given to ``said`` whenever that was said, in %, NaN of methods without probabilities.
    """
    said, true = _said(predictions), predictions["true"].astype(str)
    sure = np.full(len(predictions), np.nan)
    for verdict in said.unique():
        if f"p_{verdict}" in predictions:
            sure = np.where(said == verdict, predictions[f"p_{verdict}"].to_numpy(float), sure)
    wrong_ones = (said != true) & (said != NO_ANSWER)
    each = predictions[[*_KEYS, "row"]].astype(str).assign(true=true, said=said, wrong=wrong_ones, sure=100 * sure)
    network = [*_KEYS, "row", "true"]
    shares = 100 * each.groupby(network)["wrong"].mean()
    wrong = each[each["wrong"]]
    often = wrong.groupby(network)["said"].agg(lambda some: some.mode().iloc[0])
    told = wrong.join(often.rename("often"), on=network).query("said == often").groupby(network)["sure"].mean()
    found = pd.DataFrame({"said": often, "wrong": shares, "confidence": told}).dropna(subset="said")
    return found.reset_index().sort_values(["confidence", "wrong"], ascending=False, kind="stable", ignore_index=True)


def by_axes(predictions: pd.DataFrame, rows: str, columns: str) -> pd.DataFrame:
    """Return the accuracy at each level of two axes of the grid, in %, all methods, cases and seeds together.

    Parameters
    ----------
    predictions : of one method and case, or of whatever is to be taken together.
    rows, columns : names of the axes.
    """
    points = axes_of(predictions["row"])
    right = 100 * (_said(predictions) == predictions["true"].astype(str)).to_numpy()
    return points[[rows, columns]].assign(right=right).pivot_table(values="right", index=rows, columns=columns)


def axes_of(rows: pd.Series) -> pd.DataFrame:
    """Return the level of every axis at each grid point, as numbers where they are; a column an axis."""
    names = rows.astype(str)
    known = {name: dict(part.split("=", 1) for part in name.split("/")) for name in names.unique()}
    points = pd.DataFrame([known[name] for name in names])
    for axis in points:
        numbers = pd.to_numeric(points[axis], errors="coerce")
        if numbers.notna().all():
            points[axis] = numbers
    return points


def two_axes(points: pd.DataFrame) -> tuple[str, str] | None:
    """Return the axes to show: width and batch size where both vary, else the two with most levels; None where fewer vary."""
    levels = points.nunique().sort_values(ascending=False, kind="stable")
    varying = list(levels[levels > 1].index)
    if {"width", "batch_size"} <= set(varying):
        return "width", "batch_size"
    return (varying[0], varying[1]) if len(varying) > 1 else None


def by_margin(predictions: pd.DataFrame, margins: pd.Series) -> pd.DataFrame:
    """Return the accuracy by how far labels are outside seed noise, in %.

    Parameters
    ----------
    predictions : of one case.
    margins : grid point → margin of the label over its standard error.

    Returns
    -------
    A row for each class of margins, in standard errors, with ``networks`` and ``accuracy``; the classes end at `MARGINS`.
    """
    at = margins.reindex(predictions["row"].astype(str)).to_numpy(float)
    right = 100 * (_said(predictions) == predictions["true"].astype(str)).to_numpy()
    ends = [0.0, *MARGINS, np.inf]
    names = [f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}" for low, high in pairwise(ends)]
    kinds = pd.cut(at, ends, labels=names, include_lowest=True)
    kinds = pd.Categorical(kinds).add_categories(["no standard error"]).fillna("no standard error")
    table = pd.DataFrame({"margin": kinds, "row": predictions["row"].astype(str).to_numpy(), "right": right})
    return table.groupby("margin", observed=True).agg(networks=("row", "nunique"), accuracy=("right", "mean"))
