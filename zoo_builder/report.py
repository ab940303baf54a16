"""What people see of zoos on the terminal."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from mdbench.showing import say
from mdbench.tables import Predicted, Zoo, level_text
from zoo_builder.building import Progress
from zoo_builder.building import builder as build
from zoo_builder.reporting import duration, size

if TYPE_CHECKING:
    from zoo_builder.building import Difference, Verification
    from zoo_builder.publishing import Fetched

#: How many differences are said one by one, and how many letters of a text.
_WORST, _LONG = 10, 24
_FORMS = {
    "taped": "one after the other, in compiled loops",
    "stacked": "as stacks, layer by layer",
    "mapped": "as stacks, mapped as a whole: some layer has no faster form",
}


def show_forecast(forecast: build.Forecast, *, as_json: bool = False) -> None:
    """Print what a zoo will be and cost."""
    if as_json:
        _print(asdict(forecast))
        return
    few, many = forecast.parameters
    workers = f"{forecast.workers} worker{'s' * (forecast.workers > 1)}"
    grid = " × ".join(f"{len(values)} {knob.replace('_', ' ')}" for knob, values in forecast.axes.items())
    lines = [
        ("grid", f"{grid} × {forecast.seeds} seeds"),
        *((knob.replace("_", " "), ", ".join(map(level_text, values))) for knob, values in forecast.axes.items()),
        ("networks", f"{forecast.models:,}, in {forecast.units:,} units of work"),
        ("trained", _FORMS[forecast.form]),
        ("parameters", f"{few:,}" if few == many else f"{few:,} to {many:,}"),
        ("steps", f"{forecast.steps:,}"),
        ("examples", f"{forecast.samples:,} through networks"),
        ("multiply–adds", f"{forecast.multiplications:.3g}"),
        ("memory", f"{size(forecast.memory)} a worker"),
        ("disk", f"{size(forecast.bytes)} of checkpoints"),
        ("time", f"about {duration(forecast.seconds)} with {workers}, once started"),
    ]
    _show(forecast.name, lines)


def show_status(status: build.Status, *, as_json: bool = False) -> None:
    """Print how far a build is."""
    if as_json:
        _print(asdict(status))
        return
    share = 100 * status.models_done / status.models
    lines = [
        ("networks", f"{status.models_done:,} of {status.models:,} ({share:.0f} %)"),
        ("units", f"{status.units_done:,} of {status.units:,}"),
        ("diverged", f"{status.diverged:,}"),
        ("worked", duration(status.seconds)),
        ("disk", size(status.bytes)),
        (
            "tables",
            "there" if status.tables else "not yet: `mdbench zoo build` writes them once all networks are there",
        ),
    ]
    networks = status.models - status.diverged
    measured = [f"{family}: {done:,} of {networks:,} networks" for family, done in status.measured.items()]
    for at, said in enumerate(measured or ["nothing yet: `mdbench zoo measure` does"]):
        lines.append(("" if at else "measured", said))
    _show(status.name, lines)


def show_zoo(zoo: Zoo, folder: Path, *, as_json: bool = False) -> None:
    """Print what has been built."""
    table = zoo.configurations
    labels = {
        task: {str(verdict): int(count) for verdict, count in table[task].value_counts().items()} for task in zoo.tasks
    }
    models = int(table["seeds"].sum() + table["diverged_seeds"].sum())
    if as_json:
        _print({"event": "built", "name": zoo.name, "folder": str(folder), "models": models, "labels": labels})
        return
    errors = table["test_error"].dropna()
    lines = [
        ("networks", f"{models:,}, {int(table['diverged_seeds'].sum()):,} diverged"),
        ("configurations", f"{len(table):,}"),
        ("test error", f"{errors.min():.1f} to {errors.max():.1f} %" if len(errors) else "none: all networks diverged"),
        *([] if zoo.predicted is Predicted.CLASSES else [("what it is", zoo.predicted.error)]),
    ]
    for task, counts in labels.items():
        said = ", ".join(f"{verdict} {count:,}" for verdict, count in counts.items()) or "no verdicts"
        labelled = table[table[task].notna()]
        if (labelled["seeds"] > 1).any():
            clear = labelled[f"{task}_margin"] > 2 * labelled[f"{task}_margin_se"]
            said += f"; margin above 2 standard errors in {clear.mean():.0%}"
        lines.append((task, said))
    _show(zoo.name, lines)
    say(f"wrote {folder}; next: mdbench zoo measure {folder}")


def show_measured(zoo: Zoo, folder: Path, *, as_json: bool = False) -> None:
    """Print what has been measured: how many numbers of each family there are, and why others are missing."""
    from zoo_builder.landscape import FAMILIES
    from zoo_builder.reporting import families_of

    found = families_of(zoo)
    if as_json:
        _print({"event": "measured", "name": zoo.name, "folder": str(folder), "families": found})
        return
    lines = [
        (name, f"{said['columns']} columns, {said['present']:.1%} of their numbers there")
        if (said := found[name])
        else (name, "not measured")
        for name in FAMILIES
        if name in found
    ]
    _show(zoo.name, lines)
    say(f"wrote {folder}; next: mdbench zoo report {folder}")


def show_report(written: Sequence[Path], *, as_json: bool = False) -> None:
    """Print where a data report is: its files, the report itself first."""
    if as_json:
        _print({"event": "reported", "folder": str(written[0].parent), "files": [str(path) for path in written]})
        return
    say(f"wrote {written[0]}, with {len(written) - 1} figures and tables beside it")


def show_draw(folder: Path, seed: int, *, as_json: bool = False) -> None:
    """Print which zoo is verified, and the seed of the choice, before anything is known of it."""
    if as_json:
        _print({"event": "drawn", "folder": str(folder), "seed": seed})
        return
    say(f"verifying {folder}, seed {seed}")


def show_verification(found: "Verification", *, as_json: bool = False) -> None:
    """Print how what was rebuilt of a zoo compares with its tables: numbers, what differs, the verdict."""
    result = found.comparison
    if as_json:
        _print({"event": "verified", **asdict(found)})
        return
    lines = [
        ("built by", found.made_by),
        ("rebuilt by", found.rebuilt_by),
        ("configurations", f"{len(found.configurations):,}"),
        ("families", ", ".join(found.families) or "none: training alone"),
        ("networks", f"{result.networks:,}, of which {result.digests_equal:,} have the same tensors"),
        (
            "values",
            f"{result.values:,}, of which {result.values_equal:,} equal, {result.values_identical:,} to the bit",
        ),
    ]
    if result.tests:
        lines.append(("by tolerance", f"{result.tests:,} comparisons"))
    if result.largest and not result.differences:
        lines.append(("largest difference", _difference(result.largest)))
    lines += [("differs", _difference(one)) for one in result.differences[:_WORST]]
    if len(result.differences) > _WORST:
        lines.append(("", f"and {len(result.differences) - _WORST:,} more, which --json prints"))
    _show(found.zoo, lines)
    say(result.said)


def _difference(one: "Difference") -> str:
    """Say what differs, and by how much."""
    where = f"{one.table.removesuffix('.parquet')}: {one.row}: {one.column}"
    values = (
        "" if one.t is not None and one.shipped is None else f" {_value(one.shipped)}, rebuilt {_value(one.rebuilt)}"
    )
    if one.t is None:
        return where + values + ("" if one.size is None else f" ({one.size:.2g} of its size)")
    return f"{where}{values} (t {one.t:.3g}" + (")" if one.size is None else f", {one.size:.2g} of what is tolerated)")


def _value(one: float | str | None) -> str:
    if isinstance(one, str):
        return one if len(one) <= _LONG else f"{one[: _LONG - 1]}…"
    return "missing" if one is None else f"{one:.9g}"


def show_files(paths: Sequence[Path], *, as_json: bool = False) -> None:
    """Print which files were written."""
    if as_json:
        _print({"event": "written", "files": [str(path) for path in paths]})
        return
    for path in paths:
        say(f"wrote {path}")


def show_preview(sizes: Mapping[str, int], repo: str | None, *, as_json: bool = False) -> None:
    """Print what a dataset would be: its files, and their sizes."""
    if as_json:
        _print({"event": "would publish", "repo": repo, "files": sizes})
        return
    lines = [(path, size(count)) for path, count in sizes.items()]
    _show(f"{repo or 'a dataset'}: nothing was written", [*lines, (f"{len(sizes)} files", size(sum(sizes.values())))])


def show_published(folder: Path, written: Sequence[Path], *, as_json: bool = False) -> None:
    """Print where a dataset is."""
    if as_json:
        _print({"event": "published", "folder": str(folder), "files": [str(path) for path in written]})
        return
    whole = sum(path.stat().st_size for path in written)
    say(f"wrote {len(written)} files, {size(whole)}, to {folder}; look at {folder / 'README.md'}")


def show_uploaded(address: str, *, as_json: bool = False) -> None:
    """Print where a dataset is on the Hub."""
    if as_json:
        _print({"event": "uploaded", "address": address})
        return
    say(f"uploaded: {address}")


def print_progress(progress: Progress) -> None:
    """Print how far a build is, as a line of JSON."""
    _print({"event": "progress", **asdict(progress)})


@contextmanager
def bar(stream: TextIO, doing: str) -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar where the stream is a terminal; `doing` says what is done."""
    console = Console(file=stream, highlight=False)
    shown = Bar(
        TextColumn(doing),
        BarColumn(),
        TextColumn("{task.fields[models]}"),
        TextColumn("[dim]{task.fields[rate]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with shown:
        task = shown.add_task("", total=None, models="", rate="")

        def show(progress: Progress) -> None:
            fresh = progress.models_done - progress.found
            rate = ""
            if fresh and progress.seconds:
                left = progress.seconds * (progress.work - progress.work_done) / progress.work_fresh
                rate = f"{fresh / progress.seconds:.2f} models/s · {duration(left)} left"
            shown.update(
                task,
                total=progress.work,
                completed=progress.work_done,
                models=f"{progress.models_done:,} / {progress.models:,} networks",
                rate=rate,
            )

        yield show


@contextmanager
def counted(stream: TextIO, doing: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of how many are done where the stream is a terminal; `doing` says of what."""
    console = Console(file=stream, highlight=False)
    columns = TextColumn(doing), BarColumn(), MofNCompleteColumn()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, whole: shown.update(task, completed=done, total=whole)


@contextmanager
def transfer(stream: TextIO, *, as_json: bool = False) -> "Iterator[Callable[[Fetched], None]]":
    """Show how much has arrived: a bar where the stream is a terminal, or lines of JSON."""
    if as_json:
        yield lambda there: _print({"event": "progress", **asdict(there)})
        return
    console = Console(file=stream, highlight=False)
    columns = TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None)
        yield lambda there: shown.update(task, total=there.bytes, completed=there.bytes_done)


def _show(title: str, lines: list[tuple[str, str]]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column()
    for line in lines:
        table.add_row(*line)
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=140)).print(table)


def _print(said: object) -> None:
    print(json.dumps(said), flush=True)  # noqa: T201 - for programs, and for logs
