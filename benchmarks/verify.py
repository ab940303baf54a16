"""How long it takes to verify the fifteen baselines of the board, and what isolation costs.

    python benchmarks/verify.py [--cases SELECTION] [--before CHECKOUT] [--entries FOLDER]

Each of the baselines is submitted first, which is not timed: the twelve cases `sisters`, or another selection, in place of
`core`, all training samples. With --entries that is left out, and what lies in the folder is verified. Each command is timed
as a whole, with its start:
the entries verified in the sandbox, as maintainers do it, then the same without isolation, then nothing run again.
With --before, another checkout then verifies the entries that it brings itself. Beside seconds on the clock stand seconds of
processors, of all processes together: where others are at work on the machine, the clock says little.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from leaderboard.entry import exam
from leaderboard.submitting import submission
from mdbench.cases import load_cases
from mdbench.methods import find_method

#: The baselines of the board.
METHODS = (
    *("barrier_rule", "hyperparameter_tree", "hyperparameter_validation_tree", "landscape_tree", "logistic_regression"),
    *("majority", "md_tree", "md_tree_cka", "md_tree_exact", "md_tree_quantile", "nearest_neighbours", "random"),
    *("random_forest", "validation_tree", "xgboost"),
)
#: Entries answer `core`: for which these cases stand here.
POSED = """
import sys
from leaderboard.entry import exam
from mdbench.cases import load_cases
from mdbench.cli import main
cases = sys.argv.pop(1)
exam.load_cases = lambda name: load_cases(cases if name == "core" else name)
main()
"""
HERE = Path(__file__).resolve().parent.parent


def timed(checkout: Path, entries: Path, *options: str, cases: str = "") -> str:
    """Verify all entries, and say how long that took; `cases` stand for `core` where they are given."""
    command = [sys.executable, *(("-c", POSED, cases) if cases else ("-m", "mdbench"))]
    command += ["leaderboard", "verify", "--all", "--dry-run", "--entries", str(entries), *options]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}
    )
    clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processors = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{clock:.1f} s (processors {processors:.1f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="sisters", help="a selection (default: sisters)")
    parser.add_argument("--before", type=Path, help="another checkout, to be timed beside this one")
    parser.add_argument("--entries", type=Path, help="entries to be verified, in place of the baselines")
    told = parser.parse_args()
    exam.load_cases = lambda name: load_cases(told.cases if name == "core" else name)
    with tempfile.TemporaryDirectory(prefix="mdbench-benchmark-") as scratch:
        entries = told.entries.resolve() if told.entries else Path(scratch)
        if not told.entries:
            for name in METHODS:
                submission.submit(
                    find_method(name),
                    name=name,
                    authors=["mdbench"],
                    entries=entries,
                    selections=["core"],
                    sandbox=False,
                )
        count = len(list(entries.glob("*/entry.json")))
        print(f"{count} entries, in the sandbox: {timed(HERE, entries, cases=told.cases)}", flush=True)
        if told.before:
            other = told.before.resolve()
            theirs = other / "leaderboard" / "entries"
            count = len(list(theirs.glob("*/entry.json")))
            print(f"{count} entries of {other.name}, in its sandbox: {timed(other, theirs)}", flush=True)
        print(f"without isolation: {timed(HERE, entries, '--no-sandbox', cases=told.cases)}", flush=True)
        print(f"checked alone: {timed(HERE, entries, '--no-rerun', cases=told.cases)}")


if __name__ == "__main__":
    main()
