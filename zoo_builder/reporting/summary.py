"""What a zoo's tables say about the zoo itself: pure functions of its tables, each with tables for answers.

What is counted apart for every label noise has a column ``label_noise``, NaN where all rows are counted.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mdbench.tables import COLUMNS, NONE, Family, Zoo, decided, kind
from zoo_builder.building import MEASURED
from zoo_builder.landscape import registry

#: Below this share of a task's rows, in %, a verdict is too rare to be learned, or to be missed.
RARE: Final = 2.0
#: Rows that a rank correlation needs.
LEAST: Final = 5
#: What grows a network, and what sets the temperature of its learning: neither is held when the amount of data is.
_SIZES: Final = ("width", "depth")
_TEMPERATURES: Final = ("batch_size", "learning_rate")
#: Family of the knobs, and of columns that no family measures.
KNOB, OTHER = "knob", "other"
#: What stands where a number is missing and nobody said why.
UNSAID: Final = "no reason given"

_OF_NETWORKS = re.compile(r"\d+ of its networks: ")
_NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")


@dataclass(frozen=True)
class Size:
    """How large a zoo is.

    Attributes
    ----------
    configurations : grid points.
    networks, diverged : trained networks, and those whose loss stopped being finite; None where only means are known.
    seeds : networks of a configuration, fewest and most; None likewise.
    """

    configurations: int
    networks: int | None
    diverged: int | None
    seeds: tuple[int, int] | None


def size_of(zoo: Zoo) -> Size:
    """Return how large a zoo is."""
    table = zoo.configurations
    if zoo.checkpoints is not None:
        each = zoo.checkpoints.groupby("configuration").size()
        lost = zoo.checkpoints["diverged"].astype(bool) if "diverged" in zoo.checkpoints else None
        diverged = None if lost is None else int(lost.sum())
        return Size(len(table), len(zoo.checkpoints), diverged, (int(each.min()), int(each.max())))
    if {"seeds", "diverged_seeds"} <= set(table):
        every = table["seeds"] + table["diverged_seeds"]
        return Size(
            len(table), int(every.sum()), int(table["diverged_seeds"].sum()), (int(every.min()), int(every.max()))
        )
    return Size(len(table), None, None, None)


def _parts(zoo: Zoo) -> Iterator[tuple[float, pd.DataFrame]]:
    """Yield all rows of a zoo, and those of each label noise where that is a knob."""
    yield np.nan, zoo.configurations
    levels = zoo.levels("label_noise") if "label_noise" in zoo.knobs else []
    if len(levels) > 1:
        for level in levels:
            yield level, zoo.configurations[zoo.configurations["label_noise"] == level]


def label_balance(zoo: Zoo) -> pd.DataFrame:
    """Return how often each verdict is the label.

    Returns
    -------
    One row a task, label noise and verdict: ``task``, ``label_noise``, ``verdict``, ``rows``, ``share`` in % of the rows
    with a verdict. Rows on which two verdicts share the largest RFI are counted as `mdbench.tables.NONE`, with no share: they
    are left out of the task. Tasks that the zoo has no labels of are left out.
    """
    rows = []
    for name, task in zoo.tasks.items():
        for noise, table in _parts(zoo):
            counts = table[name].value_counts()
            whole = sum(int(counts.get(verdict, 0)) for verdict in task.classes)
            for verdict in (*task.classes, NONE):
                count = int(counts.get(verdict, 0))
                share = 100 * count / whole if whole and verdict != NONE else np.nan
                rows.append((name, noise, verdict, count, share))
    return pd.DataFrame(rows, columns=["task", "label_noise", "verdict", "rows", "share"])


def rare_verdicts(balance: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a `label_balance` whose verdict has less than `RARE` % of its task."""
    return balance[balance["share"] < RARE]


def optima(zoo: Zoo) -> pd.DataFrame:
    """Return where along each temperature knob the best level lies.

    A cell is all rows that share the other knobs. A row whose networks all diverged is worse than every other; the smallest
    of several equally good levels counts.

    Returns
    -------
    One row a knob and label noise: ``knob``, ``label_noise``, ``cells`` with a known test error, and in how many of them the
    best level lies ``inside`` the levels of the cell, at its ``lower`` or at its ``upper`` end.
    """
    knobs = dict.fromkeys(move.knob for move in zoo.moves if move.name.startswith("temperature"))
    rows = []
    for knob in knobs:
        others = [other for other in zoo.knobs if other != knob]
        for noise, table in _parts(zoo):
            places = [
                _place_of_best(cell.sort_values(knob)["test_error"].to_numpy())
                for _, cell in (table.groupby(others) if others else [((), table)])
                if cell["test_error"].notna().any()
            ]
            ends = [places.count(place) for place in ("inside", "lower", "upper")]
            rows.append((knob, noise, len(places), *ends))
    return pd.DataFrame(rows, columns=["knob", "label_noise", "cells", "inside", "lower", "upper"])


