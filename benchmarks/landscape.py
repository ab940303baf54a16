"""What do landscape metrics cost? All nine families, each and together, against training the zoo they measure, in one run.

    python benchmarks/landscape.py [--spec zoos/mnist1d-cnn.toml] [--every 3] [--together]

Trains every third level of each axis of a specification (the ends included) on all cores, and then measures what came of it
on all cores: alone each family, so that nothing is shared between them, and then all together, as `mdbench zoo measure`
does. Prints seconds and ratios to the training.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before torch: one thread a process

import tomllib

from zoo_builder.building import builder as build
from zoo_builder.building import executors, measuring
from zoo_builder.landscape.registry import FAMILIES

CORES = len(os.sched_getaffinity(0))


def thinned(path: Path, every: int) -> str:
    """Return a specification with every so manieth level of its axes, the last one always among them."""
    text, said = path.read_text(encoding="utf-8"), tomllib.loads(path.read_text(encoding="utf-8"))
    head = text[: text.index("[[axes]]")]
    for axis in said["axes"]:
        levels = axis["values"]
        kept = sorted({*levels[::every], levels[-1]})
        head += f'[[axes]]\nknob = "{axis["knob"]}"\nvalues = {kept}\n'
    return head


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=Path(__file__).parents[1] / "zoos" / "mnist1d-cnn.toml")
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--together", action="store_true", help="leave out the families one by one")
    arguments = parser.parse_args()
    open_executor = executors.local(CORES, ["cpu"], "zoo_builder.building.measuring")
    with tempfile.TemporaryDirectory() as scratch:
        spec, folder = Path(scratch, "spec.toml"), Path(scratch, "zoo")
        spec.write_text(thinned(arguments.spec, arguments.every), encoding="utf-8")
        begun = time.perf_counter()
        zoo = build.build(spec, folder, open_executor)
        training = time.perf_counter() - begun
        assert zoo.checkpoints is not None
        print(f"training of {len(zoo.checkpoints):,} networks on {CORES} cores: {training:.0f} s")
        for name in () if arguments.together else FAMILIES:
            begun = time.perf_counter()
            measuring.measure(folder, open_executor, families=[name])
            taken = time.perf_counter() - begun
            print(f"{name:<14} {taken:>7.1f} s  {taken / training:>5.2f} times the training", flush=True)
        if not arguments.together:
            (folder / "landscape").rename(Path(scratch, "apart"))
        begun = time.perf_counter()
        measuring.measure(folder, open_executor)
        taken = time.perf_counter() - begun
        print(f"{'all together':<14} {taken:>7.1f} s  {taken / training:>5.2f} times the training")


if __name__ == "__main__":
    main()
