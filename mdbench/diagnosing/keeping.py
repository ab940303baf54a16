"""What is learned from the zoos of this package, kept: within a process all of it, on disk what takes long.

Leaving out every pair of groups takes a minute of a core, all tasks together, and depends on nothing of the network in
question but which columns it has.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np

from mdbench import files
from mdbench.diagnosing.judge import Judge, committee
from mdbench.diagnosing.leaving import Calibration, LeftOut, Rows, learned, leave_out
from mdbench.diagnosing.pool import Pool, bundled_pool
from mdbench.methods import WORKERS, cache
from mdbench.paths import cache_home
from mdbench.tables import Task, find_task

FOLDER: Final = "judges"


@lru_cache(maxsize=32)
def of_bundle(seeds: bool, task: str, columns: tuple[str, ...]) -> tuple[Calibration, LeftOut, Judge]:
    """Return what is learned from the zoos of this package: by what answers are calibrated, zoos left out, and the judge."""
    pool, asked = bundled_pool(seeds), find_task(task)
    path = _path(pool, asked, columns)
    found = _read(path, Rows.of(pool, asked), len(asked.classes))
    if found is None:
        found = leave_out(pool, asked, columns, WORKERS)
        _write(path, *found)
    return *found, learned(pool, asked, columns, Rows.of(pool, asked))


def is_kept(seeds: bool, task: str, columns: tuple[str, ...]) -> bool:
    """Tell whether what `of_bundle` returns was learned before, on this machine."""
    return os.path.exists(_path(bundled_pool(seeds), find_task(task), columns))  # noqa: PTH110 - False where nobody may look


def _path(pool: Pool, task: Task, columns: Sequence[str]) -> Path:
    """Return the file of what follows from this pool, these columns, and this source with the packages that it uses."""
    content = {
        "zoos": {name: zoo.digest for name, zoo in pool.zoos.items()},
        "groups": pool.groups[task.name],
        "seeds": pool.seeds,
        "task": task.name,
        "columns": list(columns),
        "committee": committee().source_sha256,
        "harness": cache.harness(),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return cache_home() / FOLDER / f"{digest[:32]}.npz"


def _read(path: Path, rows: Rows, classes: int) -> tuple[Calibration, LeftOut] | None:
    """Return what is kept; None where nothing is, or what is there does not fit."""
    count = len(rows.at)
    shapes = {"calibration": (2,), "probabilities": (count, classes), "thresholds": (count,), "far": (count,)}
    there = cache.arrays(path) or {}
    if any(name not in there or there[name].shape != shape for name, shape in shapes.items()):
        return None
    temperature, threshold = there["calibration"].tolist()
    return Calibration(temperature, threshold), LeftOut(rows, there["probabilities"], there["thresholds"], there["far"])


def _write(path: Path, calibration: Calibration, found: LeftOut) -> None:
    """Keep it; a cache that cannot be written costs time alone."""
    content = BytesIO()
    np.savez_compressed(
        content,
        calibration=np.array([calibration.temperature, calibration.threshold]),
        probabilities=found.probabilities,
        thresholds=found.thresholds,
        far=found.far,
    )
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace({path: content.getvalue()})
