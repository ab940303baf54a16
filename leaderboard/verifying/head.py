"""The head of a ledger: its number of lines and the digest of the last, in a file beside it, so that a cut tail is found."""

import hashlib
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leaderboard.entry import Sha256, plain_json
from mdbench.errors import MdbenchError, reason

#: What the first line of a ledger has for the digest of the one before it.
NOTHING: Final = "0" * 64
_LARGEST: Final = 1000  # bytes


class Head(BaseModel):
    """Where a ledger ends.

    Attributes
    ----------
    number : its lines.
    sha256 : digest of the last one, without its newline; `NOTHING` where there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(default=0, ge=0)
    sha256: Sha256 = NOTHING

    def content(self) -> bytes:
        """Return what the file holds."""
        return self.model_dump_json().encode() + b"\n"

    def after(self, lines: bytes) -> "Head":
        """Return where the ledger ends once whole lines have been appended to it."""
        several = lines.split(b"\n")[:-1]
        last = hashlib.sha256(several[-1]).hexdigest() if several else self.sha256
        return Head(number=self.number + len(several), sha256=last)


def head_file(ledger: Path) -> Path:
    """Return where the head of a ledger stands: ``ledger.head`` beside ``ledger.jsonl``."""
    return ledger.with_suffix(".head")


def read_head(ledger: Path) -> Head | None:
    """Return the head that stands beside a ledger; None where none does: ledgers had none before mdbench 0.2.

    Raises
    ------
    MdbenchError
        The file cannot be read.
    """
    path = head_file(ledger)
    try:
        with path.open("rb") as file:
            return Head.model_validate(plain_json.read(file.read(_LARGEST)))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, ValueError) as error:
        raise MdbenchError(
            f"{path} cannot be read: {reason(error)}; bring back the one that was there before"
        ) from error
