"""The ledger: everything that happened to entries, one event a line, appended and never changed."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from leaderboard.entry import Sha256, Slug, plain_json
from leaderboard.sealing import SealedScore
from mdbench import files
from mdbench.errors import MdbenchError
from mdbench.errors import reason as why

LEDGER: Final = "ledger.jsonl"
_FIRST: Final = "0" * 64
_LARGEST: Final = 2**28  # bytes
#: How far a clock may be behind the ledger's last line: clocks differ, and are set right.
_SLACK: Final = timedelta(minutes=1)

Kind = Literal["accepted", "verification", "rescored", "superseded", "removed", "sealed"]
#: Kind of event → what it must say besides.
_SAYS: Final[Mapping[Kind, str | None]] = {
    "accepted": "scores",
    "verification": "verdict",
    "rescored": "scores",
    "superseded": "by",
    "removed": None,
    "sealed": "sealed",
}

Outcome = Literal["verified", "reproduced within noise", "self-reported", "rejected"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(_Strict):
    """What became of verifying an entry, with the reason in one line."""

    outcome: Outcome
    reason: str


class Event(_Strict):
    """One line.

    Attributes
    ----------
    number : from 1.
    previous : SHA-256 of the line before, without its newline; 64 zeros at the first. No line can be changed or dropped.
    date : when, UTC.
    kind : ``accepted`` (on the board from now), ``verification``, ``rescored`` (the data changed), ``superseded``,
        ``removed``, ``sealed`` (scored on a sealed zoo).
    entry, entry_sha256 : which entry, and the digest of its ``entry.json``, which holds those of its other files.
    reason : why, in words.
    mdbench, dataset : version, and digest of the data of the cases that it answers (`leaderboard.entry.Exam.digest_of`).
    verdict : of a verification.
    scores : case → accuracy in %, of ``accepted`` and ``rescored``.
    by : slug of the entry that superseded it.
    sealed : of ``sealed``.
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
    sealed: SealedScore | None = None

    @model_validator(mode="after")
    def _check(self) -> "Event":
        for name in ("verdict", "scores", "by", "sealed"):
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


@dataclass(frozen=True)
class Ledger:
    """Events, each of which makes sense after those before it.

    Attributes
    ----------
    events : oldest first.
    """

    events: tuple[Event, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """Read a ledger; where there is no file, nothing has happened.

        Raises
        ------
        MdbenchError
            A line cannot be read, does not continue the one before it, or says what cannot have happened.
        """
        try:
            with _locked(path, os.O_RDONLY, fcntl.LOCK_SH) as file:
                return _parsed(path, _content(path, file))[0]
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise MdbenchError(f"{path} cannot be read: {why(error)}") from error

    def until(self, date: datetime) -> "Ledger":
        """Return the ledger as it was at a date; one without a time zone is UTC."""
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return Ledger(tuple(event for event in self.events if event.date <= date))

    def state(self, slug: str) -> State:
        """Return what has become of an entry."""
        return self._states.get(slug, State("pending"))

    @cached_property
    def _states(self) -> dict[str, State]:
        states: dict[str, State] = {}
        for event in self.events:
            states[event.entry] = _after(states, event)
        return states


def _after(states: Mapping[str, State], event: Event) -> State:
    """Return the state of an entry after an event.

    Raises
    ------
    ValueError
        The event makes no sense.
    """
    before = states.get(event.entry, State("pending"))
    history = (*before.history, event)
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
    try:
        with _locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as file:
            content = _content(path, file)
            ledger, previous = _parsed(path, content)
            event = _event(
                ledger, kind=kind, entry=entry, entry_sha256=entry_sha256, reason=reason, previous=previous, **said
            )
            line = event.model_dump_json(exclude_none=True).encode() + b"\n"
            try:
                written = os.write(file, line)
                if written < len(line):
                    raise OSError(f"{written} of {len(line)} bytes were written")
                os.fsync(file)
            except BaseException:  # Ctrl-C included: half a line would stop everybody
                os.ftruncate(file, len(content))
                raise
            files.sync_folder(path.parent)
    except OSError as error:
        raise MdbenchError(f"{path} cannot be written: {why(error)}; nothing was recorded") from error
    return event


def _event(ledger: Ledger, **said: Any) -> Event:
    now = datetime.now(UTC)
    last = ledger.events[-1].date if ledger.events else now
    if last - now > _SLACK:
        raise MdbenchError(
            f"the ledger's last event is of {last:%Y-%m-%d %H:%M:%S} UTC, and this machine's clock says "
            f"{now:%Y-%m-%d %H:%M:%S}; set the clock right"
        )
    try:
        event = Event(number=len(ledger.events) + 1, date=max(last, now), **said)
        _after(ledger._states, event)
    except ValueError as error:
        raise MdbenchError(f"this cannot be recorded: {why(error)}") from error
    return event


def _parsed(path: Path, content: bytes) -> tuple[Ledger, str]:
    """Return the ledger that a file holds, and the digest of its last line."""
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        raise MdbenchError(
            f"{path}: the last line is not whole: something was stopped as it wrote it, and it was not recorded; remove it "
            f"by `truncate -s {len(content) - len(torn)} {path}`, and do again what was not recorded"
        )
    events: list[Event] = []
    states: dict[str, State] = {}
    previous = _FIRST
    for number, line in enumerate(whole.split(b"\n") if content else [], 1):
        try:
            event = Event.model_validate(plain_json.read(line))
            if event.number != number:
                raise ValueError(f"it says that it is event {event.number}")
            if event.previous != previous:
                raise ValueError("it does not continue the line before it, which was changed, or is not the one")
            if events and event.date < events[-1].date:
                raise ValueError("it is of an earlier date than the line before it")
            states[event.entry] = _after(states, event)
        except (ValidationError, ValueError) as error:
            raise MdbenchError(
                f"{path}, line {number}: {why(error)}; a ledger is appended to and never changed: bring back the one "
                "that was there before"
            ) from error
        events.append(event)
        previous = hashlib.sha256(line).hexdigest()
    ledger = Ledger(tuple(events))
    ledger.__dict__["_states"] = states  # known already
    return ledger, previous


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
