"""The command line. Everything heavy is imported by the command that needs it, when it runs.

All commands are in one file, for they share their options.
Other packages add commands of their own, see `mdbench.plugins`.
"""

import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdbench.errors import MdbenchError
from mdbench.methods import BESIDE, CORES, TIMEOUT, WORKERS, MethodWarning
from mdbench.plugins import Commands
from mdbench.version import __version__

if TYPE_CHECKING:
    from mdbench.scoring import Failure, Progress

app = typer.Typer(
    name="mdbench",
    cls=Commands,
    help="The benchmark of model diagnosis: why does this trained network underperform?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would double the time it takes to appear
)
importers = typer.Typer(no_args_is_help=True, help="Turn a published table into zoos.")
plots = typer.Typer(no_args_is_help=True, help="Draw results and zoos.")
app.add_typer(importers, name="import")
app.add_typer(plots, name="plot")


Methods = Annotated[
    list[str], typer.Argument(help="Method files, or names from `mdbench methods`.", show_default=False)
]
Cases = Annotated[
    list[str],
    typer.Option(
        "--cases",
        help="A selection, a task, a sweep, a case, a pattern with *, or all; several by commas. See `mdbench cases`.",
    ),
]
Chosen = Annotated[
    list[str] | None,
    typer.Option(
        "--cases",
        help="As `mdbench cases` lists them, several by commas; with --zoo, of that zoo's own cases "
        "[default: core, with --zoo all].",
        show_default=False,
    ),
]
MovesChosen = Annotated[
    list[str] | None,
    typer.Option(
        "--cases",
        help="Cases whose verdicts are moves, as `mdbench cases` lists them, several by commas; with --zoo, of its own "
        "[default: core-moves, with --zoo all].",
        show_default=False,
    ),
]
Zoo = Annotated[
    str | None,
    typer.Option(help="Name or folder of a zoo: evaluate on the cases that it makes by itself.", show_default=False),
]
Beside = Annotated[
    str, typer.Option(help="Methods to show beside yours, by commas; an empty text for none.", metavar="NAMES")
]
WorkerCount = Annotated[
    int, typer.Option("--workers", min=0, help="Processes; 0 runs methods in this one, without time limit.")
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds a method may take for one case.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither use answers given before nor keep new ones.")]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Learn from so many training samples of each case, the first ones, for a quick look [default: all].",
        show_default=False,
    ),
]
InSandbox = Annotated[
    bool,
    typer.Option(
        "--sandbox", help="Run methods in isolation (bubblewrap): no network, no files, no labels but their own."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder for result.json and predictions.parquet.", show_default=False)]
Clone = Annotated[Path, typer.Argument(help="Folder of a clone of the public repository.", show_default=False)]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mdbench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def evaluate(
    methods: Methods,
    cases: Chosen = None,
    zoo: Zoo = None,
    out: Out = None,
    beside: Beside = BESIDE,
    samples: Samples = None,
    workers: WorkerCount = WORKERS,
    timeout: Timeout = TIMEOUT,
    no_cache: NoCache = False,
    sandbox: InSandbox = False,
    mistakes: Annotated[
        bool, typer.Option("--mistakes", help="Show also what your methods confuse, where, and their surest mistakes.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print result.json in place of tables, with the peak memory of all processes together."
        ),
    ] = False,
) -> None:
    """Score methods on the standardized transfer cases, with the baselines beside them."""
    everybody = _with_beside(methods, beside)

    from mdbench.scoring import PeakMemory
    from mdbench.scoring import evaluate as run
    from mdbench.showing import report, show_mistakes

    # What a method prints is no part of the result.
    with progress_bar() as progress, PeakMemory() if as_json else nullcontext() as memory, redirect_stdout(sys.stderr):
        result = run(
            everybody,
            _listed(cases) if cases else None,
            zoo=zoo,
            samples=samples,
            workers=workers,
            timeout=timeout,
            cache=not no_cache,
            sandbox=sandbox,
            strict=True,
            progress=progress,
        )
    if memory:
        result = result.model_copy(update={"peak_memory": memory.bytes})
    unsaved = None
    try:
        if out and result.scores:
            result.save(out)
    except MdbenchError as error:  # a full disk takes none of what is shown
        unsaved = error
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        _close(result.failures, unsaved)
        return
    report.show_result(result, own=_own(methods, result.methods))
    if mistakes and result.scores:
        show_mistakes(result, _own(methods, result.methods), zoo)
    if out and result.scores and not unsaved:
        report.say(f"wrote {out / 'result.json'} and {out / 'predictions.parquet'}")
    # A zoo of one's own need not have what the baselines look at that nobody asked for by name.
    unasked = set(_listed([BESIDE])) - set(methods) if zoo and beside == BESIDE else set()
    _close(report.show_left_out(result.failures, unasked), unsaved)


@app.command()
def check(
    method: Annotated[str, typer.Argument(help="Method file or name.", show_default=False)],
    case: Annotated[
        str | None,
        typer.Option(
            help="Case whose rows are used [default: the first that the method can answer].", show_default=False
        ),
    ] = None,
) -> None:
    """Put a method through the checks that any method must pass; exit code 1 where one fails."""
    _there([method])

    from mdbench.showing import show_checks
    from mdbench.testing import check_method

    if not show_checks(check_method(method, case)):
        raise typer.Exit(1)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Method file or name.", show_default=False)],
    b: Annotated[str, typer.Argument(help="Method file or name.", show_default=False)],
    cases: Chosen = None,
    zoo: Zoo = None,
    among: Annotated[
        str,
        typer.Option(
            help="Other methods, by commas: p is corrected too for all pairs among these, as on the board.",
            metavar="NAMES",
            show_default=False,
        ),
    ] = "",
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="Compare by accuracy, in place of what is above chance.")
    ] = False,
    workers: WorkerCount = WORKERS,
    timeout: Timeout = TIMEOUT,
    no_cache: NoCache = False,
) -> None:
    """Compare two methods: the difference of their scores over the same training samples, by Student's distribution."""
    everybody = _with_beside([a, b], among)

    from mdbench.scoring import compare as run
    from mdbench.showing import report

    with progress_bar() as progress:
        comparison = run(
            a,
            b,
            _listed(cases) if cases else None,
            zoo=zoo,
            among=[name for name in everybody if name not in (a, b)],
            accuracy=accuracy,
            workers=workers,
            timeout=timeout,
            cache=not no_cache,
            progress=progress,
        )
    report.show_comparison(comparison)
    _close(comparison.failures)