def _place_of_best(errors: np.ndarray) -> str:
    best = int(np.where(np.isnan(errors), np.inf, errors).argmin())
    return "lower" if best == 0 else "upper" if best == len(errors) - 1 else "inside"


def growth(zoo: Zoo) -> pd.DataFrame:
    """Return how often going on still helps: widening the model, or training on more data.

    Returns
    -------
    One row a move that is not of the temperature and a label noise: ``move``, ``label_noise``, ``rows`` that are not yet at
    the last level and whose RFI is known, in how many of them it ``helps`` (RFI above 0), and in how many ``clearly``: by
    more than two standard errors; NaN where those are not known.
    """
    moves = dict.fromkeys(move.name for move in zoo.moves if not move.name.startswith("temperature"))
    rows = []
    for name in moves:
        for noise, table in _parts(zoo):
            gain = table[f"rfi_{name}"]
            left = gain.notna() & np.logical_or.reduce(
                [
                    table[move.knob] < max(zoo.levels(move.knob))
                    if move.step == "up"
                    else table[move.knob] > min(zoo.levels(move.knob))
                    for move in zoo.moves
                    if move.name == name
                ]
            )
            clearly = np.nan
            if f"rfi_{name}_se" in table and table.loc[left, f"rfi_{name}_se"].notna().any():
                clearly = float((gain > 2 * table[f"rfi_{name}_se"])[left].sum())
            rows.append((name, noise, int(left.sum()), int((gain > 0)[left].sum()), clearly))
    return pd.DataFrame(rows, columns=["move", "label_noise", "rows", "helps", "clearly"])


def within_seed_noise(zoo: Zoo) -> pd.DataFrame:
    """Return how many labels could have come out otherwise with other seeds and test examples, see `mdbench.tables.noise`.

    Returns
    -------
    One row a task and label noise: ``task``, ``label_noise``, ``rows`` with a verdict and a standard error, how many of them
    are ``within`` seed noise, their ``share`` in %, and the median ``margin`` and ``margin_se`` in points. Rows without a
    verdict (`mdbench.tables.NONE`) are left out of the task, and here. Empty where no standard errors are known.
    """
    rows = []
    for name, task in zoo.tasks.items():
        for noise, table in _parts(zoo) if f"{name}_margin_se" in zoo.configurations else ():
            known = table[table[name].isin(task.classes) & table[f"{name}_margin_se"].notna()]
            if len(known):
                margin, se = known[f"{name}_margin"], known[f"{name}_margin_se"]
                within = int((~decided(zoo, task)[known.index]).sum())
                rows.append((name, noise, len(known), within, 100 * within / len(known), margin.median(), se.median()))
    return pd.DataFrame(rows, columns=["task", "label_noise", "rows", "within", "share", "margin", "margin_se"])


def families_of(zoo: Zoo) -> dict[str, dict[str, float] | None]:
    """Return how much of each family of landscape metrics there is.

    Returns
    -------
    Family → ``columns``, the number of its metrics in the tables of networks and configurations, and ``present``, the share
    of their numbers that are there, 0 to 1; None for a family that was not measured. A network's metric is counted network
    by network, a configuration's configuration by configuration.
    """
    found: dict[str, dict[str, float] | None] = {}
    for name, family in registry.FAMILIES.items():
        if family.of_tokens and not _is_measured(zoo, family):
            continue
        tables = [table for _, table in _own_columns(zoo, family)]
        numbers = sum(table.size for table in tables)
        there = sum(int(table.notna().to_numpy().sum()) for table in tables)
        columns = sum(table.shape[1] for table in tables)
        found[name] = (
            {"columns": columns, "present": there / numbers} if _is_measured(zoo, family) and numbers else None
        )
    return found


