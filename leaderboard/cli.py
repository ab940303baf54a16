"""``mdbench submit`` and ``mdbench leaderboard``. Everything heavy is imported by the command that needs it."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from leaderboard.paths import ENTRIES
from mdbench.extras import needs
from mdbench.methods import CORES, TIMEOUT

app = typer.Typer(
    no_args_is_help=True,
    help="Verify submissions, seal zoos, draw the board.",
    add_completion=False,
    rich_markup_mode=None,
)
submit = typer.Typer(add_completion=False, rich_markup_mode=None)

Entries = Annotated[Path, typer.Option(help="Folder of the entries and their ledger.")]
NoSandbox = Annotated[
    bool, typer.Option("--no-sandbox", help="Run methods without isolation: their code can do what you can do.")
]
WorkerCount = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds a method may take for one case.")]


@submit.command()
def submit_method(
    method: Annotated[str, typer.Argument(help="The method's file, or its name.", show_default=False)],
    name: Annotated[str, typer.Option(help="What the board calls it.", show_default=False)],
    authors: Annotated[list[str], typer.Option(help="Who made it; several by commas.", show_default=False)],
    paper: Annotated[str | None, typer.Option(help="Address of its paper, https://…", show_default=False)] = None,
    requirements: Annotated[
        Path | None, typer.Option(help="requirements.txt, where it needs more than mdbench does.", show_default=False)
    ] = None,
    supersedes: Annotated[
        str | None, typer.Option(help="Entry of yours that this one takes the place of.", show_default=False)
    ] = None,
    selections: Annotated[
        str | None,
        typer.Option(
            help="By commas: core, paper, bundled [default: core, and paper where imported].", show_default=False
        ),
    ] = None,
    sealed: Annotated[
        list[Path] | None,
        typer.Option(
            help="Public part of a sealed zoo to answer too [default: of all in leaderboard/sealed].",
            show_default=False,
        ),
    ] = None,
    no_sealed: Annotated[bool, typer.Option("--no-sealed", help="Answer no sealed zoo.")] = False,
    entries: Entries = ENTRIES,
    pr: Annotated[
        str | None,
        typer.Option(
            help="Open the entry as a pull request on the Hugging Face Hub.", metavar="ORG/REPO", show_default=False
        ),
    ] = None,
    workers: WorkerCount = CORES,
    timeout: Timeout = TIMEOUT,
    no_sandbox: NoSandbox = False,
) -> None:
    """Answer the cases of the board and write an entry for it."""
    with needs("leaderboard"):
        from leaderboard.submitting import submission
        from leaderboard.verifying import LEDGER, Ledger
    if sealed and no_sealed:
        raise typer.BadParameter("give --sealed or --no-sealed, not both")
    submission.command(
        method,
        name=name,
        authors=authors,
        paper=paper,
        requirements=requirements,
        supersedes=supersedes,
        selections=selections,
        sealed=[] if no_sealed else sealed,
        entries=entries,
        pr=pr,
        workers=workers,
        timeout=timeout,
        sandbox=not no_sandbox,
        gone=Ledger.read(entries / LEDGER).gone if entries.is_dir() else (),
    )


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Entries: names or folders.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All entries.")] = False,
    entries: Entries = ENTRIES,
    no_rerun: Annotated[bool, typer.Option("--no-rerun", help="Check, but do not run the method again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing into the ledger.")] = False,
    sealed: Annotated[
        Path | None, typer.Option(help="Labels of a sealed zoo: score entries on it.", show_default=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Key of these labels.", show_default=False)] = None,
    allow_supersede: Annotated[
        list[str] | None,
        typer.Option(help="Entry that may take the place it asks for: its authors submitted it.", show_default=False),
    ] = None,
    workers: WorkerCount = CORES,
    timeout: Timeout = TIMEOUT,
    no_sandbox: NoSandbox = False,
    secret: Annotated[
        str | None,
        typer.Option(help="Secret of an earlier verification, to repeat it; with --dry-run.", show_default=False),
    ] = None,
) -> None:
    """Check entries, run their methods again, and record the verdicts."""
    with needs("leaderboard"):
        from leaderboard.verifying import maintenance
    maintenance.verify(
        names or [],
        every=every,
        entries=entries,
        rerun=not no_rerun,
        recorded=not dry_run,
        sealed=sealed,
        key=key,
        workers=workers,
        timeout=timeout,
        sandbox=not no_sandbox,
        secret=secret,
        allowed=allow_supersede or [],
    )


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The entry.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why; the board says so.", show_default=False)],
    entries: Entries = ENTRIES,
) -> None:
    """Take an entry off the board. Its files and its history are kept."""
    with needs("leaderboard"):
        from leaderboard.verifying import maintenance
    maintenance.remove(name, reason, entries)


@app.command()
def redate(
    reason: Annotated[str, typer.Option(help="How that came; the board says so.", show_default=False)],
    entries: Entries = ENTRIES,
) -> None:
    """Record that lines at the ledger's end were dated in the future by a wrong clock, and count as of now."""
    with needs("leaderboard"):
        from leaderboard.verifying import maintenance
    maintenance.redate(reason, entries)