@app.command()
def explain(
    method: Annotated[str, typer.Argument(help="Method file or name.", show_default=False)],
    case: Annotated[str, typer.Option(help="A case, see `mdbench cases`; with --zoo, one of that zoo's own.")],
    zoo: Zoo = None,
    out: Annotated[Path | None, typer.Option(help="Image to write: .png, .svg or .pdf.", show_default=False)] = None,
    samples: Samples = None,
    shuffles: Annotated[int, typer.Option(min=2, help="Shuffles of each column after each training sample.")] = 10,
) -> None:
    """Say which columns decide: balanced accuracy lost where a column is shuffled among the test rows."""
    _there([method])

    from mdbench.scoring import explain as run
    from mdbench.showing import importance, plots, say, show_explanation

    if out:
        plots.check_format(out)
    with progress_bar("nothing is kept", units="trainings") as progress:
        explanation = run(method, case, zoo=zoo, samples=samples, shuffles=shuffles, progress=progress)
    show_explanation(explanation)
    if out:
        plots.save(importance(explanation), out)
        say(f"wrote {out}")


@app.command()
def prescribe(
    methods: Methods,
    cases: MovesChosen = None,
    zoo: Zoo = None,
    beside: Beside = "md_tree,validation_tree,hyperparameter_tree",
    knob: Annotated[
        str | None,
        typer.Option(
            help="Which knob to turn where several make the same move [default: the first that the zoo names].",
            show_default=False,
        ),
    ] = None,
    workers: WorkerCount = WORKERS,
    timeout: Timeout = TIMEOUT,
    no_cache: NoCache = False,
) -> None:
    """Turn diagnoses into one move on the grid and report the test accuracy gained."""
    everybody = _with_beside(methods, beside)

    from mdbench.scoring import prescribe as run
    from mdbench.showing import report

    with progress_bar() as progress:
        found = run(
            everybody,
            _listed(cases) if cases else None,
            zoo=zoo,
            knob=knob,
            workers=workers,
            timeout=timeout,
            cache=not no_cache,
            strict=True,
            progress=progress,
        )
    asked = ", ".join(_listed(cases)) if cases else f"all of {zoo}" if zoo else "core-moves"
    report.say(f"{len(found.cases)} case{'s' * (len(found.cases) != 1)}: {asked}\n")
    report.show_prescriptions(found, own=[Path(method).stem for method in methods])
    _close(found.failures)


