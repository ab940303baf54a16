"""What maintainers do with entries: verify, score on sealed zoos, here or elsewhere, remove, score anew."""

import os
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import mdbench
from leaderboard.entry import METHOD, Checked, check, check_text, read_entries, read_entry
from leaderboard.sealing import KEY, PUBLIC, Part, SealedScore, unlock
from leaderboard.verifying import ledger
from leaderboard.verifying.ledger import LEDGER, Ledger, State
from leaderboard.verifying.relay import append as append_made
from leaderboard.verifying.relay import check_free, event_of, tell_queries, waiting, write_lines
from leaderboard.verifying.superseding import announced, displaced
from leaderboard.verifying.verification import Exams, Verified, record, score_sealed, scored, stays
from leaderboard.verifying.verification import verify as verify_one
from mdbench.cli import progress_bar
from mdbench.errors import MdbenchError
from mdbench.methods import Sandbox, Workers
from mdbench.showing import say

#: Signs of a reason that a maintainer gives.
_LONGEST_REASON: Final = 500
_COLOURS = {"verified": "green", "reproduced within noise": "cyan", "self-reported": "yellow", "rejected": "red"}


@dataclass(frozen=True)
class Unverified:
    """An entry of which nothing can be said on this machine, and why."""

    slug: str
    reason: str


def verify(
    names: Sequence[str],
    *,
    every: bool,
    entries: Path,
    rerun: bool,
    recorded: bool,
    sealed: Path | None,
    key: Path | None,
    workers: int,
    timeout: float,
    sandbox: bool,
    secret: str | None = None,
    allowed: Collection[str] = (),
) -> None:
    """Verify entries, show the verdicts, and write them into the ledger; exit with code 2 where one is rejected.

    Parameters
    ----------
    names, every : names or folders of entries, or all that are not superseded or removed.
    entries : folder of the entries and their ledger.
    rerun : whether methods are run again.
    recorded : whether the ledger is written.
    sealed, key : labels of a sealed zoo and their key, to score the entries on it too.
    workers, timeout, sandbox : see `mdbench.scoring.evaluation.Asking`.
    secret : of an earlier verification, which is repeated: nothing is recorded then, for it could be foreseen.
    allowed : entries that may take another's place.

    Raises
    ------
    MdbenchError
        There is no such entry, no sandbox, or the ledger cannot be read or written.
    """
    path = entries / LEDGER
    if secret is not None and (recorded or not re.fullmatch(r"[0-9a-f]{32}", secret)):
        raise MdbenchError(
            "--secret: it has 32 hexadecimal digits, as the ledger says them"
            if not recorded
            else "--secret repeats what was recorded, and is known: say --dry-run"
        )
    lock = (
        Lock.of(sealed, key) if sealed else None
    )  # first: nobody wants to wait for verdicts, and then hear of another key
    folders = _chosen(names, entries, every=every)
    strange = [folder for folder in folders if folder.resolve().parent != entries.resolve()]
    if recorded and strange:
        raise MdbenchError(
            f"{strange[0]} is not in {entries}, whose ledger would speak of it; say --dry-run, or "
            f"--entries {strange[0].parent}"
        )
    known = read_entries(entries)
    ready: dict[Path, Verified | Unverified] = {}
    kept: list[str] = []
    stopped = "verdicts so far are in the ledger" if recorded else "nothing was written"
    with progress_bar(stopped, doing="verifying", units="entries") as progress:
        progress(0, len(folders))
        how: dict[str, Any] = {"workers": workers, "timeout": timeout, "sandbox": sandbox}
        for folder, one in verified(folders, Ledger.read(path), rerun=rerun, secret=secret, **how):
            if recorded and isinstance(one, Verified):
                state = Ledger.read(path).state(one.slug)
                if state.verdict and stays(one, state):
                    kept.append(f"{one.slug} was not run, and stays {state.verdict.outcome}; nothing was recorded")
                try:
                    record(path, one, known, allowed)
                except MdbenchError as error:
                    one = Unverified(one.slug, str(error))  # noqa: PLW2901 - it is that, then
            ready[folder] = one
            progress(len(ready), len(folders))
    found = [ready[folder] for folder in folders]
    _show(found)
    for line in kept:
        say(line)
    for line in announced([one.slug for one in found], known, Ledger.read(path)):
        say(f"look: {line}")
    failed = any(isinstance(one, Unverified) or one.verdict.outcome == "rejected" for one in found)
    if lock:
        tell_queries(lock.part.sealed, Ledger.read(path), known)
        for one in found:
            # Every score says something about the labels: there is none for what is rejected.
            if not isinstance(one, Verified) or not one.checked or one.verdict.outcome == "rejected":
                continue
            if lock.part.sealed.name in one.checked.sealed or not every:
                score = lock.score(one.checked, **how)
                said = event_of(one.slug, score, Ledger.read(path)) if score and recorded else None
                if said:
                    ledger.append(path, **said)
                failed |= score is None
    if failed:
        raise typer.Exit(2)


