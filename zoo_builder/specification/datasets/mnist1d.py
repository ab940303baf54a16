"""MNIST-1D, drawn by the package of that name."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError
from mdbench.extras import install_line
from mdbench.paths import cache_home
from zoo_builder.specification.datasets.raw import Part, Raw, checked_part
from zoo_builder.specification.datasets.reach import import_package
from zoo_builder.specification.datasets.spec import DatasetSpec

_CLASSES: Final = 10
_LENGTH: Final = 40


def generate_mnist1d(spec: DatasetSpec) -> Raw:
    """Draw MNIST-1D: training and test examples each from random numbers of their own, so that neither moves the other."""
    train = _part("train", spec.train or 4000, spec.seed)
    test = _part("test", spec.test or 16000, spec.seed)
    return Raw(train, test, _CLASSES)


def _part(split: str, amount: int, seed: int) -> Part:
    """Return examples of the classes 0, 1, …, 9, 0, 1, …, kept from an earlier time where they were drawn before."""
    try:
        versions = "-".join(f"{package}-{version(package)}" for package in ("mnist1d", "numpy", "scipy"))
    except ImportError as error:
        raise MdbenchError(f"mnist1d: the package {error.name} is not installed: {install_line('zoo')}") from error
    path = cache_home() / "datasets" / f"{versions}-seed-{seed}-{split}-{amount}.npz"
    signals = _read_kept(path, (amount, 1, _LENGTH))
    if signals is None:
        signals = _draw(split, amount, seed)
        _keep_file(path, signals)
    return checked_part(signals, np.arange(amount) % _CLASSES, f"mnist1d: {split}")


def _draw(split: str, amount: int, seed: int) -> NDArray[np.float32]:
    """Draw signals (amount, 1, 40), the first of which are what a smaller amount gives.

    The package's `make_dataset` is a loop over `transform`, followed by a standardisation with the mean and standard
    deviation of all that it drew. Ours comes later, and uses the training set's alone.
    """
    mnist1d = import_package("mnist1d", "zoo")
    templates, settings = mnist1d.get_templates(), mnist1d.get_dataset_args()
    signals = np.empty((amount, 1, _LENGTH), np.float32)
    with _global_numpy_seed(np.random.SeedSequence(seed, spawn_key=(("train", "test").index(split),))):
        for number, signal in enumerate(signals):
            template = templates["x"][number % _CLASSES]
            signal[:] = mnist1d.transform(template, templates["t"], settings)[0]
    return signals


@contextmanager
def _global_numpy_seed(seed: np.random.SeedSequence) -> Iterator[None]:
    """Seed NumPy's global generator, which mnist1d draws from, and leave it as it was."""
    before = np.random.get_state()
    np.random.seed(seed.generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(before)


def _read_kept(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return a kept array; None where there is none, or a damaged one: reading checks the checksum that a zip file has."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            array: NDArray[np.float32] = kept["array"]
    # A zip file whose flags are damaged is encrypted, or compressed in ways unheard of: RuntimeError.
    except (
        OSError,
        LookupError,
        ValueError,
        TypeError,
        EOFError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        return None
    return array if array.shape == shape and array.dtype == np.float32 and np.isfinite(array).all() else None


def _keep_file(path: Path, array: NDArray[np.float32]) -> None:
    """Keep an array, whole or not at all. Where the cache cannot be written, it is simply not kept."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            np.savez(file, array=array)
        scratch.replace(path)
    except OSError:
        with suppress(OSError):
            scratch.unlink()