@app.command()
def tabulate(
    methods: Annotated[
        list[str] | None,
        typer.Argument(help="Method files or names [default: all of `mdbench methods`].", show_default=False),
    ] = None,
    cases: Annotated[
        list[str] | None,
        typer.Option(
            "--cases",
            help="The parts of the document, as `mdbench cases` lists them, by commas "
            "[default: all on the zoos of this package, paper, and from these zoos to the published one].",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Document to write, .md; its figure stands beside it.")] = Path(
        "results.md"
    ),
    samples: Samples = None,
    workers: WorkerCount = CORES,
    timeout: Timeout = TIMEOUT,
    no_cache: NoCache = False,
) -> None:
    """Write the scores of all methods on all cases as Markdown, with intervals and a figure."""
    from mdbench.showing import say
    from mdbench.showing import tabulate as run

    with progress_bar() as progress:
        written = run(
            _there(methods) if methods else None,
            _listed(cases) if cases else None,
            out,
            samples=samples,
            command=shlex.join(["mdbench", *sys.argv[1:]]),
            workers=workers,
            timeout=timeout,
            cache=not no_cache,
            strict=bool(methods),
            progress=progress,
        )
    for path in written.paths:
        say(f"wrote {path}")
    # Cases that nobody asked for by name need not have their zoos here; the document says so.
    _close([failure for failure in written.result.failures if cases or failure.method])


@importers.command("modeldiagnosis")
def import_modeldiagnosis(clone: Clone) -> None:
    """Import the two published tables of Zhou et al. (ICML 2024)."""
    from mdbench.paths import zoo_home
    from mdbench.showing import say
    from mdbench.sources import read_clone

    for zoo in read_clone(clone):  # both are read and checked before either is written
        folder = zoo_home() / zoo.name
        zoo.save(folder)
        say(f"{zoo.name}: {len(zoo.configurations):,} configurations → {folder}")


@plots.command("budget")
def plot_budget(
    methods: Annotated[list[str] | None, typer.Argument(help="Method files or names.", show_default=False)] = None,
    cases: Cases = ["mnist1d-cnn/*"],
    out: Annotated[Path, typer.Option(help="Image to write: .png, .svg or .pdf.")] = Path("budget.png"),
    beside: Beside = "md_tree,validation_tree,hyperparameter_tree",
    workers: WorkerCount = WORKERS,
    timeout: Timeout = TIMEOUT,
    no_cache: NoCache = False,
) -> None:
    """Draw accuracy against training budget, one panel a sweep."""
    everybody = _with_beside(methods or [], beside)

    from mdbench.scoring import evaluate as run
    from mdbench.showing import plots as draw
    from mdbench.showing import say

    draw.check_format(out)
    with progress_bar() as progress:
        result = run(
            everybody,
            _listed(cases),
            workers=workers,
            timeout=timeout,
            cache=not no_cache,
            strict=True,
            progress=progress,
        )
    if result.scores:
        draw.save(draw.accuracy_against_budget(result), out)
        say(f"wrote {out}")
    _close(result.failures)


@plots.command("phase")
def plot_phase(
    column: Annotated[str, typer.Argument(help="A column, see `mdbench columns`.", show_default=False)],
    zoo: Annotated[str, typer.Option(help="Name or folder of a zoo.")] = "mnist1d-cnn",
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="Levels of other knobs, by commas: label_noise=10.", metavar="KNOB=VALUE", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Image to write: .png, .svg or .pdf [default: COLUMN.png]", show_default=False)
    ] = None,
) -> None:
    """Draw a column over width × batch size, one panel for each of a few data amounts and levels of one more knob."""
    from mdbench.showing import plots as draw
    from mdbench.showing import say
    from mdbench.tables import load_zoo

    out = out or Path(f"{column}.png")
    draw.check_format(out)
    loaded = load_zoo(zoo)
    draw.save(draw.phase(loaded, column, draw.levels_at(loaded, _listed(at or []))), out)
    say(f"wrote {out}")


