"""What `mdbench diagnose` says that measuring will take, against what it took: ResNet-18 on images of 32 × 32.

    python benchmarks/forecast.py                  # 1,000 images, --quick
    python benchmarks/forecast.py --images 64      # where there is no hour

Seconds are of the processor, of this process and its children: on a machine that others use, those on the wall say more of
them. Memory is the largest that the process had.
"""

import argparse
import os
import resource
import tempfile
import time

#: By what factor time and memory may differ from what was said, and how much memory there may be.
FACTOR, MEMORY = 1.5, 3e9
#: Steps of training before it is diagnosed.
STEPS = 8


def used() -> tuple[float, float]:
    """Return seconds of the processor so far, and the most memory, in bytes."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in found), 1024 * max(one.ru_maxrss for one in found)


def main() -> None:
    """Diagnose, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000, help="training images")
    asked = parser.parse_args()
    os.environ["MDBENCH_HOME"] = tempfile.mkdtemp()  # nothing that was measured before is taken

    from resnet18 import problem

    from zoo_builder.examining.examination import examine

    network, data = problem(STEPS, asked.images)
    began: list[tuple[float, float]] = []

    def said(text: str) -> None:
        began[:] = [(time.perf_counter(), used()[0])]
        print(text, flush=True)

    found = examine(network, "cross_entropy", train=(data.tensor, data.targets), extent="quick", said=said)
    wall, (processor, memory) = time.perf_counter() - began[0][0], used()
    processor -= began[0][1]
    expected = found.forecast
    assert expected is not None
    rows = (
        ("seconds of the processor", expected.processor, processor),
        ("seconds on the wall", sum(expected.seconds.values()), wall),
        ("GB", expected.bytes / 1e9, memory / 1e9),
    )
    print(f"{asked.images} images; {found.row['hessian_products'].iloc[0]:.0f} products with the Hessian")
    for what, before, after in rows:
        print(f"{what}: {before:.3g} said, {after:.3g} taken, ratio {before / after:.2f}")
    right = all(1 / FACTOR < before / after < FACTOR for what, before, after in rows if "wall" not in what)
    print(f"within a factor of {FACTOR}: {right}; memory below {MEMORY / 1e9:g} GB: {memory < MEMORY}")


if __name__ == "__main__":
    main()
