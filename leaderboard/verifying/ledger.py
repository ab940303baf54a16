"""The ledger: everything that happened to entries, one event a line, appended and never changed.

Each line has the digest of the one before it, and `leaderboard.verifying.head` that of the last, in a file of its own.
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from leaderboard.entry import Sha256, Slug, plain_json
from leaderboard.sealing import SealedScore
from leaderboard.verifying.head import NOTHING, Head, head_file, read_head
from leaderboard.verifying.run import Run
from mdbench import files
from mdbench.errors import MdbenchError
from mdbench.errors import reason as why

LEDGER: Final = "ledger.jsonl"
_LARGEST: Final = 2**28  # bytes
#: How far a clock may be behind the ledger's last line: clocks differ, and are set right.
SLACK: Final = timedelta(minutes=1)

Kind = Literal["accepted", "verification", "rescored", "superseded", "removed", "sealed", "redated"]
#: Kind of event → what it must say besides.
_SAYS: Final[Mapping[Kind, str | None]] = {
    "accepted": "scores",
    "verification": "verdict",
    "rescored": "scores",
    "superseded": "by",
    "removed": None,
    "sealed": "sealed",
    "redated": "redates",
}

Outcome = Literal["verified", "reproduced within noise", "self-reported", "rejected"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(_Strict):
    """What became of verifying an entry, with the reason in one line, and the run that it is scored by, where there is one.

    Entries were once ``reproduced within noise`` where predictions that were sent lay near those of re-runs.
    """

    outcome: Outcome
    reason: str
    run: Run | None = None


class Event(_Strict):
    """One line.

    Attributes
    ----------
    number : from 1.
    previous : SHA-256 of the line before, without its newline; 64 zeros at the first. No line can be changed or dropped.
    date : when, UTC.
    kind : ``accepted`` (on the board from now), ``verification``, ``rescored`` (the data changed), ``superseded``,
        ``removed``, ``sealed`` (scored on a sealed zoo), ``redated`` (lines before it were dated in the future).
    entry, entry_sha256 : which entry, and the digest of its ``entry.json``, which holds those of its other files.
    reason : why, in words.
    mdbench, dataset : version, and digest of the data of the cases that it answers (`leaderboard.entry.Exam.digest_of`).
    verdict : of a verification.
    scores : case → accuracy in %, of ``accepted`` and ``rescored``.
    by : slug of the entry that superseded it.
    restores : of ``removed``: slug of the entry that it had displaced, which is back on the board with this line.
    sealed : of ``sealed``.
    redates : of ``redated``: number of the first of the lines, up to this one, that count as of this one's date.
    """

    number: int
    previous: Sha256
    date: AwareDatetime
    kind: Kind
    entry: Slug
    entry_sha256: Sha256
    reason: str = Field(min_length=1)
    mdbench: str
    dataset: Sha256
    verdict: Verdict | None = None
    scores: dict[str, float] | None = None
    by: Slug | None = None
    restores: Slug | None = None
    sealed: SealedScore | None = None
    redates: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "Event":
        if self.restores is not None and self.kind != "removed":
            raise ValueError(f"{self.kind}: restores does not belong")
        for name in ("verdict", "scores", "by", "sealed", "redates"):
            if (getattr(self, name) is not None) != (name == _SAYS[self.kind]):
                raise ValueError(
                    f"{self.kind}: {name} {'is missing' if name == _SAYS[self.kind] else 'does not belong'}"
                )
        return self


Status = Literal["pending", "on board", "rejected", "superseded", "removed"]


@dataclass(frozen=True)
class State:
    """What has become of an entry.

    Attributes
    ----------
    status : ``pending`` where it was never accepted; ``rejected`` where verifying it last ended so.
    verdict, verified_on : of the last verification of the files that it has now.
    accepted_on : when it came on the board.
    history : events about it, oldest first.
    """

    status: Status
    verdict: Verdict | None = None
    verified_on: datetime | None = None
    accepted_on: datetime | None = None
    history: Sequence[Event] = ()

    @property
    def displaced_by(self) -> str | None:
        """The entry that superseded it last; None where none did."""
        return next((event.by for event in reversed(self.history) if event.by), None)


@dataclass(frozen=True)
class Ledger:
    """Events, each of which makes sense after those before it.

    Attributes
    ----------
    events : oldest first; what was dated in the future has the date that a later line gives it.
    head : where it ends.
    """

    events: tuple[Event, ...] = ()
    head: Head = field(default_factory=Head)

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """Read a ledger; where there is no file, nothing has happened.

        Raises
        ------
        MdbenchError
            A line cannot be read, does not continue the one before it, or says what cannot have happened; lines are missing
            at the end.
        """
        try:
            with _locked(path, os.O_RDONLY, fcntl.LOCK_SH) as file:
                return _parsed(path, _recorded(path, _content(path, file)))
        except FileNotFoundError:
            return _parsed(path, b"")
        except OSError as error:
            raise MdbenchError(f"{path} cannot be read: {why(error)}") from error

    def until(self, date: datetime) -> "Ledger":
        """Return the ledger as it was at a date; one without a time zone is UTC."""
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        events = tuple(event for event in self.events if event.date <= date)
        if len(events) == len(self.events):
            return self
        return Ledger(events, Head(number=len(events), sha256=self.events[len(events)].previous))

    def state(self, slug: str) -> State:
        """Return what has become of an entry."""
        return self._states.get(slug, State("pending"))

    @property
    def gone(self) -> frozenset[str]:
        """The entries that were removed."""
        return frozenset(slug for slug, state in self._states.items() if state.status == "removed")

    @cached_property
    def _states(self) -> dict[str, State]:
        states: dict[str, State] = {}
        for event in self.events:
            _happen(states, event)
        return states


def _happen(states: dict[str, State], event: Event) -> None:
    """Bring states up to date with an event; raises as `_after` does."""
    states[event.entry] = _after(states, event)
    if event.restores is not None:
        states[event.restores] = _restored(states, event.restores, event.entry)


def _restored(states: Mapping[str, State], slug: str, removed: str) -> State:
    """Return the state of an entry once what displaced it has been removed.

    Raises
    ------
    ValueError
        It was displaced by nothing that is removed.
    """
    state, by = states.get(slug, State("pending")), slug
    if state.status != "superseded":
        raise ValueError(f"{slug} cannot come back: it was not superseded")
    while by != removed:
        by = states[by].displaced_by or removed
        if states[by].status != "removed":
            raise ValueError(f"{slug} cannot come back: {by}, which superseded it, was not removed")
    rejected = state.verdict is not None and state.verdict.outcome == "rejected"
    return replace(state, status="rejected" if rejected else "on board")


def _after(states: Mapping[str, State], event: Event) -> State:
    """Return the state of an entry after an event.

    Raises
    ------
    ValueError
        The event makes no sense.
    """
    before = states.get(event.entry, State("pending"))
    history = (*before.history, event)
    if event.kind == "redated":
        return replace(before, history=history)
    accepted, gone = before.accepted_on, before.status in ("superseded", "removed")
    if before.status == "removed" or (gone and event.kind in ("accepted", "superseded")):
        raise ValueError(f"{event.entry} cannot be {_said(event)}: it was {before.status} before")
    if accepted and event.kind == "accepted":
        raise ValueError(f"{event.entry} cannot be accepted: it was before")
    if not accepted and event.kind not in ("accepted", "verification"):
        raise ValueError(f"{event.entry} cannot be {_said(event)}: it was never accepted")
    changed = bool(before.history) and before.history[-1].entry_sha256 != event.entry_sha256
    if accepted and changed:
        raise ValueError(f"{event.entry} has changed since it was accepted (the SHA-256 of its entry.json differs)")
    if event.by is not None and (event.by == event.entry or not states.get(event.by, State("pending")).accepted_on):
        raise ValueError(f"{event.entry} cannot be superseded by {event.by}, which was not accepted")
    verdict, verified_on = (None, None) if changed else (before.verdict, before.verified_on)
    if event.verdict:
        verdict, verified_on = event.verdict, event.date
    if event.kind == "accepted":
        accepted = event.date
    status: Status = "on board" if accepted else "pending"
    if verdict and verdict.outcome == "rejected":
        status = "rejected"
    if gone and before.status == "superseded":
        status = "superseded"
    if event.kind == "superseded" or event.kind == "removed":
        status = event.kind
    return State(status, verdict, verified_on, accepted, history)


def _said(event: Event) -> str:
    return {"verification": "verified", "sealed": "scored on a sealed zoo"}.get(event.kind, event.kind)


def append(path: Path, *, kind: Kind, entry: str, entry_sha256: str, reason: str, **said: Any) -> Event:
    """Append an event to a ledger, and return when the disk has it. Whoever else appends waits.

    Parameters
    ----------
    path : the ledger; made where it is missing.
    kind, entry, entry_sha256, reason, said : see `Event`; the number, the digest of the line before and the date are the
        ledger's to know.

    Raises
    ------
    MdbenchError
        The ledger is damaged, the event makes no sense after those that are there, or it cannot be written: the ledger is
        then as it was.
    """
    said |= {"kind": kind, "entry": entry, "entry_sha256": entry_sha256, "reason": reason}
    return append_all(path, [said])[0]


def append_all(path: Path, several: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
    """Append events that belong together, all of them or none; as `append`, which says what each holds."""
    with _appending(path) as ledger:
        return ledger.append(several, datetime.now(UTC))


def append_lines(path: Path, lines: bytes, check: Callable[[Ledger, datetime], tuple[Event, ...]]) -> tuple[Event, ...]:
    """Append whole lines that were made elsewhere, all or none; `check` reads them: see `leaderboard.verifying.relay`."""
    with _appending(path) as ledger:
        events = check(ledger.ledger, datetime.now(UTC))
        ledger.write(lines, ledger.ledger.head.after(lines))
        return events


def continued(ledger: Ledger, several: Sequence[Mapping[str, Any]], now: datetime) -> tuple[tuple[Event, ...], bytes]:
    """Return the events that would come after those of a ledger, and their lines; see `append`, which writes them."""
    events: list[Event] = []
    lines, head, states = b"", ledger.head, dict(ledger._states)
    for said in several:
        event = _event([*ledger.events, *events], states, now, previous=head.sha256, **said)
        line = line_of(event)
        lines, head = lines + line, head.after(line)
        events.append(event)
    return tuple(events), lines


def line_of(event: Event) -> bytes:
    """Return the line that says an event."""
    return event.model_dump_json(exclude_none=True).encode() + b"\n"


def redate(path: Path, reason: str) -> Event:
    """Append the event that lines at the end, which a clock that was wrong dated in the future, count as of now.

    The lines stay as they are; whoever reads them takes the date of this one.

    Raises
    ------
    MdbenchError
        No line is dated in the future; or as `append`.
    """
    with _appending(path) as ledger:
        now = datetime.now(UTC)
        first = next((event for event in ledger.events if event.date > now), None)
        if first is None:
            raise MdbenchError(f"no line of {path} is dated in the future: nothing was recorded")
        about = ledger.state(first.entry).history[-1]
        said = {"entry": first.entry, "entry_sha256": about.entry_sha256, "dataset": about.dataset, "reason": reason}
        return ledger.append([{"kind": "redated", "redates": first.number, "mdbench": first.mdbench, **said}], now)[0]


@dataclass(frozen=True)
class _Open:
    """A ledger that nobody else changes.

    Attributes
    ----------
    path, file, size : where it is, the open file, and its bytes.
    ledger : what it holds.
    """

    path: Path
    file: int
    size: int
    ledger: Ledger

    @property
    def events(self) -> tuple[Event, ...]:
        return self.ledger.events

    def state(self, slug: str) -> State:
        return self.ledger.state(slug)

    def append(self, several: Sequence[Mapping[str, Any]], now: datetime) -> tuple[Event, ...]:
        """Write events and the new head; see `append_all`."""
        events, lines = continued(self.ledger, several, now)
        self.write(lines, self.ledger.head.after(lines))
        return events

    def write(self, lines: bytes, head: Head) -> None:
        """Write whole lines and the new head: both, or neither."""
        try:
            written = os.write(self.file, lines)
            if written < len(lines):
                raise OSError(f"{written} of {len(lines)} bytes were written")
            os.fsync(self.file)
            # Killed before this, the ledger is ahead of its head by what nobody was told; the next line mends that.
            files.replace({head_file(self.path): head.content()})
        except BaseException:  # Ctrl-C included: half a line would stop everybody
            if read_head(self.path) != head:
                os.ftruncate(self.file, self.size)
            raise


@contextmanager
def _appending(path: Path) -> Iterator[_Open]:
    """Open a ledger to append to it; raises as `append` does."""
    try:
        with _locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as file:
            content = _recorded(path, _content(path, file))
            ledger = _parsed(path, content)
            os.ftruncate(file, len(content))
            if (head := read_head(path)) and head != ledger.head:  # else a second kill could tear away what was read
                files.replace({head_file(path): ledger.head.content()})
            yield _Open(path, file, len(content), ledger)
            files.sync_folder(path.parent)
    except OSError as error:
        raise MdbenchError(f"{path} cannot be written: {why(error)}; nothing was recorded") from error


def _event(events: Sequence[Event], states: dict[str, State], now: datetime, **said: Any) -> Event:
    """Return the event that comes after others, and bring their states up to date."""
    last = events[-1].date if events else now
    if last - now > SLACK and said["kind"] != "redated":
        raise MdbenchError(
            f"the ledger's last event is of {last:%Y-%m-%d %H:%M:%S} UTC, and this machine's clock says "
            f"{now:%Y-%m-%d %H:%M:%S}; set the clock right, or, where it is right, have the ledger say that the event was "
            "dated in the future: mdbench leaderboard redate --reason WHY"
        )
    try:
        event = Event(number=len(events) + 1, date=now if said["kind"] == "redated" else max(last, now), **said)
        _happen(states, event)
    except ValueError as error:
        raise MdbenchError(f"this cannot be recorded: {why(error)}") from error
    return event


def _recorded(path: Path, content: bytes) -> bytes:
    """Return what a ledger holds without what a kill tore: lines that belong together, behind what the head speaks of."""
    *lines, torn = content.split(b"\n")
    head = read_head(path) if torn else None
    return (
        content if head is None or head.number > len(lines) else b"".join(one + b"\n" for one in lines[: head.number])
    )


def _parsed(path: Path, content: bytes) -> Ledger:
    """Return the ledger that a file holds."""
    whole, ended, torn = content.rpartition(b"\n")
    events: list[Event] = []
    states: dict[str, State] = {}
    digests = [NOTHING]
    for number, line in enumerate(whole.split(b"\n") if ended else [], 1):
        try:
            event = Event.model_validate(plain_json.read(line))
            if event.number != number:
                raise ValueError(f"it says that it is event {event.number}")
            if event.previous != digests[-1]:
                raise ValueError("it does not continue the line before it, which was changed, or is not the one")
            if event.redates is not None:
                events = _redated(events, event)
            if events and event.date < events[-1].date:
                raise ValueError("it is of an earlier date than the line before it")
            _happen(states, event)
        except (ValidationError, ValueError) as error:
            raise MdbenchError(
                f"{path}, line {number}: {why(error)}; a ledger is appended to and never changed: bring back the one "
                "that was there before"
            ) from error
        events.append(event)
        digests.append(hashlib.sha256(line).hexdigest())
    _check_head(path, digests)
    if torn:
        raise MdbenchError(
            f"{path}: the last line is not whole: something was stopped as it wrote it, and it was not recorded; remove it "
            f"by `truncate -s {len(content) - len(torn)} {path}`, and do again what was not recorded"
        )
    ledger = Ledger(tuple(events), Head(number=len(events), sha256=digests[-1]))
    if all(event.redates is None for event in events):
        ledger.__dict__["_states"] = states  # known already
    return ledger


def _redated(events: Sequence[Event], by: Event) -> list[Event]:
    """Return events of which those that an event redates have its date.

    Raises
    ------
    ValueError
        They are not those, and all of those, that were dated in the future then.
    """
    first = next((event.number for event in events if event.date > by.date), None)
    if by.redates != first:
        raise ValueError(f"it redates lines from {by.redates} on, and those after its date are from {first} on")
    return [event.model_copy(update={"date": min(event.date, by.date)}) for event in events]


def _check_head(path: Path, digests: Sequence[str]) -> None:
    """Make sure that a ledger, of whose lines these are the digests, has the line that its head speaks of."""
    head = read_head(path)
    if head is None or (head.number < len(digests) and digests[head.number] == head.sha256):
        return
    ends = "its tail was cut off" if head.number >= len(digests) else "that is another line here"
    raise MdbenchError(
        f"{path} has {len(digests) - 1} lines, and {head_file(path).name} says that line {head.number} was "
        f"{head.sha256[:12]}…: {ends}; a ledger is appended to and never changed: bring back both files as they were"
    )


def _content(path: Path, file: int) -> bytes:
    """Return all that a file holds."""
    about = os.fstat(file)
    if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
        raise MdbenchError(f"{path} is no ledger: it is no ordinary file, or of more than {_LARGEST:,} bytes")
    with os.fdopen(os.dup(file), "rb") as stream:
        stream.seek(0)
        return stream.read()


@contextmanager
def _locked(path: Path, flags: int, kind: int) -> Iterator[int]:
    """Open a file that nobody else changes, or reads where it is to be changed, until the end of the block."""
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, kind)
        yield file
    finally:
        os.close(file)