def _is_measured(zoo: Zoo, family: registry.Family) -> bool:
    tables = (zoo.configurations, zoo.checkpoints)
    return any(table is not None and family.reason in table for table in tables)


def _own_columns(zoo: Zoo, family: registry.Family) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what a family measured of networks and of configurations, each in its own table."""
    for of, table in (("checkpoint", zoo.checkpoints), ("configuration", zoo.configurations)):
        if table is not None:
            yield of, table[[column for column in family.columns(of) if column in table]]


def nulls(zoo: Zoo) -> pd.DataFrame:
    """Return what could not be measured of the families that were measured, counted by reason.

    Reasons that differ by their numbers alone are counted together, with ``…`` for the numbers.

    Returns
    -------
    One row a family, a kind of row and a reason: ``family``; ``of``, checkpoint or configuration; ``reason``; ``rows`` on
    which it is the reason for something; ``numbers`` that are missing; ``columns``, their names by commas. Family by family,
    most rows first.
    """
    found: dict[tuple[str, str, str], _Absence] = {}
    for family in registry.FAMILIES.values():
        for of, values in _own_columns(zoo, family) if _is_measured(zoo, family) else ():
            table = zoo.configurations if of == "configuration" else zoo.checkpoints
            assert table is not None
            said = table[family.reason] if family.reason in table else pd.Series(index=table.index, dtype=object)
            said = said.astype(object).where(said.notna(), "")
            missing = values.isna()
            for text, part in missing[missing.any(axis=1)].groupby(said):
                reasons = reasons_in(str(text), list(map(str, values)))
                for column in part.columns[part.any()]:
                    why = reasons.get(column, UNSAID)
                    absence = found.setdefault((family.name, of, _NUMBER.sub("…", why)), _Absence({}, set(), set(), 0))
                    absence.reasons.add(why)
                    absence.columns[column] = None
                    absence.rows.update(part.index[part[column]])
                    absence.numbers += int(part[column].sum())
    order = list(registry.FAMILIES)
    records = [
        (
            family,
            of,
            why if len(one.reasons) > 1 else min(one.reasons),
            len(one.rows),
            one.numbers,
            ", ".join(name for name in COLUMNS if name in one.columns),
        )
        for (family, of, why), one in found.items()
    ]
    records.sort(key=lambda record: (order.index(record[0]), record[1], -record[3], record[2]))
    return pd.DataFrame(records, columns=["family", "of", "reason", "rows", "numbers", "columns"])


@dataclass
class _Absence:
    columns: dict[str, None]
    reasons: set[str]
    rows: set[str]
    numbers: int


def reasons_in(text: str, columns: list[str]) -> dict[str, str]:
    """Return column → why it is missing, from the text of a reason column.

    Parameters
    ----------
    text : ``colA, colB: why; colC: other why``. A part that names no column is about all of `columns` that no other part
        names, or, behind another part, that part's end. What is said of a configuration's networks is theirs, and left out.
    columns : those that the family measures of such a row.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    parts: list[tuple[list[str], str]] = []
    for part in _OF_NETWORKS.split(text)[0].rstrip("; ").split("; ") if text else []:
        names, colon, why = part.partition(": ")
        named = names.split(", ")
        if colon and all(name in COLUMNS for name in named):
            parts.append((named, why))
        elif parts:
            parts[-1] = (parts[-1][0], f"{parts[-1][1]}; {part}")
        elif part:
            rest.append(part)
    for named, why in parts:
        for name in named:
            found.setdefault(name, why)
    if rest:
        found = dict.fromkeys(columns, "; ".join(rest)) | found
    return found


def metric_families(zoo: Zoo) -> dict[str, str]:
    """Return the metrics of a zoo's configurations, column → family, in the order of the families.

    Spreads over seeds, standard errors, quantiles and the test error itself are left out.
    """
    owner = dict.fromkeys(MEASURED, "performance")
    for name, family in registry.FAMILIES.items():
        owner |= dict.fromkeys(family.columns("checkpoint", "configuration"), name)
    metrics = [
        str(column)
        for column in zoo.configurations
        if COLUMNS[str(column)].family in (Family.LANDSCAPE, Family.VALIDATION)
        and not str(column).endswith(("_std", "_se"))
        and not COLUMNS[str(column)].relative
        and column != "test_error"
    ]
    order = [*registry.FAMILIES, OTHER]
    found = {metric: owner.get(metric, OTHER) for metric in metrics}
    return dict(sorted(found.items(), key=lambda item: order.index(item[1])))


