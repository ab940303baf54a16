"""A generator of somebody's own, by its import path: ``make(train=…, test=…, seed=…, **options)``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError
from zoo_builder.specification.datasets.arrays import ARRAYS, raw_of
from zoo_builder.specification.datasets.raw import Raw
from zoo_builder.specification.datasets.spec import DatasetSpec
from zoo_builder.specification.own import imported, told

Arrays = dict[str, NDArray[Any]]


def read_generated(spec: DatasetSpec) -> Raw:
    """Return what a generator makes: a mapping of the arrays that an ``*.npz`` has, see `raw_of`.

    It is called twice, because networks are functions of their specification only if their data are.

    Raises
    ------
    MdbenchError
        It cannot be imported, raises, or returns something else, other numbers of examples, or something else the
        second time.
    """
    make = imported(spec.name, "data set", "makes arrays")
    sizes = {name: amount for name, amount in (("train", spec.train), ("test", spec.test)) if amount is not None}
    first, second = (_made(make, {**sizes, "seed": spec.seed, **spec.options}, spec.name) for _ in range(2))
    for name in sorted(first.keys() | second.keys()):
        if name not in first or name not in second or not _alike(first[name], second[name]):
            raise MdbenchError(
                f"data set {spec.name}: called twice with the same arguments, it returns another {name!r}; "
                "draw everything from numpy.random.default_rng(seed)"
            )
    for part, amount in sizes.items():
        if f"{part}_inputs" in first and len(first[f"{part}_inputs"]) != amount:
            raise MdbenchError(
                f"data set {spec.name}: asked for {part} = {amount} examples, it returns {len(first[f'{part}_inputs'])}"
            )
    return raw_of(first, f"data set {spec.name}")


def _made(make: Any, given: dict[str, Any], name: str) -> Arrays:
    try:
        made = make(**given)
    except (Exception, SystemExit) as error:
        raise MdbenchError(f"data set {name} with {given} raises {told(error)}") from error
    if not isinstance(made, Mapping):
        raise MdbenchError(f"data set {name} returns {type(made).__name__}; it must return a mapping of arrays")
    for key, array in made.items():
        if key not in ARRAYS:
            raise MdbenchError(f"data set {name} returns {key!r}; its arrays can be {', '.join(ARRAYS)}")
        if not isinstance(array, np.ndarray):
            raise MdbenchError(f"data set {name}: {key} is {type(array).__name__}; it must be a NumPy array")
        if array.dtype.kind not in "biufc":
            raise MdbenchError(f"data set {name}: {key} is an array of {array.dtype}; it must be one of numbers")
    return {str(key): array.copy() for key, array in made.items()}  # it might hand out the same again, and change it


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