def score_elsewhere(
    names: Sequence[str],
    *,
    labels: Path,
    key: Path,
    public: Path | None,
    out: Path,
    entries: Path,
    workers: int,
    timeout: float,
    sandbox: bool,
) -> None:
    """Score entries on a sealed zoo where its labels are, and write the lines that the ledger of the board is to have of it.

    Exit with code 2 where an entry could not be scored.

    Parameters
    ----------
    names : the entries; none for all on the board that answered the zoo and have no score on its labels.
    labels, key, public : of the sealed zoo; the public part is beside the labels where it is not given.
    out : file of the lines, see `leaderboard.verifying.relay.append`.
    entries : folder of the entries and their ledger, which are only read.
    workers, timeout, sandbox : see `verify`.

    Raises
    ------
    MdbenchError
        There is no such entry, or it is not on the board; labels, key and public part do not belong together; `out` is there.
    """
    check_free(out)
    lock, known, history = Lock.of(labels, key, public), read_entries(entries), Ledger.read(entries / LEDGER)
    sealed = lock.part.sealed
    chosen = list(dict.fromkeys(names)) or waiting(lock.part, known, history)
    for slug in chosen:
        if history.state(slug).status != "on board":
            raise MdbenchError(f"{slug} is not on the board of {entries}, and what is not there is not scored")
    tell_queries(sealed, history, known)
    how: dict[str, Any] = {"workers": workers, "timeout": timeout, "sandbox": sandbox}
    folders = [entries / slug for slug in chosen]
    found, said = dict(verified(folders, history, rerun=False, **how)), []
    failed = False
    for one in (found[folder] for folder in folders):
        if not isinstance(one, Verified) or not one.checked:
            typer.echo(f"error: {one.reason if isinstance(one, Unverified) else one.verdict.reason}", err=True)
            failed = True
            continue
        score = lock.score(one.checked, **how)
        failed |= score is None
        event = event_of(one.slug, score, history) if score else None
        if event:
            said.append(event)
        elif score:
            say(f"{one.slug}: the ledger says so already")
    if said:
        events = write_lines(out, said, history)
        say(f"wrote {out}: lines {events[0].number} to {events[-1].number} of the ledger")
        say(f"next, where the board is: mdbench leaderboard append {shlex.quote(out.name)}")
    else:
        say(f"nothing to say: no line was written to {out}")
    if failed:
        raise typer.Exit(2)


def append(lines: Path, entries: Path) -> None:
    """Append lines that `score_elsewhere` wrote to the ledger, and say what they are.

    Raises
    ------
    MdbenchError
        As `leaderboard.verifying.relay.append`.
    """
    for event in append_made(entries / LEDGER, lines):
        assert event.sealed
        score = event.sealed
        say(
            f"line {event.number}: {event.entry} on {score.zoo}: {score.above_chance:.1f} % above chance "
            f"[{score.low:.1f}, {score.high:.1f}], {score.accuracy:.1f} % right"
        )


@dataclass(frozen=True)
class Lock:
    """The labels of a sealed zoo, their key, and the public part that they belong to."""

    labels: Path
    key: Path
    part: Part

    @classmethod
    def of(cls, labels: Path, key: Path | None, public: Path | None = None) -> "Lock":
        """Find key and public part, which are beside the labels where they are not given, and open the labels.

        Raises
        ------
        MdbenchError
            One cannot be read, or they do not belong together.
        """
        part, key = Part.read(public or labels.parent / PUBLIC), key or labels.parent / KEY
        unlock(labels, key, part)
        return cls(labels, key, part)

    def score(self, found: Checked, **how: Any) -> SealedScore | None:
        """Score an entry, and say what came of it; None where it could not be scored."""
        try:
            score = score_sealed(found, self.labels, self.key, self.part.folder, **how)
        except MdbenchError as error:
            typer.echo(f"error: {error}", err=True)
            return None
        worth = f"{score.above_chance:.1f} % above chance [{score.low:.1f}, {score.high:.1f}]"
        say(f"{found.entry.slug} on {score.zoo}: {worth}, {score.accuracy:.1f} % right")
        return score