@app.command()
def methods() -> None:
    """List the methods that are known by name."""
    from mdbench.showing import report

    report.show_methods()


@app.command()
def cases(
    pattern: Annotated[
        str, typer.Argument(help="A selection, a task, a sweep, a case, a pattern with *, or all.")
    ] = "all",
) -> None:
    """List the cases and the selections of them."""
    from mdbench.cases import load_cases
    from mdbench.showing import report

    report.show_cases(load_cases(_listed([pattern])))


@app.command()
def columns() -> None:
    """List the columns of a zoo table: unit, family, who may see them, what they need, and meaning."""
    from mdbench.showing import report

    report.show_columns()


def _listed(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _with_beside(methods: Sequence[str], beside: str = "") -> list[str]:
    """Return the methods asked for and those to show beside them, each once, before any is asked."""
    everybody = list(dict.fromkeys([*methods, *_listed([beside])]))
    if not everybody:
        raise MdbenchError("no method given")
    return _there(everybody)


def _there(methods: Sequence[str]) -> list[str]:
    """Return the methods, refused where one of them does not exist."""
    from mdbench.methods import find_method

    for method in methods:
        find_method(method)
    return list(methods)


def _own(asked: Sequence[str], found: "Sequence[object]") -> list[str]:
    files = {Path(name).name for name in asked} | {f"{name}.py" for name in asked}
    return [method.name for method in found if method.file in files]  # type: ignore[attr-defined]


@contextmanager
def progress_bar(
    stopped: str = "answers given so far are kept, and the same command goes on from there",
    doing: str = "asking",
    units: str = "answers",
) -> Iterator["Progress"]:
    """Show a progress bar on a terminal's stderr; Ctrl-C ends the command with exit code 130, saying what is left then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(units),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    try:
        with bar:
            task = bar.add_task("", total=None)
            yield lambda done, wanted: bar.update(task, completed=done, total=wanted)
    except KeyboardInterrupt:
        typer.echo(f"stopped; {stopped}", err=True)
        raise typer.Exit(130) from None


def _close(failures: "Sequence[Failure]", unsaved: MdbenchError | None = None) -> None:
    """Say what failed, and why nothing was written; exit with code 2 where something did."""
    if failures:
        from mdbench.showing import show_failures

        show_failures(failures)
    if unsaved:
        raise unsaved
    if failures:
        raise typer.Exit(2)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Say what methods are warned of as other messages are said, without a line of source."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, MethodWarning):
            typer.echo(f"warning: {message}", err=True)
        else:
            before(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def main() -> None:
    """Run the command line; errors in what was given end it with one or two lines and exit code 2.

    What a method's file raised is shown with its own lines.
    """
    try:
        with _warnings_in_a_line():
            app()
    except MdbenchError as error:
        typer.echo(f"error: {error}", err=True)
        for line in getattr(error, "traceback", "").splitlines():
            typer.echo(f"    {line}", err=True)
        sys.exit(2)
    except PermissionError as error:
        typer.echo(
            f"error: {error.filename or error}: permission denied; MDBENCH_HOME names another folder of zoos and caches",
            err=True,
        )
        sys.exit(2)
