"""Kills commands at every call that changes a folder, and at random times; and has the disk full from every such call on.

`tests/survival.py` says which commands, and what has to be so afterwards: the old state or the new one, and the same command
leads to the new one.

    python benchmarks/kills.py                  # all, at every call
    python benchmarks/kills.py --most 20        # at twenty calls of each, drawn
    python benchmarks/kills.py submit remove
"""

import argparse
import errno
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from survival import COMMANDS, Trial, prepared

#: Seconds within which a command is killed by the clock.
LONGEST = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="command", help=", ".join(COMMANDS))
    parser.add_argument("--most", type=int, default=10_000, help="calls of each command that are tried")
    options = parser.parse_args()
    drawn = np.random.default_rng()
    with tempfile.TemporaryDirectory() as folder:
        world, scratch = Path(folder, "world"), Path(folder, "scratch")
        scratch.mkdir()
        prepared(world)
        print(f"{'command':12}{'calls':>6}  {'killed at a call':24}{'killed at a time':24}{'disk full'}")
        for name in options.names or COMMANDS:
            trial = Trial(name, world, scratch)
            calls = 1 + drawn.permutation(trial.calls)[: options.most]
            killed = Counter(trial.killed_at(int(at)) for at in calls)
            timed = Counter(trial.killed_when(lambda: time.sleep(drawn.uniform(0, LONGEST))) for _ in calls)
            full = Counter(trial.full_from(int(at), errno.ENOSPC) for at in calls)
            said = [
                ", ".join(f"{count} {what}" for what, count in sorted(one.items())) for one in (killed, timed, full)
            ]
            print(f"{name:12}{trial.calls:>6}  {said[0]:24}{said[1]:24}{said[2]}", flush=True)


if __name__ == "__main__":
    main()