def verified(
    folders: Sequence[Path],
    history: Ledger,
    *,
    rerun: bool,
    workers: int,
    timeout: float,
    sandbox: bool,
    exams: Exams | None = None,
    secret: str | None = None,
) -> Iterator[tuple[Path, Verified | Unverified]]:
    """Verify entries, several at a time; folders come with what was found, each as it is ready.

    Parameters
    ----------
    folders : the entries; the others are those beside each.
    history : what happened before.
    rerun, workers, timeout, sandbox, secret : see `verify`.
    exams : what they answer; None for the cases of this mdbench.

    Raises
    ------
    MdbenchError
        There is no sandbox.
    """
    posed = exams or Exams()
    known = {home: read_entries(home) for home in {folder.parent for folder in folders}}
    several = max(1, min(workers, len(folders)) if sandbox else 1)
    with ExitStack() as stack:
        # The threads are waited for last: what they wait for has ended by then, after Ctrl-C too.
        threads = ThreadPoolExecutor(several)
        stack.callback(threads.shutdown, cancel_futures=True)
        runner: Sandbox | Workers | None = None
        if rerun:
            files = [file for folder in folders if (file := folder / METHOD).is_file() and not file.is_symlink()]
            runner = Sandbox(max(workers, 1), timeout, files=files) if sandbox else Workers(max(workers, 1), timeout)
            stack.enter_context(runner)

        def of(folder: Path) -> Verified | Unverified:
            try:
                return verify_one(folder, known[folder.parent], history, posed, runner, secret)
            except MdbenchError as error:
                return Unverified(folder.name, str(error))
            except Exception as error:  # noqa: BLE001 - whatever one entry comes upon, the others are verified
                return Unverified(folder.name, f"a fault of mdbench: {type(error).__name__}: {error}")

        # The slow ones first, so that nobody waits for one of them at the end.
        said = {
            folder: known[folder.parent][folder.name].timings
            for folder in folders
            if folder.name in known[folder.parent]
        }
        slow = sorted(folders, key=lambda folder: -said[folder].fit_seconds if folder in said else 0)
        waited = {threads.submit(of, folder): folder for folder in slow}
        yield from ((waited[future], future.result()) for future in as_completed(waited))


def remove(name: str, reason: str, entries: Path) -> None:
    """Take an entry off the board; its files and its history are kept.

    Raises
    ------
    MdbenchError
        It is not on the board, or the ledger cannot be written.
    """
    path, reason = entries / LEDGER, _checked(reason)
    state = Ledger.read(path).state(name)
    if state.accepted_on is None:
        raise MdbenchError(f"{name} was never on the board of {entries}")
    last, back = state.history[-1], displaced(Ledger.read(path), name)
    ledger.append(
        path,
        kind="removed",
        entry=name,
        entry_sha256=last.entry_sha256,
        reason=reason,
        mdbench=mdbench.__version__,
        dataset=last.dataset,
        restores=back,
    )
    say(f"{name} is off the board; its files and its history are kept")
    if back:
        say(f"{back}, which it had displaced, is back")


def redate(reason: str, entries: Path) -> None:
    """Record that lines at the ledger's end were dated in the future by a wrong clock, and count as of now.

    Raises
    ------
    MdbenchError
        There is no ledger; or as `leaderboard.verifying.ledger.redate`.
    """
    if not (entries / LEDGER).exists():
        raise MdbenchError(f"{entries} has no {LEDGER}: there is nothing to date")
    event = ledger.redate(entries / LEDGER, _checked(reason))
    say(f"lines {event.redates} to {event.number - 1} count as of {event.date:%Y-%m-%d %H:%M:%S} UTC")


