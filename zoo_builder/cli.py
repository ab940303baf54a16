"""``mdbench zoo``: the commands that make zoos. Everything heavy is imported by the command that needs it."""

import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdbench.errors import MdbenchError
from mdbench.extras import needs
from mdbench.methods import CORES

if TYPE_CHECKING:
    from zoo_builder.building import OpenExecutor, Progress

app = typer.Typer(
    no_args_is_help=True, help="Make zoos: plan, build, measure, look.", add_completion=False, rich_markup_mode=None
)

Spec = Annotated[Path, typer.Argument(help="The zoo's specification, a TOML file.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="Folder of a build, or its name among mdbench's own.", show_default=False)]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder to build in [default: among mdbench's own zoos, under the zoo's name]", show_default=False
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, or several by commas.")]
WorkerCount = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes [default: one a core, or one a GPU]", show_default=False),
]
Dask = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler whose workers do the work.", metavar="ADDRESS")
]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Run the code that the specification names: architecture, data set, loss."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead, one object a line.")]

_KEPT = "finished units are kept, and the same command goes on from there"


@app.command()
def plan(
    spec: Spec,
    device: Device = "auto",
    workers: WorkerCount = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Say what a zoo will be and cost: networks, steps, parameters, memory, time, disk. Times a few steps of each kind."""
    with needs("zoo"):
        from zoo_builder import report
        from zoo_builder.building import devices, forecast
        from zoo_builder.training import kernels

    chosen = devices(device)
    told = nullcontext() if as_json else kernels.telling()
    with told, report.counted(sys.stderr, "timing a step of each kind of network") as timed:
        found = forecast(spec, chosen[0], workers or _workers(chosen), trust_code=trust_code, timed=timed)
    report.show_forecast(found, as_json=as_json)


@app.command()
def build(
    spec: Spec,
    out: Out = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    dask: Dask = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Train a zoo and label it. Interrupted at any moment, the same command goes on from there."""
    with _kept():
        with needs("zoo"):
            from mdbench.paths import zoo_home
            from zoo_builder import report
            from zoo_builder.building import build as run
            from zoo_builder.specification import read_spec

        folder = out or zoo_home() / read_spec(spec).name
        open_executor, kind = _open(workers, device, dask)
        with _progress(as_json, "training") as progress:
            zoo = run(spec, folder, open_executor, device=kind, trust_code=trust_code, progress=progress)
        report.show_zoo(zoo, folder, as_json=as_json)


@app.command()
def measure(
    folder: Folder,
    families: Annotated[
        str | None,
        typer.Option(help="Families of metrics, by commas [default: all ten]", show_default=False, metavar="NAMES"),
    ] = None,
    workers: WorkerCount = None,
    device: Device = "auto",
    dask: Dask = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Measure the loss landscape around every network of a zoo. Interrupted at any moment, the same command goes on."""
    with _kept():
        with needs("zoo"):
            from zoo_builder import report
            from zoo_builder.building import measure as run

        open_executor, kind = _open(workers, device, dask, "zoo_builder.building.measuring")
        names = [name.strip() for name in families.split(",")] if families is not None else None
        with _progress(as_json, "measuring") as progress:
            zoo = run(
                _home(folder), open_executor, families=names, device=kind, trust_code=trust_code, progress=progress
            )
        report.show_measured(zoo, _home(folder), as_json=as_json)


@app.command("report")
def write(
    folder: Annotated[Path, typer.Argument(help="Name or folder of a zoo.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report [default: report, in the zoo's folder]", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write what a zoo's tables hold: labels, seed noise, missing numbers, metrics. Markdown, with figures."""
    with needs("zoo"):
        from zoo_builder import report
        from zoo_builder.reporting import write_report

    report.show_report(write_report(folder, out), as_json=as_json)


@app.command()
def show(
    folder: Folder,
    config: Annotated[
        str,
        typer.Option(
            help="A configuration, or a network (seed=0), or as many of its knobs, in any order, as only it has.",
            metavar="KNOB=VALUE/…",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the figures [default: DIR/figures/CONFIG]", show_default=False)
    ] = None,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Draw what is around a network: loss surface, ways to the next seed, spectra, basins."""
    with needs("zoo"):
        from zoo_builder import report
        from zoo_builder.reporting import show as run

    report.show_files(run(_home(folder), config, out, trust_code=trust_code), as_json=as_json)


@app.command()
def fetch(
    repo: Annotated[
        str, typer.Option(help="Dataset on the Hugging Face Hub, or a published folder.", metavar="ORG/NAME")
    ],
    out: Annotated[Path, typer.Option(help="Folder that the networks go to.", show_default=False)],
    checkpoint: Annotated[
        str | None,
        typer.Option(help="One network, as the zoo's tables name it [default: all]", show_default=False, metavar="ID"),
    ] = None,
    zoo: Annotated[
        str | None, typer.Option(help="Its zoo, or the only one to fetch [default: every one]", show_default=False)
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit [default: the newest]", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Get the networks of published zoos: all of them, or one. Interrupted at any moment, the same command goes on."""
    with _kept("what has arrived is kept, and the same command goes on from there"):
        with needs("zoo"):
            from zoo_builder import report
            from zoo_builder.publishing import fetch as run

        with report.transfer(sys.stderr, as_json=as_json) as progress:
            path = run(repo, out, zoo=zoo, checkpoint=checkpoint, revision=revision, progress=progress)
        report.show_files([path], as_json=as_json)


@app.command()
def publish(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Names or folders of built zoos.", show_default=False)
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder for the dataset [default: mdbench's own, under ORG/NAME]", show_default=False),
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option(help="Dataset on the Hugging Face Hub to upload it to.", metavar="ORG/NAME", show_default=False),
    ] = None,
    version: Annotated[str, typer.Option(help="Version, x.y.z; on the Hub a tag, which is never moved.")] = "1.0.0",
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    tables_only: Annotated[bool, typer.Option("--tables-only", help="Leave the networks out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write and upload nothing; say what it would be.")] = False,
    trust_code: TrustCode = False,
    as_json: Json = False,
) -> None:
    """Make a Hugging Face dataset of zoos: tables, networks, card. Interrupted, the same command goes on."""
    with _kept("what is written and what has arrived is kept, and the same command goes on from there"):
        with needs("zoo"):
            from mdbench.paths import data_home
            from mdbench.showing import say
            from zoo_builder import report
            from zoo_builder.publishing import NOWHERE, preview, upload
            from zoo_builder.publishing import publish as run

        if to is None and repo is None:
            raise MdbenchError("say where to: --to FOLDER, or --repo ORG/NAME")
        zoos, home = [_home(folder) for folder in folders], to or data_home() / "published" / str(repo)
        what: dict[str, Any] = {
            "version": version,
            "networks": not tables_only,
            "repo": repo or NOWHERE,
            "trust_code": trust_code,
        }
        if dry_run:
            report.show_preview(preview(zoos, home, **what), repo, as_json=as_json)
            return
        with _progress(as_json, "writing networks") as progress:
            written = run(zoos, home, **what, progress=progress)
        report.show_published(home, written, as_json=as_json)
        if repo:
            address = upload(
                home,
                repo,
                tag=f"v{version}",
                message=f"Version {version}",
                private=private,
                say=(lambda _: None) if as_json else say,
            )
            report.show_uploaded(address, as_json=as_json)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """Say how far a build is, and its measuring."""
    with needs("zoo"):
        from zoo_builder import report
        from zoo_builder.building import status as look

    report.show_status(look(_home(folder)), as_json=as_json)


@app.command()
def verify(
    zoos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ZOO]...",
            help="Names or folders of zoos [default: those that come with mdbench]",
            show_default=False,
        ),
    ] = None,
    configurations: Annotated[int, typer.Option(min=1, help="How many are rebuilt, with all their seeds.")] = 20,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the choice [default: drawn, and printed]", show_default=False)
    ] = None,
    families: Annotated[
        str | None,
        typer.Option(
            help="Families of metrics, by commas [default: all that the zoo has]", show_default=False, metavar="NAMES"
        ),
    ] = None,
    workers: WorkerCount = None,
    device: Device = "cpu",
    trust_code: TrustCode = False,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder to leave the rebuilt zoos in [default: a temporary one]", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Rebuild configurations of a zoo, chosen at random, and compare them with its tables. Exit code 1: they differ."""
    with _kept("nothing is left behind" if keep is None else _KEPT):
        with needs("zoo"):
            from mdbench.tables import find_zoo
            from zoo_builder import report
            from zoo_builder.building import shipped_zoos
            from zoo_builder.building import verify as run

        chosen = secrets.randbelow(2**32) if seed is None else seed
        open_executor, kind = _open(workers, device, None, "zoo_builder.building.measuring")
        names = [name.strip() for name in families.split(",")] if families is not None else None
        verdicts = set()
        for folder in map(find_zoo, zoos) if zoos else shipped_zoos():
            report.show_draw(folder, chosen, as_json=as_json)
            found = run(
                folder,
                open_executor,
                seed=chosen,
                configurations=configurations,
                families=names,
                device=kind,
                trust_code=trust_code,
                keep=keep and keep / folder.resolve().name,
                stage=partial(_progress, as_json),
            )
            report.show_verification(found, as_json=as_json)
            verdicts.add(found.comparison.verdict)
    raise typer.Exit(int("differs" in verdicts))


def _workers(devices: list[str]) -> int:
    return CORES if devices == ["cpu"] else len(devices)


def _home(folder: Path) -> Path:
    """Return the folder of a zoo or a build, which may be given as its name, as to `mdbench.tables.find_zoo`."""
    from mdbench.paths import zoo_home
    from mdbench.tables import bundled_zoos, only_one

    if len(folder.parts) != 1 or folder.name.startswith("."):
        return folder
    found = [place for place in (bundled_zoos() / folder, zoo_home() / folder, folder) if place.is_dir()]
    return only_one(str(folder), found) if found else folder


def _open(
    workers: int | None, device: str, dask: str | None, preloaded: str = "zoo_builder.building.work"
) -> tuple["OpenExecutor", str]:
    """Return what opens the workers, which have a module from the start, and the kind of their devices."""
    from zoo_builder.building import executors

    if dask is None:
        chosen = executors.devices(device)
        return executors.local(workers or _workers(chosen), chosen, preloaded), chosen[0].split(":")[0]
    if device not in ("auto", "cpu", "cuda"):
        raise MdbenchError("the workers of a Dask cluster have their own devices: --device cpu (the default) or cuda")
    return executors.dask(dask), device.replace("auto", "cpu")


@contextmanager
def _kept(what: str = _KEPT) -> Iterator[None]:
    """Stand around long work: say what is left of it where Ctrl-C stops it."""
    try:
        yield
    except KeyboardInterrupt:
        # Whoever presses it again is being obeyed already; a second one would only cut the tidying short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from mdbench.methods import end_nursery

        end_nursery()
        typer.echo(f"stopped; {what}", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _progress(as_json: bool, doing: str) -> Iterator["Callable[[Progress], None]"]:
    """Show how far work is: a bar on a terminal, a line a unit as JSON, otherwise nothing."""
    from zoo_builder import report

    if as_json:
        yield report.print_progress
        return
    with report.bar(sys.stderr, doing) as show:
        yield show
