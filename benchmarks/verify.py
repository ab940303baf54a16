"""How long it takes to verify every entry of the board, and what isolation costs.

    python benchmarks/verify.py [ENTRIES]

Each command is timed as a whole, start-up included: first the entries verified in the sandbox, as maintainers do it, then the
same without isolation, and without running anything again.
"""

import subprocess
import sys
import time
from pathlib import Path

ENTRIES = Path(__file__).resolve().parent.parent / "leaderboard" / "entries"


def timed(entries: Path, *options: str) -> float:
    command = [
        sys.executable,
        "-m",
        "mdbench",
        "leaderboard",
        "verify",
        "--all",
        "--dry-run",
        "--entries",
        str(entries),
    ]
    started = time.perf_counter()
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    entries = Path(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES
    count = len(list(entries.glob("*/entry.json")))
    sandboxed, plain, checked = (timed(entries, *options) for options in ((), ("--no-sandbox",), ("--no-rerun",)))
    print(f"{count} entries verified in the sandbox {sandboxed:.1f} s, without isolation {plain:.1f} s", end="; ")
    print(f"checked alone {checked:.1f} s")


if __name__ == "__main__":
    main()
