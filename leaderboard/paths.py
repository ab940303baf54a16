"""Where the board keeps things."""

from pathlib import Path
from typing import Final

#: Folder of the entries and their ledger, in a clone.
ENTRIES: Final = Path("leaderboard", "entries")


def sealed_home(entries: Path) -> Path:
    """Return the folder of the sealed zoos, ``sealed`` beside that of the entries: each in ``NAME/public``."""
    return entries.parent / "sealed"
