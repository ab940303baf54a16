"""The ledger: everything that happened to entries, one event a line, appended and never changed."""

from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from leaderboard.entry import Sha256, Slug

LEDGER: Final = "ledger.jsonl"

Outcome = Literal["verified", "reproduced within noise", "self-reported", "rejected"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(_Strict):
    """What became of verifying an entry, with the reason in one line."""

    outcome: Outcome
    reason: str


class SealedScore(_Strict):
    """Accuracies on a sealed zoo, in %: the mean over tasks with its interval, and task → accuracy."""

    zoo: str
    labels_sha256: Sha256
    accuracy: float
    low: float
    high: float
    by_task: dict[str, float]


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
    mdbench, dataset : version, and digest of the exam (`leaderboard.exam.Exam.digest`).
    verdict : of a verification.
    scores : case → accuracy in %, of ``accepted`` and ``rescored``.
    by : slug of the entry that superseded it.
    sealed : of ``sealed``.
    """

    number: int
    previous: Sha256
    date: AwareDatetime
    kind: Literal["accepted", "verification", "rescored", "superseded", "removed", "sealed"]
    entry: Slug
    entry_sha256: Sha256
    reason: str
    mdbench: str
    dataset: Sha256
    verdict: Verdict | None = None
    scores: dict[str, float] | None = None
    by: Slug | None = None
    sealed: SealedScore | None = None
