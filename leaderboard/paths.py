"""Where the board keeps things."""

from pathlib import Path
from typing import Final

#: Folder of the entries and their ledger, in a clone.
ENTRIES: Final = Path("leaderboard", "entries")
