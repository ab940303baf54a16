"""Answers that were given before: kept by the content of everything that they depend on."""

import hashlib
import io
import json
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from mdbench.cases import CaseRows
from mdbench.methods.method import Method
from mdbench.methods.replies import ABSTAINED, Answer
from mdbench.paths import PACKAGE, cache_home
from mdbench.tables import Zoo
from mdbench.version import package_versions

FOLDER: Final = "answers"
_FIELDS: Final = {"predicted", "columns", "fit_seconds", "predict_seconds", "warned"}


@cache
def harness() -> dict[str, str]:
    """Return what an answer depends on beside method, case and tables: versions, and mdbench's own source."""
    source = hashlib.sha256()
    for file in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]):  # a stub says what is imported
        source.update(file.read_bytes())
    return {"python": platform.python_version(), "mdbench": source.hexdigest(), **package_versions()}


def key(method: Method, rows: CaseRows, zoos: Iterable[Zoo]) -> str | None:
    """Return the key of a method's answer to a case of some zoos; None for a method without a file, which is never kept."""
    if method.source_sha256 is None:
        return None
    content = {
        "method": method.source_sha256,
        "case": rows.case.model_dump(mode="json"),
        "zoos": [zoo.digest for zoo in zoos],
        "harness": harness(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file that was kept, name → array; None where there is no whole one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except Exception:  # noqa: BLE001 - damage shows in many ways (zipfile, zlib, tokenize), and what is damaged is made anew
        return None


def read(name: str, rows: CaseRows) -> Answer | None:
    """Return a kept answer; None where there is none, or where what is there does not fit the case."""
    kept = arrays(_path(name))
    if kept is None or not kept.keys() >= _FIELDS:
        return None
    answer = Answer(
        kept["predicted"],
        tuple(kept["columns"].tolist()),
        tuple(kept["fit_seconds"].tolist()),
        tuple(kept["predict_seconds"].tolist()),
        kept.get("probabilities"),
        warned=tuple(kept["warned"].tolist()),
    )
    said, given = answer.predicted, answer.probabilities
    classes = len(rows.task.classes)
    fits = said.shape == (len(rows.samples), len(rows.test)) and said.dtype == np.int8
    if not fits or said.min() < ABSTAINED or said.max() >= classes:
        return None
    return answer if given is None or (given.shape == (*said.shape, classes) and given.dtype == np.float32) else None


def write(name: str, answer: Answer) -> OSError | None:
    """Keep an answer. Where the cache cannot be written, it is not kept; why is returned."""
    path = _path(name)
    given: dict[str, Any] = {} if answer.probabilities is None else {"probabilities": answer.probabilities}
    content = io.BytesIO()
    np.savez_compressed(
        content,
        predicted=answer.predicted,
        columns=np.array(answer.columns, dtype=str),
        fit_seconds=np.array(answer.fit_seconds),
        predict_seconds=np.array(answer.predict_seconds),
        warned=np.array(answer.warned, dtype=str),
        **given,
    )
    scratch = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(content.getvalue())
        scratch.replace(path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        return error
    return None


def _path(name: str) -> Path:
    return cache_home() / FOLDER / name[:2] / f"{name}.npz"
