"""Arrays of one's own, from a file or a function: what they mean, and what of them is refused."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets.raw import (
    MASKED,
    Kind,
    Part,
    Raw,
    checked_inputs,
    checked_part,
    count_classes,
    next_tokens,
    times,
)

_PARTS: Final = ("train", "test")
#: What arrays may be called.
ARRAYS: Final = tuple(f"{part}_{what}" for part in _PARTS for what in ("inputs", "labels", "targets"))
#: More token ids than any vocabulary has.
_MOST_IDS: Final = 2**20


def raw_of(arrays: Mapping[str, NDArray[Any]], where: str) -> Raw:
    """Return the data set that arrays are.

    Parameters
    ----------
    arrays : under some of the names `ARRAYS`. Inputs are numbers, uint8 or float, or token ids, integers of another type,
        (n, length). With labels (n,) a class each is predicted. With labels (n, …) it is a class for each pixel, place or
        token, and −1 masks one. With targets, float (n, k), it is k numbers. Of token ids alone, at each the next one is
        predicted.
    where : what stands before messages.

    Raises
    ------
    MdbenchError
        An array is missing or too much, or not what it must be.
    """
    there = [what for what in ("labels", "targets") if any(f"{part}_{what}" in arrays for part in _PARTS)]
    if len(there) == 2:
        raise MdbenchError(f"{where}: there are labels and targets; leave one of them out")
    tokens = _are_ids(arrays.get("train_inputs"))
    said = None if tokens and not there else (there or ["labels"])[0]
    wanted = [f"{part}_{what}" for part in _PARTS for what in ("inputs", said) if what]
    for name in wanted:
        if name not in arrays:
            raise MdbenchError(f"{where}: array {name!r} is missing; all of {', '.join(wanted)} must be there")
    parts = [
        _part(arrays[f"{part}_inputs"], arrays.get(f"{part}_{said}"), f"{where}: {part}", said, tokens=tokens)
        for part in _PARTS
    ]
    return _raw(parts[0], parts[1], where, said, tokens=tokens)


def _are_ids(inputs: NDArray[Any] | None) -> bool:
    return inputs is not None and inputs.dtype.kind in "iu" and inputs.dtype != np.uint8


def _part(inputs: NDArray[Any], answers: NDArray[Any] | None, where: str, said: str | None, *, tokens: bool) -> Part:
    """Check one part of the data, whose answers are what is said of them: labels, targets, or nothing."""
    if said == "labels" and answers is not None and answers.ndim < 2 and not tokens:
        return checked_part(inputs, answers, where)
    inputs = _checked_ids(inputs, where) if tokens else checked_inputs(inputs, where)
    if answers is None:
        return Part(inputs, next_tokens(inputs))
    return Part(inputs, (_checked_labels if said == "labels" else _checked_targets)(inputs, answers, where))


def _checked_ids(inputs: NDArray[Any], where: str) -> NDArray[np.int64]:
    if not _are_ids(inputs):
        raise MdbenchError(f"{where}: inputs are {inputs.dtype}; token ids, as in the other part, are integers")
    if inputs.ndim != 2 or not inputs.size or inputs.shape[1] < 2:
        raise MdbenchError(f"{where}: token ids are {times(inputs.shape)}; they must be (n, length), two at least each")
    if inputs.min() < 0 or inputs.max() >= _MOST_IDS:
        strange = inputs.min() if inputs.min() < 0 else inputs.max()
        raise MdbenchError(f"{where}: there is a token id {strange}; ids are from 0 to below {_MOST_IDS}")
    return inputs.astype(np.int64)


def _checked_labels(inputs: NDArray[Any], labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Check a class for each input, or for each of its positions."""
    if labels.dtype.kind not in "iu":
        raise MdbenchError(f"{where}: labels are {labels.dtype}; they must be integers")
    positions = inputs.shape[1:] if inputs.ndim == 2 else inputs.shape[2:]
    possible = [inputs.shape[:1]]
    if inputs.ndim > 2 or inputs.dtype == np.int64:  # the numbers of a vector have no class each
        possible.append((len(inputs), *positions))
    if labels.shape not in possible:
        more = f", or one for each of its {times(positions)} positions" if len(possible) > 1 else ""
        raise MdbenchError(
            f"{where}: there are {len(inputs)} inputs and labels of shape {labels.shape}; each needs one{more}"
        )
    if labels.max() > np.iinfo(np.int64).max:  # it would become negative
        raise MdbenchError(f"{where}: there is a label {labels.max()}; number the classes 0, 1, 2, …")
    labels, least = labels.astype(np.int64), 0 if labels.ndim == 1 else MASKED
    if labels.min() < least:
        also = f", and {MASKED} masks a position" if least else ""
        raise MdbenchError(f"{where}: there is a label {labels.min()}; labels count from 0{also}")
    if labels.ndim > 1:
        empty = np.flatnonzero((labels == MASKED).reshape(len(labels), -1).all(1))
        if len(empty):
            raise MdbenchError(f"{where}: all positions of example {empty[0]} are masked; leave it out")
    return labels


def _checked_targets(inputs: NDArray[Any], targets: NDArray[Any], where: str) -> NDArray[np.float32]:
    if targets.dtype.kind != "f":
        raise MdbenchError(f"{where}: targets are {targets.dtype}; they must be float (classes are called labels)")
    if targets.ndim != 2 or len(targets) != len(inputs) or not targets.size:
        raise MdbenchError(
            f"{where}: there are {len(inputs)} inputs and targets of shape {targets.shape}; they must be (n, k), "
            "k numbers for each"
        )
    with np.errstate(over="ignore"):
        targets = targets.astype(np.float32)
    if not np.isfinite(targets).all():
        raise MdbenchError(f"{where}: targets are not all finite numbers in float32")
    return targets


def _raw(train: Part, test: Part, where: str, said: str | None, *, tokens: bool) -> Raw:
    vocabulary = 1 + int(max(train.inputs.max(), test.inputs.max())) if tokens else 0
    if said == "targets":
        if train.targets.shape[1] != test.targets.shape[1]:
            raise MdbenchError(
                f"{where}: a training target is {train.targets.shape[1]} numbers, a test target "
                f"{test.targets.shape[1]}; they must be as many"
            )
        return Raw(train, test, train.targets.shape[1], "values", vocabulary, standardise=not tokens)
    if train.targets.ndim != test.targets.ndim:
        raise MdbenchError(f"{where}: labels of both parts must be alike: a class an example, or one a position")
    if all(_are_next(part) for part in (train, test)):
        return Raw(train, test, vocabulary, "positions", vocabulary, standardise=False)
    classes = count_classes(train.targets[train.targets != MASKED], f"{where}: train_labels")
    kind: Kind = "classes" if train.targets.ndim == 1 else "positions"
    return Raw(train, test, classes, kind, vocabulary, standardise=not tokens)


def _are_next(part: Part) -> bool:
    """Tell whether what is predicted is the next token, wherever it counts: then every token id may be predicted."""
    if part.inputs.dtype != np.int64 or part.targets.ndim == 1:
        return False
    counts = part.targets != MASKED
    return bool((part.targets == next_tokens(part.inputs))[counts].all())
