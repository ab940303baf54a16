"""Scores on a sealed zoo, made where its labels are, and appended to the ledger where the board is.

Whoever holds the key need not hold the board: what is handed from the one to the other are lines of the ledger, which
continue it as it was in the clone where they were made.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

import mdbench
from leaderboard.entry import Entry, Refused, plain_json, read_entry
from leaderboard.paths import sealed_home
from leaderboard.sealing import Part, Sealed, SealedScore, sealed_zoos
from leaderboard.verifying.ledger import SLACK, Event, Ledger, append_lines, continued, line_of
from leaderboard.verifying.queries import asked
from mdbench import files
from mdbench.errors import MdbenchError, reason
from mdbench.showing import say

_LARGEST: Final = 2**22  # bytes


def tell_queries(sealed: Sealed, history: Ledger, known: Mapping[str, Entry]) -> None:
    """Print how often a sealed zoo was asked before, in all and by author: every score says something about its labels."""
    in_all, by_author = asked(history.events, known, sealed.labels_sha256)
    say(f"{sealed.name} was asked {in_all} times before" + (", by:" if by_author else ""))
    for author, times in by_author.most_common():
        say(f"  {author}: {times}")


def event_of(slug: str, score: SealedScore, history: Ledger) -> dict[str, Any] | None:
    """Return what the ledger is to say of a score; None where it says it already, or does not know the entry.

    Parameters
    ----------
    slug : the entry.
    score, history : on a sealed zoo; what happened before.
    """
    state = history.state(slug)
    if state.accepted_on is None or score in [event.sealed for event in state.history]:
        return None
    last = state.history[-1]
    return {
        "kind": "sealed",
        "entry": slug,
        "entry_sha256": last.entry_sha256,
        "reason": f"scored on {score.zoo}",
        "mdbench": mdbench.__version__,
        "dataset": last.dataset,
        "sealed": score,
    }


def waiting(part: Part, known: Mapping[str, Entry], history: Ledger) -> list[str]:
    """Return the entries on the board that answered a sealed zoo and have no score on its labels yet."""
    name, labels = part.sealed.name, part.sealed.labels_sha256
    return [
        slug
        for slug, entry in known.items()
        if name in entry.sealed
        and history.state(slug).status == "on board"
        and all(event.sealed.labels_sha256 != labels for event in history.state(slug).history if event.sealed)
    ]


def write_lines(out: Path, said: Sequence[Mapping[str, Any]], history: Ledger) -> tuple[Event, ...]:
    """Write the lines that would come after those of a ledger into a file of their own, whole or not at all.

    Parameters
    ----------
    out : the file, which is not there yet.
    said : of `event_of`.
    history : the ledger.

    Raises
    ------
    MdbenchError
        The file is there, or cannot be written.
    """
    check_free(out)
    events, lines = continued(history, said, datetime.now(UTC))
    try:
        files.replace({out: lines})
    except OSError as error:
        raise MdbenchError(f"{out} cannot be written: {reason(error)}") from error
    return events


def check_free(out: Path) -> None:
    """Make sure that nothing is where lines are to be written: what was handed on once is not written over."""
    if out.exists() or out.is_symlink():
        raise MdbenchError(f"--out: {out} is there, and is not written over; name another file, or move it away")


def append(path: Path, lines: Path) -> tuple[Event, ...]:
    """Append scores that were made elsewhere to a ledger, all of them or none.

    Parameters
    ----------
    path : the ledger, beside the entries.
    lines : of `write_lines`.

    Returns
    -------
    What was appended.

    Raises
    ------
    MdbenchError
        They are no lines of a ledger, or of something else than scores on sealed zoos; they do not continue the ledger, are
        there already, are dated in the future, or are not of an entry and of labels that are here. Nothing is appended then.
    """
    try:
        with lines.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise MdbenchError(f"{lines} cannot be read: {reason(error)}") from error
    events = _read(lines, content)
    zoos = sealed_zoos(sealed_home(path.parent))
    for event in events:
        _check_score(event, path.parent, zoos)

    def check(ledger: Ledger, now: datetime) -> tuple[Event, ...]:
        _check_chain(lines, content, events, ledger)
        _check_new(events, ledger.events)
        _check_dates(events, ledger.events, now)
        try:
            Ledger((*ledger.events, *events)).state(events[0].entry)
        except ValueError as error:
            raise MdbenchError(f"{lines}: this cannot be recorded: {reason(error)}") from error
        return events

    return append_lines(path, content, check)


def _read(path: Path, content: bytes) -> tuple[Event, ...]:
    """Return what lines say, if they are scores on sealed zoos, each as the ledger writes it."""
    whole, ended, torn = content.rpartition(b"\n")
    if not ended or torn or len(content) > _LARGEST:
        raise MdbenchError(f"{path} holds no whole lines of a ledger: make it anew: mdbench leaderboard score-sealed")
    found = []
    for number, line in enumerate(whole.split(b"\n"), 1):
        try:
            event = Event.model_validate(plain_json.read(line))
            if event.kind != "sealed":
                raise ValueError(f"it says {event.kind!r}, and what is made elsewhere are scores on sealed zoos")
            if line_of(event) != line + b"\n":
                raise ValueError("a ledger writes it in other words")
        except (ValidationError, ValueError) as error:
            raise MdbenchError(f"{path}, line {number}: {reason(error)}") from error
        found.append(event)
    return tuple(found)


def _check_score(event: Event, entries: Path, zoos: Mapping[str, Part]) -> None:
    """Make sure that an entry answered the sealed zoo that it is scored on, and that these are the labels of that zoo."""
    assert event.sealed
    name, said = event.sealed.zoo, f"{event.entry} cannot have a score on {event.sealed.zoo}"
    if name not in zoos:
        raise MdbenchError(
            f"{said}: there is no {sealed_home(entries) / name / 'public'}; without its public part nobody can answer it"
        )
    if zoos[name].sealed.labels_sha256 != event.sealed.labels_sha256:
        raise MdbenchError(
            f"{said}: it is of other labels ({event.sealed.labels_sha256[:12]}…) than its public part was published with "
            f"({zoos[name].sealed.labels_sha256[:12]}…)"
        )
    try:
        entry = read_entry(entries / event.entry)
    except Refused as refused:
        raise MdbenchError(f"{said}: {refused}") from refused
    if name not in entry.sealed:
        raise MdbenchError(f"{said}: it has no predictions on it")


def _check_chain(path: Path, content: bytes, events: Sequence[Event], ledger: Ledger) -> None:
    """Make sure that lines continue a ledger, and each other."""
    first, head = events[0], ledger.head
    lines = [line + b"\n" for line in content.split(b"\n")[:-1]]
    there = [*(event.previous for event in ledger.events), head.sha256]
    for event, line in zip(events, lines, strict=True):
        if event.number < len(there) and there[event.number] == head.after(line).sha256:
            raise MdbenchError(f"{path}: line {event.number} of the ledger says this already; nothing was appended")
    if (first.number, first.previous) != (head.number + 1, head.sha256):
        raise MdbenchError(
            f"{path} continues a ledger whose line {first.number - 1} is {first.previous[:12]}…, and this one ends with line "
            f"{head.number}, {head.sha256[:12]}…; bring the ledger that is here to where the labels are, and score there "
            "again: mdbench leaderboard score-sealed"
        )
    for event, line in zip(events, lines, strict=True):
        if (event.number, event.previous) != (head.number + 1, head.sha256):
            raise MdbenchError(f"{path}: line {event.number} does not continue the one before it")
        head = head.after(line)


def _check_new(events: Iterable[Event], before: Iterable[Event]) -> None:
    """Make sure that no score is recorded twice: every line is a query that is counted."""
    scores = {(event.entry, event.sealed.model_dump_json()): event.number for event in before if event.sealed}
    for event in events:
        assert event.sealed
        key = (event.entry, event.sealed.model_dump_json())
        if key in scores:
            raise MdbenchError(f"{event.entry} has this score on {event.sealed.zoo} already, by line {scores[key]}")
        scores[key] = event.number
    twice = Counter((event.entry, event.sealed.labels_sha256) for event in events if event.sealed).most_common(1)
    if twice and twice[0][1] > 1:
        raise MdbenchError(f"{twice[0][0][0]} has two scores on the same labels")


def _check_dates(events: Sequence[Event], before: Sequence[Event], now: datetime) -> None:
    """Make sure that dates do not go back, and that none is to come."""
    last = before[-1].date if before else events[0].date
    for event in events:
        if event.date < last:
            raise MdbenchError(f"line {event.number} is of an earlier date than the one before it")
        if event.date - now > SLACK:
            raise MdbenchError(
                f"line {event.number} is dated in the future: {event.date:%Y-%m-%d %H:%M:%S} UTC, and this machine's clock "
                f"says {now:%Y-%m-%d %H:%M:%S}; set the clock right, here or where the labels are"
            )
        last = event.date
