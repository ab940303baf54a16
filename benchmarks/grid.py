"""Networks of the grid of `benchmarks/training.py` that are built a second, beside an earlier revision, in one run.

    git worktree add --detach CHECKOUT REVISION
    python benchmarks/grid.py --before CHECKOUT [--epochs 4] [--turns 3]

Each revision runs its own benchmark's grid, the compiled side alone, in processes of its own that have compiled before: the
two in turns, width by width on all cores. Prints seconds, and by how many times more networks are built a second.
"""

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
#: Width → networks, seconds.
Turn = dict[int, tuple[int, float]]


def built(root: Path, epochs: int) -> None:
    """Print how many networks each width has, and how long a revision takes to build them, in seconds."""
    sys.path[:0] = [str(root), str(root / "benchmarks")]
    import training as own

    what = own.parse_spec(own.SPEC.format(epochs=epochs), "the benchmark")
    # As the revisions before issues of data of a grid point had them, and as those since.
    spec = what.text if hasattr(what, "text") else what.model_dump_json()
    planned = own._planned if hasattr(own, "_planned") else own.loaded
    units = own.plan(*planned(spec), **own.LIMITS["cpu"]).units
    with ProcessPoolExecutor(own.CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        own.on_all_cores(pool, own.share_of_step, spec, units[-1].networks)
        for width in (2, 4, 8, 16, 32):
            mine = [unit for unit in units if unit.networks[0].width == width]
            begun = time.perf_counter()
            list(pool.map(own.together, [spec] * len(mine), mine))
            print(width, sum(len(unit.networks) for unit in mine), time.perf_counter() - begun, flush=True)


def turn(root: Path, epochs: int) -> Turn:
    """Run a revision once."""
    command = [sys.executable, __file__, "--of", str(root), "--epochs", str(epochs)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root).stdout
    return {int(width): (int(count), float(seconds)) for width, count, seconds in map(str.split, said.splitlines())}


def main() -> None:
    """Run both in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="working tree of an earlier revision")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.of:
        built(arguments.of, arguments.epochs)
        return
    if not arguments.before:
        parser.error("--before: the working tree of an earlier revision")
    sides: tuple[list[Turn], list[Turn]] = ([], [])
    for at in range(arguments.turns):
        for side in (0, 1) if at % 2 == 0 else (1, 0):  # neither is always the first
            sides[side].append(turn((arguments.before.resolve(), HERE)[side], arguments.epochs))
    print(
        f"{'width':>6} {'networks':>9} {'before, s':>10} {'here, s':>8}   times as many (median of {arguments.turns})"
    )
    for width, (count, _) in sides[0][0].items():
        then, now = (statistics.median(one[width][1] for one in some) for some in sides)
        print(f"{width:>6} {count:>9} {then:>10.2f} {now:>8.2f}   {then / now:.2f}")
    then, now = (statistics.median(sum(seconds for _, seconds in one.values()) for one in some) for some in sides)
    print(f"{'all':>6} {'':>9} {then:>10.2f} {now:>8.2f}   {then / now:.2f}")


if __name__ == "__main__":
    main()