def held(zoo: Zoo) -> dict[str, list[str]]:
    """Return which knobs of several levels do not change at fixed ``data``, and which at fixed ``width``."""
    knobs = [knob for knob in zoo.knobs if len(zoo.levels(knob)) > 1]
    return {
        "data": [knob for knob in knobs if knob not in (*_SIZES, *_TEMPERATURES)],
        "width": [knob for knob in knobs if knob not in ("data_fraction", *_TEMPERATURES)],
    }


def correlations(zoo: Zoo) -> pd.DataFrame:
    """Return the rank correlation of every metric with the test error, at fixed data and at fixed width.

    At fixed data, rows that share data fraction, label noise and every other knob than those of size and of temperature
    form a level; at fixed width, rows that share all but data and temperature. Spearman's correlation is taken within each
    level, over rows that have both numbers, and averaged over the levels. A level with fewer than `LEAST` such rows, or on
    which either is constant, has none. The knobs that are numbers stand beside the metrics: what they alone would say.

    Returns
    -------
    One row a metric or knob, indexed by ``metric``, the strongest first: ``family``; ``reveals_label``; ``strength``, mean of
    the two |means|; and for ``data`` and for ``width``: ``data_mean``, ``data_low`` and ``data_high`` (mean, smallest and
    largest over levels; NaN without any), ``data_levels``, and ``data_rows`` in all of these levels.
    """
    table = zoo.configurations
    families = metric_families(zoo) | {knob: KNOB for knob in zoo.knobs if kind(knob) != "text"}
    levels = {
        fixed: [level for _, level in table.groupby(knobs)] if knobs else [table] for fixed, knobs in held(zoo).items()
    }
    rows = {}
    for metric, family in families.items():
        row: dict[str, Any] = {"family": family, "reveals_label": COLUMNS[metric].reveals_label}
        for fixed, parts in levels.items():
            some = [spearman(part[metric].to_numpy(float), part["test_error"].to_numpy(float)) for part in parts]
            known = [one for one in some if one is not None]
            values = np.array([value for value, _ in known]) if known else np.array([np.nan])
            row |= {
                f"{fixed}_mean": values.mean(),
                f"{fixed}_low": values.min(),
                f"{fixed}_high": values.max(),
                f"{fixed}_levels": len(known),
                f"{fixed}_rows": sum(count for _, count in known),
            }
        rows[metric] = row
    found = pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")
    found.insert(2, "strength", found[["data_mean", "width_mean"]].abs().mean(axis=1))
    return found.sort_values("strength", ascending=False, kind="stable")


def spearman(one: np.ndarray, other: np.ndarray) -> tuple[float, int] | None:
    """Return Spearman's rank correlation over the rows that have both numbers, and how many these are.

    Ties get their mean rank. None with fewer than `LEAST` rows, or where either is constant.
    """
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < LEAST:
        return None
    ranks = rankdata(np.stack([one[both], other[both]]), axis=1)
    if (np.ptp(ranks, axis=1) == 0).any():
        return None
    return float(np.corrcoef(*ranks)[0, 1]), int(both.sum())


def strongest(found: pd.DataFrame, each: int, *, revealing: bool = True) -> pd.DataFrame:
    """Return the strongest metrics of each family from `correlations`, family by family, the strongest first.

    Parameters
    ----------
    found : what `correlations` returned.
    each : how many of a family.
    revealing : whether those that give the test error away are among them; without, a family that has no others keeps them.
    """
    order = [KNOB, *registry.FAMILIES, OTHER]
    known = found[found["strength"].notna()]
    parts = []
    for name in order:
        family = known[known["family"] == name]
        modest = family[~family["reveals_label"]]
        parts.append((family if revealing or modest.empty else modest).head(each))
    return pd.concat(parts)


def training_time(timings: pd.DataFrame) -> Mapping[str, float]:
    """Return what training took: ``networks``; in seconds their ``total``, ``median``, 95 % quantile ``p95`` and ``most``."""
    seconds = timings["seconds"].dropna()
    if seconds.empty:
        return {"networks": 0}
    return {
        "networks": len(seconds),
        "total": float(seconds.sum()),
        "median": float(seconds.median()),
        "p95": float(seconds.quantile(0.95)),
        "most": float(seconds.max()),
    }