def rescore(reason: str, entries: Path) -> None:
    """Score every entry on the data as they are now, and record what has changed.

    Raises
    ------
    MdbenchError
        The ledger cannot be read. An entry that does not answer the cases as they are now has to be submitted anew: it is
        said which, the others are scored, and the exit code is 2.
    """
    path, reason = entries / LEDGER, _checked(reason)
    history, exams = Ledger.read(path), Exams()
    changed, failed = 0, 0
    for slug in sorted({event.entry for event in history.events}):
        state = history.state(slug)
        if state.accepted_on is None or state.status not in ("on board", "rejected"):
            continue
        try:
            changed += _rescore(path, entries / slug, state, exams, reason)
        except MdbenchError as error:
            failed += 1
            typer.echo(f"error: {slug}: {error}", err=True)
    say(f"{changed} entries scored anew" if changed else "nothing has changed")
    if failed:
        raise typer.Exit(2)


def _rescore(path: Path, folder: Path, state: State, exams: Exams, reason: str) -> bool:
    """Score an entry anew, and tell whether anything has changed."""
    exam = exams.of_entry(read_entry(folder), state)
    checked = check(folder, exam, rescored=True)
    scores, dataset = scored(checked.predicted, exam), exam.digest_of(checked.predicted)
    before = next(event for event in reversed(state.history) if event.scores is not None)
    if dataset == before.dataset and scores == before.scores:
        return False
    ledger.append(
        path,
        kind="rescored",
        entry=folder.name,
        entry_sha256=checked.entry_sha256,
        reason=reason,
        mdbench=mdbench.__version__,
        dataset=dataset,
        scores=scores,
    )
    was, now = (float(np.mean(list(said.values()))) for said in (before.scores or {}, scores))
    say(f"{folder.name}: {was:.2f} → {now:.2f}")
    return True


def _checked(reason: str) -> str:
    """Return why something is done, without space at its ends, if it can stand in the ledger, which nobody can change later.

    Raises
    ------
    MdbenchError
        It says nothing, is too long, or not all of it can be seen.
    """
    reason = reason.strip()
    if not reason:
        raise MdbenchError("--reason: say why, for the board will")
    if len(reason) > _LONGEST_REASON:
        raise MdbenchError(
            f"--reason: it has {len(reason):,} signs, and {_LONGEST_REASON} at most can stand on the board"
        )
    try:
        return check_text(reason)
    except ValueError as error:
        raise MdbenchError(f"--reason: {error}") from error


def _chosen(names: Sequence[str], entries: Path, *, every: bool) -> list[Path]:
    """Return the folders of the entries that are meant."""
    if not entries.is_dir():
        raise MdbenchError(f"there is no folder {entries}; --entries says where the entries are")
    if every == bool(names):
        raise MdbenchError("give the names of entries, or --all" if not names else "give names, or --all, not both")
    if every:
        history = Ledger.read(entries / LEDGER)
        folders = [path for path in sorted(entries.glob("[!.]*")) if path.is_dir() or path.is_symlink()]
        return [path for path in folders if history.state(path.name).status not in ("superseded", "removed")]
    if not all(names):
        raise MdbenchError("the name of an entry is empty")
    history = Ledger.read(entries / LEDGER)
    gone = next((name for name in names if history.state(name).status == "removed"), None)
    if gone is not None:
        raise MdbenchError(f"{gone} was removed: {history.state(gone).history[-1].reason}")
    named = [Path(name) if len(Path(name).parts) > 1 else entries / name for name in names]
    folders = list({folder.absolute(): folder for folder in named}.values())  # each once
    absent = next((folder for folder in folders if not os.path.lexists(folder)), None)
    if absent:
        raise MdbenchError(
            f"there is no entry {absent}; in {entries} there are: {', '.join(read_entries(entries)) or 'none'}"
        )
    return folders


def _show(found: Sequence[Verified | Unverified]) -> None:
    """Print the verdicts."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=140)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, how in (("entry", "left"), ("accuracy", "right"), ("cases", "right"), ("verdict", "left"), ("", "left")):
        table.add_column(name, justify=how, overflow="fold")  # type: ignore[arg-type]
    for one in found:
        if isinstance(one, Unverified):
            table.add_row(escape(one.slug), "", "", "[red]not verified[/]", escape(one.reason))
            continue
        scores, outcome = one.scores, one.verdict.outcome
        mean = f"{np.mean(list(scores.values())):.2f}" if scores else ""
        table.add_row(
            escape(one.slug),
            mean,
            str(len(scores) or ""),
            f"[{_COLOURS[outcome]}]{outcome}[/]",
            escape(one.verdict.reason),
        )
    console.print(table if found else "there are no entries")
