"""How long it takes to load the dataset, and to score a baseline on the twelve cases of `sisters`.

    python benchmarks/dataset.py

Reading: 5,000 configurations with every column, made of the package's own by repetition with noise, from a file in the cache
of the operating system. Scoring: the whole command, uncached, start-up included.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mdbench import files, load_zoo
from mdbench.tables.loading import zoo_names
from mdbench.tables.manifest import CONFIGURATIONS
from mdbench.tables.zoo import arrow_tables

ROWS = 5_000
RUNS = 7


def seconds(work: Callable[[], object]) -> list[float]:
    """Return how long some work takes, several times after a first."""
    work()
    taken = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return taken


def tell(what: str, taken: list[float]) -> None:
    print(f"{what}: median {statistics.median(taken):.3f} s of {len(taken)}, {min(taken):.3f} to {max(taken):.3f}")


def many() -> pa.Table:
    """Return 5,000 configurations, numbers that repeat no more than measured ones do."""
    table = arrow_tables(load_zoo("mnist1d-cnn"))[CONFIGURATIONS].to_pandas()
    drawn = np.random.default_rng(0)
    repeated = table.sample(ROWS, replace=True, random_state=0, ignore_index=True)
    numbers = repeated.select_dtypes("float64").columns
    repeated[numbers] *= 1 + 1e-3 * drawn.standard_normal((ROWS, len(numbers)))
    return pa.Table.from_pandas(repeated, preserve_index=False)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "configurations.parquet")
        content = files.parquet(many())
        path.write_bytes(content)
        columns = len(pd.read_parquet(path).columns)
        print(f"{ROWS:,} configurations × {columns} columns, {len(content) / 1e6:.1f} MB")
        tell("pandas.read_parquet", seconds(lambda: pd.read_parquet(path)))
    for name in zoo_names():
        tell(f"mdbench.load_zoo({name!r})", seconds(lambda name=name: load_zoo(name)))
    command = [sys.executable, "-m", "mdbench", "evaluate", "validation_tree", "--cases", "sisters"]
    command += ["--beside", "", "--no-cache"]
    tell(
        "mdbench evaluate validation_tree --cases sisters",
        seconds(lambda: subprocess.run(command, check=True, capture_output=True)),
    )


if __name__ == "__main__":
    main()