@app.command()
def rescore(
    reason: Annotated[str, typer.Option(help="What has changed in the data; the board says so.", show_default=False)],
    entries: Entries = ENTRIES,
) -> None:
    """Score every entry on the data as they are now, and record what has changed."""
    with needs("leaderboard"):
        from leaderboard.verifying import maintenance
    maintenance.rescore(reason, entries)


@app.command()
def seal(
    zoo: Annotated[str, typer.Argument(help="Name or folder of a zoo that nobody has seen.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write: public/, labels, key.", show_default=False)],
    name: Annotated[str, typer.Option(help="What the board calls it.", show_default=False)],
    train: Annotated[str, typer.Option(help="Zoo whose labels may be learned from.")] = "mnist1d-cnn",
) -> None:
    """Split a zoo into a public part without labels, and its labels under lock and key."""
    with needs("leaderboard"):
        from leaderboard.sealing import seal as run
    run.command(zoo, out=out, name=name, train=train)


@app.command("score-sealed")
def score_sealed(
    labels: Annotated[Path, typer.Option(help="Labels of a sealed zoo.", show_default=False)],
    key: Annotated[Path, typer.Option(help="Key of these labels.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write lines for the ledger to.", show_default=False)],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Entries [default: all that have no score on these labels].", show_default=False),
    ] = None,
    public: Annotated[
        Path | None, typer.Option(help="Its public part [default: beside the labels].", show_default=False)
    ] = None,
    entries: Entries = ENTRIES,
    workers: WorkerCount = CORES,
    timeout: Timeout = TIMEOUT,
    no_sandbox: NoSandbox = False,
) -> None:
    """Score entries on a sealed zoo where its labels are; nothing here is changed, `append` takes the lines elsewhere."""
    with needs("leaderboard"):
        from leaderboard.verifying import maintenance
    maintenance.score_elsewhere(
        names or [],
        labels=labels,
        key=key,
        public=public,
        out=out,
        entries=entries,
        workers=workers,
        timeout=timeout,
        sandbox=not no_sandbox,
    )


@app.command()
def append(
    lines: Annotated[Path, typer.Argument(help="Lines that `score-sealed` wrote.", show_default=False)],
    entries: Entries = ENTRIES,
) -> None:
    """Append scores on a sealed zoo, made where its labels are, to the ledger; refused where they do not continue it."""
    with needs("leaderboard"):
        from leaderboard.verifying import maintenance
    maintenance.append(lines, entries)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder to write the pages to.")] = Path("site"),
    as_of: Annotated[datetime | None, typer.Option(help="The board as it was then (UTC).", show_default=False)] = None,
    entries: Entries = ENTRIES,
) -> None:
    """Draw the board: static pages, leaderboard.json and a Markdown table."""
    with needs("leaderboard"):
        from leaderboard.site import site
    site.command(out=out, as_of=as_of, entries=entries)


@app.command()
def serve(
    entries: Entries = ENTRIES,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
) -> None:
    """Draw the board and show it on this machine."""
    with needs("leaderboard"):
        from leaderboard.site import serve as run
    run.command(entries=entries, port=port)
