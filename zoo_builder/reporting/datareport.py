"""The data report of a zoo: what its tables hold, in Markdown with figures.

    FOLDER/report.md            the report
    FOLDER/*.png                its figures
    FOLDER/correlations.csv     rank correlations of all metrics
    FOLDER/missing.csv          what could not be measured, with all columns

The same zoo gives the same text and tables to the byte, and with the same Matplotlib the same figures.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.showing import escape, plots, table
from mdbench.tables import NONE, Zoo, find_zoo, level_text, load_zoo
from zoo_builder.building import SPEC, writing
from zoo_builder.reporting import figures, summary
from zoo_builder.reporting.about import about, spoken, unit_of
from zoo_builder.reporting.quantities import duration, part_of, signed
from zoo_builder.specification import ZooSpec, read_spec

REPORT: Final = "report.md"
CORRELATIONS, MISSING = "correlations.csv", "missing.csv"
BALANCE, DOTS, LABELS, METRICS = "balance.png", "correlations.png", "labels.png", "metrics.png"
TIMINGS: Final = "timings.parquet"
#: How every report begins; a folder whose report begins otherwise is somebody else's.
MARK: Final = "<!-- Written by `mdbench zoo report`, which replaces this folder when it is run again. -->"
_FILES: Final = frozenset({REPORT, CORRELATIONS, MISSING, BALANCE, DOTS, LABELS, METRICS})

#: Metrics of a family that the figure of correlations shows, and that are drawn over the grid.
_SHOWN, _DRAWN = 5, 2
#: Columns that a line of the table of missing numbers names; all of them are in the CSV file.
_NAMED: Final = 4


def write_report(name_or_folder: str | Path, out: Path | None = None) -> list[Path]:
    """Write the data report of a zoo.

    Parameters
    ----------
    name_or_folder : the zoo; what lies beside its tables (specification, timings) is reported where it is there.
    out : folder for the report, replaced where it holds one; ``report`` in the zoo's folder if left out.

    Returns
    -------
    What was written, the report itself first.

    Raises
    ------
    MdbenchError
        There is no such zoo, or its files are damaged; something that is not a report is in the way; the folder cannot be
        written.
    """
    home = find_zoo(name_or_folder)
    folder = out or home / "report"
    _check_replaceable(folder)
    zoo = load_zoo(home)
    spec = read_spec(home / SPEC) if (home / SPEC).is_file() else None
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            fresh, stale = Path(scratch, "fresh"), Path(scratch, "stale")
            fresh.mkdir()
            text = compose(zoo, fresh, spec, _timings(home))
            files.write(fresh / REPORT, text.encode())
            written = sorted(path.name for path in fresh.iterdir())
            if folder.exists():
                folder.rename(stale)
            fresh.rename(folder)
    return [folder / REPORT, *(folder / name for name in written if name != REPORT)]


def _check_replaceable(folder: Path) -> None:
    try:
        there = {path.name for path in folder.iterdir()}
        ours = not there or (there <= _FILES and (folder / REPORT).read_text(encoding="utf-8").startswith(MARK))
    except FileNotFoundError:
        ours = not folder.exists()
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise MdbenchError(f"{folder} exists and is not a report; move it away first, or choose another with --out")


def _timings(home: Path) -> pd.DataFrame | None:
    path = home / TIMINGS
    try:
        found: pd.DataFrame = pq.ParquetFile(path).read().to_pandas()
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    return found if "seconds" in found else None


def compose(zoo: Zoo, folder: Path, spec: ZooSpec | None = None, timings: pd.DataFrame | None = None) -> str:
    """Write the figures and tables of a report into a folder, and return its text.

    Parameters
    ----------
    zoo : what is reported.
    folder : there, and empty.
    spec : what the zoo was built from.
    timings : column ``seconds``, one row a network.
    """
    parts = [
        [MARK, f"# {zoo.name}", zoo.title if zoo.title != zoo.name else ""],
        about(zoo, spec),
        _labels(zoo, folder),
        _sides(zoo),
        _seed_noise(zoo),
        _missing(zoo, folder),
        *_metrics(zoo, folder),
        _time(timings),
    ]
    return "\n\n".join(block for part in parts for block in part if block) + "\n"


def _labels(zoo: Zoo, folder: Path) -> list[str]:
    found = summary.label_balance(zoo)
    blocks = ["## Labels"]
    if found.empty:
        return [*blocks, "The grid offers no task all the moves that it asks about: the zoo has no labels."]
    blocks.append(
        "How often each verdict is the label. Shares are of the rows with a verdict; on the others two verdicts share the "
        "largest room for improvement, and the task leaves them out."
    )
    rare = summary.rare_verdicts(found)
    for (task, noise), group in rare.groupby(["task", "label_noise"], dropna=False, sort=False):
        names = [f"`{v}` ({s:.1f} %, {n:,} rows)" for v, s, n in group[["verdict", "share", "rows"]].values]
        blocks.append(
            f"> **Degenerate:** in `{task}`{_at_noise(noise)}, less than {summary.RARE:g} % are {' and '.join(names)}: "
            "a method can leave that out and lose next to nothing."
        )
    plots.save(figures.balance(found), folder / BALANCE)
    alt = "; ".join(
        f"{task}: " + (", ".join(f"{v} {s:.0f} %" for v, s in group[["verdict", "share"]].values if s >= 0) or "none")
        for task, group in found[found["label_noise"].isna()].groupby("task", sort=False)
    )
    blocks.append(_figure(BALANCE, f"Stacked bars of the verdicts of each task. {alt}."))
    for name in found["task"].unique():
        own = found[found["task"] == name]
        wide = own.assign(
            said=[
                f"{count:,}" if np.isnan(share) else f"{count:,} ({share:.1f} %)"
                for count, share in zip(own["rows"], own["share"], strict=True)
            ],
            _part=own["label_noise"].map(_noise, na_action=None),
        ).pivot(index="_part", columns="verdict", values="said")
        classes = [*zoo.tasks[name].classes, NONE]
        parts = own["label_noise"].map(_noise, na_action=None).unique()
        header = (f"`{name}`", *(f"`{verdict}`" for verdict in classes[:-1]), "no verdict")
        rows = [(part, *(wide.loc[part, verdict] for verdict in classes)) for part in parts]
        blocks += [f"**{zoo.tasks[name].question}**", table(header, rows, "l" + "r" * len(classes))]
    return blocks


def _sides(zoo: Zoo) -> list[str]:
    optima, growth = summary.optima(zoo), summary.growth(zoo)
    blocks = ["### Does the grid show both sides of the optimum?"] if len(optima) + len(growth) else []
    for knob, own in optima.groupby("knob", sort=False):
        whole = own.iloc[0]
        words = spoken(str(knob))
        blocks.append(
            f"**{words.capitalize()}.** The best {words} lies inside the grid in {whole['inside']:,} of {whole['cells']:,} "
            f"cells (all rows that share the other knobs): {_verdict(whole['inside'], whole['cells'])}."
        )
        rows = [
            (
                _noise(row["label_noise"]),
                *(part_of(row[key], row["cells"]) for key in ("inside", "lower", "upper")),
                row["cells"],
            )
            for _, row in own.iterrows()
        ]
        header = ("cells whose best is", "inside", f"the smallest {words}", f"the largest {words}", "cells")
        blocks.append(table(header, rows, "lrrrr"))
    fewer = {move.name for move in zoo.moves if move.step == "down"}
    for move, own in growth.groupby("move", sort=False):
        whole = own.iloc[0]
        more, grow = ("less", "shrink") if move in fewer else ("more", "grow")
        stopped = whole["rows"] - whole["helps"]
        sides = (
            f"it no longer does in {part_of(stopped, whole['rows'])}" if stopped else "the grid shows **one side only**"
        )
        blocks.append(
            f"**{spoken(str(move)).capitalize()}.** Where the grid has {more} of it, {more} of it helps in "
            f"{part_of(whole['helps'], whole['rows'])} of {whole['rows']:,} rows; {sides}."
        )
        rows = [
            (
                _noise(row["label_noise"]),
                row["rows"],
                part_of(row["helps"], row["rows"]),
                "not known" if np.isnan(row["clearly"]) else part_of(row["clearly"], row["rows"]),
            )
            for _, row in own.iterrows()
        ]
        blocks.append(table((f"rows that can {grow}", "rows", "helps", "by more than 2 standard errors"), rows, "lrrr"))
    return blocks


def _verdict(inside: float, whole: float) -> str:
    """Return in words how often a grid shows that a knob can be turned too far."""
    if not whole:
        return "nothing is known"
    if not inside:
        return "the grid shows **one side only**"
    if inside == whole:
        return "the grid shows both sides, everywhere"
    return f"the grid shows both sides in {100 * inside / whole:.0f} %"


def _seed_noise(zoo: Zoo) -> list[str]:
    found = summary.within_seed_noise(zoo)
    blocks = ["## Labels within noise"]
    if not zoo.tasks:
        return [*blocks, "There are no labels."]
    if found.empty:
        return [*blocks, "Not known: without several networks at a grid point margins have no standard errors."]
    rows = [
        (
            f"`{row['task']}`" if np.isnan(row["label_noise"]) else "",
            _noise(row["label_noise"]),
            row["rows"],
            part_of(row["within"], row["rows"]),
            f"{row['margin']:.2f}",
            f"{row['margin_se']:.2f}",
        )
        for _, row in found.iterrows()
    ]
    header = ("task", "rows", "with a verdict", "within noise", "median margin", "median SE")
    return [
        *blocks,
        "A label's margin is the largest room for improvement among the verdicts minus the second largest, in points; its "
        "standard error (SE) is over paired seeds. A label is within noise where it could have come out otherwise with other "
        "seeds and test examples (Student's distribution at 95 %: of five seeds 2.78 standard errors are asked).",
        table(header, rows, "llrrrr"),
        _mostly_noise(found[found["label_noise"].isna()]),
    ]


def _mostly_noise(found: pd.DataFrame) -> str:
    named = [f"`{task}` ({share:.1f} %)" for task, share in found[["task", "share"]].values if share > 50]
    if not named:
        return ""
    return (
        f"> **Mostly within noise:** more than half of the labels of {', '.join(named)}. Part of what a method gets wrong "
        "there is noise; its accuracy on *decided* rows leaves these out."
    )


def _missing(zoo: Zoo, folder: Path) -> list[str]:
    families = summary.families_of(zoo)
    blocks = ["## Missing numbers"]
    if not any(families.values()):
        return [*blocks, "No family of landscape metrics was measured here (`mdbench zoo measure` does)."]
    lines = [
        (name, f"{said['columns']:.0f}", f"{100 * said['present']:.1f} %") if said else (name, "", "not measured")
        for name, said in families.items()
    ]
    blocks.append(table(("family", "columns", "numbers there"), lines, "lrr"))
    found = summary.nulls(zoo)
    _write_csv(found, folder / MISSING)
    whole = {
        "checkpoint": len(zoo.checkpoints) if zoo.checkpoints is not None else 0,
        "configuration": len(zoo.configurations),
    }
    rows = [
        (
            row["family"],
            escape(row["reason"]),
            f"{part_of(row['rows'], whole[row['of']])} {row['of']}s",
            _some(row["columns"].split(", ")),
        )
        for _, row in found.iterrows()
    ]
    if not rows:
        return [*blocks, "No number is missing."]
    return [
        *blocks,
        "Why numbers are missing. Reasons that differ by their numbers alone are counted together, with … for the numbers. "
        f"All columns are in [{MISSING}]({MISSING}).",
        table(("family", "reason", "rows", "columns"), rows, "llrl"),
    ]


def _metrics(zoo: Zoo, folder: Path) -> tuple[list[str], list[str]]:
    """Return the sections about metrics, and about the landscape over the grid."""
    found = summary.correlations(zoo)
    _write_csv(found.reset_index(), folder / CORRELATIONS)
    return _correlations(zoo, found, folder), _phases(zoo, found, folder)


def _correlations(zoo: Zoo, found: pd.DataFrame, folder: Path) -> list[str]:
    blocks = ["## Metrics and test error"]
    shown = summary.strongest(found, _SHOWN)
    if shown.empty:
        return [*blocks, f"No metric varies over {summary.LEAST} rows that share a data amount or a width."]
    plots.save(figures.dots(shown, {"data": "fixed data", "width": "fixed width"}), folder / DOTS)
    among = {
        fixed: f"within each level of {' and '.join(map(spoken, knobs))}" if knobs else "over all rows"
        for fixed, knobs in summary.held(zoo).items()
    }
    order = {metric: str(at) for at, metric in enumerate(found.index[found["strength"].notna()], start=1)}
    rows = [
        (
            order.get(str(metric), ""),
            f"`{metric}`{' †' if row['reveals_label'] else ''}",
            row["family"],
            *(text for fixed in ("data", "width") for text in _correlation(row, fixed)),
        )
        for metric, row in found.iterrows()
    ]
    best = "; ".join(
        f"{metric} {row['data_mean']:.2f} and {row['width_mean']:.2f}" for metric, row in shown.head(12).iterrows()
    )
    header = ("", "metric", "family", "fixed data", "range", "levels × rows", "fixed width", "range", "levels × rows")
    return [
        *blocks,
        "Spearman's rank correlation of each metric with the test error, over configurations, whose numbers are means over "
        f"seeds. *Fixed data*: {among['data']}, over widths and temperatures. *Fixed width*: {among['width']}, over data "
        "amounts and temperatures. The number is the mean over levels, the range from the smallest level to the largest; "
        f"a level counts with at least {summary.LEAST} rows on which both numbers are known and neither is constant. "
        "The knobs stand beside the metrics: they say what one gets without measuring anything.",
        "† The test error can be read off this column (hollow dots): it is no evidence of a good diagnosis.",
        _figure(
            DOTS, f"Dots: rank correlation of metrics with the test error at fixed data and at fixed width. {best}."
        ),
        f"*The {_SHOWN} strongest of each family; dot: mean over levels, bar: from the smallest level to the largest.*",
        f"All metrics, the strongest first (mean of the two absolute values); also in [{CORRELATIONS}]({CORRELATIONS}).",
        table(header, rows, "rllrrrrrr"),
    ]


def _correlation(row: "pd.Series[float]", fixed: str) -> tuple[str, str, str]:
    levels = int(row[f"{fixed}_levels"])
    if not levels:
        return "none", "", ""
    low, high = row[f"{fixed}_low"], row[f"{fixed}_high"]
    each = row[f"{fixed}_rows"] / levels
    return (
        signed(row[f"{fixed}_mean"]),
        f"{signed(low)}\u00a0…\u00a0{signed(high)}",
        f"{levels}\u00a0×\u00a0{each:.4g}",
    )


def _phases(zoo: Zoo, found: pd.DataFrame, folder: Path) -> list[str]:
    blocks = ["## Over the grid"]
    if not {"width", "batch_size"} <= set(zoo.knobs):
        return [
            *blocks,
            "No phase plots: they are drawn over width × batch size, and the zoo has not both of these knobs.",
        ]
    held = {knob: zoo.levels(knob)[0] for knob in zoo.knobs if knob not in ("width", "batch_size", "data_fraction")}
    amounts = zoo.levels("data_fraction") if "data_fraction" in zoo.knobs else []
    some = list(dict.fromkeys([amounts[0], amounts[len(amounts) // 2], amounts[-1]])) if amounts else []
    tasks = list(zoo.tasks)
    shown = {knob: level_text(level) for knob, level in held.items() if len(zoo.levels(knob)) > 1}
    at = "".join(f", {spoken(knob)} {level}{_percent(knob)}" for knob, level in shown.items())
    if tasks:
        points = [{**held, "data_fraction": amount} for amount in some] or [held]
        plots.save(
            plots.phases(zoo, [(task, point) for point in points for task in tasks], across=len(tasks)), folder / LABELS
        )
        where = (
            f"From top to bottom {', '.join(f'{amount:g} %' for amount in some)} of the data" if some else "All data"
        )
        text = f"Labels over width and batch size. {where}{at}."
        blocks += [_figure(LABELS, f"Phase plots of the labels {', '.join(tasks)}. {text}"), f"*{text}*"]
    middle = {**held, "data_fraction": amounts[len(amounts) // 2]} if amounts else held
    here = zoo.configurations[(zoo.configurations[list(middle)] == pd.Series(middle)).all(axis=1)]
    drawable = found[[metric not in zoo.knobs and bool(here[metric].notna().any()) for metric in found.index]]
    metrics = ["test_error", *summary.strongest(drawable, _DRAWN, revealing=False).index]
    plots.save(plots.phases(zoo, [(metric, middle) for metric in metrics]), folder / METRICS)
    where = f"{middle['data_fraction']:g} % of the data" if amounts else "all data"
    text = (
        f"Test error and the {_DRAWN} strongest metrics of each family, at {where}{at}. Every plot has its own colours."
    )
    return [
        *blocks,
        _figure(METRICS, f"Phase plots over width and batch size: {', '.join(metrics)}. {text}"),
        f"*{text}*",
    ]


def _time(timings: pd.DataFrame | None) -> list[str]:
    if timings is None:
        return []
    took = summary.training_time(timings)
    if not took["networks"]:
        return []
    total = took["total"]
    rows = [
        ("all networks", f"{duration(total)} of one worker"),
        ("a network, median", f"{took['median']:.2f} s"),
        ("a network, 95 % quantile", f"{took['p95']:.2f} s"),
        ("the slowest network", f"{took['most']:.2f} s"),
    ]
    return ["## How long training took", table(("", ""), [("networks", f"{took['networks']:,}"), *rows], "lr")]


def _figure(name: str, alt: str) -> str:
    return f"![{alt.replace('[', '(').replace(']', ')')}]({name})"


def _write_csv(found: pd.DataFrame, path: Path) -> None:
    files.write(path, found.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())


def _percent(knob: str) -> str:
    return " %" if unit_of(knob) == "%" else ""


def _noise(noise: float) -> str:
    return "all" if np.isnan(noise) else f"{noise:g} % label noise"


def _at_noise(noise: Any) -> str:
    return "" if np.isnan(noise) else f" at {noise:g} % label noise"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
