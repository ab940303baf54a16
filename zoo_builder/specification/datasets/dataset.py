"""The data sets that a zoo is trained on."""

import gzip
import hashlib
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mdbench.errors import MdbenchError, reason
from mdbench.extras import install_line
from mdbench.paths import cache_home

#: Where Debian's package dataset-fashion-mnist puts its files.
DEBIAN_FASHION_MNIST: Final = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class _Hub:
    """An image data set on the Hugging Face hub. Columns are found by their types where they are not named."""

    repository: str
    config: str | None = None
    revision: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    test_split: str = "test"


_ON_HUB: Final = {
    "fashion_mnist": _Hub("zalando-datasets/fashion_mnist"),
    "cifar10": _Hub("uoft-cs/cifar10"),
    "cifar100": _Hub("uoft-cs/cifar100", label_column="fine_label"),
    "svhn": _Hub("ufldl-stanford/svhn", config="cropped_digits"),
}
_IN_TORCHVISION: Final = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}

_HUB_NAME: Final = re.compile(r"hf:\w[\w.-]*/\w[\w.-]*")
_HUB_FIELDS: Final = frozenset({"config", "revision", "image_column", "label_column", "test_split"})


class DatasetSpec(BaseModel):
    """The ``[dataset]`` table of a zoo's TOML.

    Attributes
    ----------
    name : ``mnist1d``, ``fashion_mnist``, ``cifar10``, ``cifar100``, ``svhn``; a file ``*.npz`` with the arrays
        ``train_inputs``, ``train_labels``, ``test_inputs``, ``test_labels``; or ``hf:ORG/NAME``, any image data set on
        the Hugging Face hub.
    train : training examples to generate (``mnist1d``: 4000 unless told) or to keep (otherwise: all unless told).
    test : test examples, likewise (``mnist1d``: 16000 unless told).
    size : images are scaled down to size × size pixels, by averaging areas.
    folder : where the files are: the IDX files of ``fashion_mnist``, what torchvision keeps of ``cifar10``, ``cifar100``
        and ``svhn``, or the folder that an ``*.npz`` is relative to.
    seed : of ``mnist1d``'s generator, and of which examples are kept.
    config, revision : of a data set on the hub; its default ones unless told.
    image_column, label_column : of a data set on the hub that has several; the only one of its type unless told.
    test_split : the split of a data set on the hub that is tested on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    train: int | None = Field(default=None, gt=0)
    test: int | None = Field(default=None, gt=0)
    size: int | None = Field(default=None, gt=0)
    folder: str | None = None
    seed: int = Field(default=0, ge=0)
    config: str | None = None
    revision: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    test_split: str = "test"

    @model_validator(mode="after")
    def _check(self) -> "DatasetSpec":
        if self.name == "mnist1d":
            meaningless = {"size", "folder"} | _HUB_FIELDS
        elif self.name in _ON_HUB or self.name.endswith(".npz"):
            meaningless = set(_HUB_FIELDS)
        elif _HUB_NAME.fullmatch(self.name):
            meaningless = {"folder"}
        else:
            known = ", ".join(["mnist1d", *_ON_HUB])
            raise ValueError(f"data set {self.name!r} is unknown; there are {known}, files *.npz, and hf:ORG/NAME")
        fields = type(self).model_fields
        given = sorted(field for field in meaningless if getattr(self, field) != fields[field].default)
        if given:
            raise ValueError(f"{given[0]!r} means nothing for data set {self.name!r}; leave it out")
        return self


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and labels to train and to test on. Two data sets with the same `digest` say the same; `==` is identity.

    Attributes
    ----------
    name : the name in the spec.
    train_inputs : float32, (n, channels, length), (n, channels, height, width) or (n, features); standardised: every
        channel has mean 0 and standard deviation 1 over the training set. A feature is a channel of its own.
    train_labels : int64 (n,), from 0 to classes − 1.
    test_inputs : float32; standardised with the training set's means and standard deviations.
    test_labels : int64 (n,).
    classes : how many classes there are.
    """

    name: str
    train_inputs: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_inputs: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.train_inputs.shape[1:]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the arrays say, and of the number of classes."""
        said = hashlib.sha256(str(self.classes).encode())
        for array in (self.train_inputs, self.train_labels, self.test_inputs, self.test_labels):
            little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            said.update(f" {little_endian.dtype.str} {array.shape} ".encode())
            said.update(little_endian.data)
        return said.hexdigest()


def load_dataset(spec: DatasetSpec) -> Dataset:
    """Load, or generate, the data set that a spec describes. The result is a function of the spec and the source's content.

    Sources
    -------
    ``mnist1d`` is drawn by the package of that name (Greydanus and Kobak, Scaling down deep learning with MNIST-1D,
    ICML 2024). ``fashion_mnist`` is read from IDX files, in ``folder`` or where Debian puts them, else from the hub.
    ``cifar10``, ``cifar100`` and ``svhn`` are read through torchvision where ``folder`` is given, else from the hub,
    else downloaded by torchvision; the examples and their order are the same.

    Raises
    ------
    MdbenchError
        The source cannot be reached or read, a package is missing, what was read is not a data set, or it has fewer
        examples or smaller images than asked for.
    """
    train, test, classes = _read(spec)
    for part, split in ((train, "training"), (test, "test")):
        if part.labels.max() >= classes:
            raise MdbenchError(
                f"{spec.name}: {split} label {part.labels.max()} is not one of the {classes} classes, from 0"
            )
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise MdbenchError(
            f"{spec.name}: a training input is {_times(train.inputs.shape[1:])}, a test input "
            f"{_times(test.inputs.shape[1:])}; they must have one shape"
        )
    if classes < 2:
        raise MdbenchError(f"{spec.name}: there is only one class; learning to tell classes apart takes two")

    train = _keep(train, spec.train, spec.seed, f"{spec.name}: train")
    test = _keep(test, spec.test, spec.seed, f"{spec.name}: test")
    train_inputs, test_inputs = train.inputs, test.inputs
    if spec.size is not None:
        train_inputs, test_inputs = (_downscale(inputs, spec.size, spec.name) for inputs in (train_inputs, test_inputs))
    train_inputs, test_inputs = _standardise(train_inputs, test_inputs, spec.name)
    return Dataset(spec.name, train_inputs, train.labels, test_inputs, test.labels, classes)


class _Part(NamedTuple):
    """A training or a test set as it was read: inputs (n, channels, …), labels int64 (n,)."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]


class _Raw(NamedTuple):
    train: _Part
    test: _Part
    classes: int


def _read(spec: DatasetSpec) -> _Raw:
    folder = None if spec.folder is None else Path(spec.folder).expanduser()
    if spec.name == "mnist1d":
        return _generate_mnist1d(spec)
    if spec.name == "fashion_mnist":
        return _in_own_order(_read_fashion_mnist(folder))
    if spec.name in _IN_TORCHVISION:
        return _in_own_order(_read_known(spec.name, folder))
    if spec.name.endswith(".npz"):
        return _read_npz((folder or Path()) / Path(spec.name).expanduser())
    fields = {field: getattr(spec, field) for field in _HUB_FIELDS}
    return _read_hub(_Hub(spec.name.removeprefix("hf:"), **fields))


# What every source has in common


def _part(inputs: NDArray[Any], labels: NDArray[Any], where: str) -> _Part:
    """Check inputs and labels from outside.

    Raises
    ------
    MdbenchError
        Inputs are not uint8 or float, not finite, none, or not (n, features), (n, channels, length) or
        (n, channels, height, width); labels are not integers from 0, or not as many as there are inputs.
    """
    if inputs.dtype != np.uint8 and inputs.dtype.kind != "f":
        raise MdbenchError(f"{where}: inputs are {inputs.dtype}; they must be uint8 or float")
    if inputs.ndim not in (2, 3, 4):
        raise MdbenchError(
            f"{where}: inputs have {inputs.ndim} dimensions; they must be (n, features), (n, channels, length) or "
            "(n, channels, height, width)"
        )
    if not inputs.size:
        raise MdbenchError(f"{where}: inputs are {_times(inputs.shape)}: there are none")
    if labels.dtype.kind not in "iu":
        raise MdbenchError(f"{where}: labels are {labels.dtype}; they must be integers")
    if labels.shape != inputs.shape[:1]:
        raise MdbenchError(
            f"{where}: there are {len(inputs)} inputs and labels of shape {labels.shape}; each needs one"
        )
    labels = labels.astype(np.int64)
    if labels.min() < 0:
        raise MdbenchError(f"{where}: there is a label {labels.min()}; labels count from 0")
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        raise MdbenchError(f"{where}: inputs are not all finite numbers")
    return _Part(inputs, labels)


def _count_classes(labels: NDArray[np.int64], where: str) -> int:
    """Count the classes of a training set: each must occur, so that a stray label does not make a million of them."""
    found = np.unique(labels)
    classes = len(found)
    if found[-1] != classes - 1:
        missing = int(np.flatnonzero(found != np.arange(classes))[0])
        raise MdbenchError(
            f"{where}: there is a label {found[-1]} and no label {missing}; number the classes 0, 1, 2, …"
        )
    return classes


def _in_own_order(raw: _Raw) -> _Raw:
    """Put examples in an order that their content decides: the hub's and torchvision's differ."""

    def ordered(part: _Part) -> _Part:
        keys = [(hashlib.sha256(image.tobytes()).digest(), label) for image, label in zip(*part, strict=True)]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return _Part(part.inputs[order], part.labels[order])

    return _Raw(ordered(raw.train), ordered(raw.test), raw.classes)


def _keep(part: _Part, amount: int | None, seed: int, where: str) -> _Part:
    """Keep examples drawn without replacement, in their order; more of them include fewer."""
    if amount is None:
        return part
    there = len(part.labels)
    if amount > there:
        raise MdbenchError(f"{where} = {amount} is more than the {there} examples that there are")
    kept = np.sort(np.random.default_rng(seed).permutation(there)[:amount])
    return _Part(part.inputs[kept], part.labels[kept])


def _downscale(images: NDArray[Any], size: int, name: str) -> NDArray[np.float32]:
    """Scale images (n, channels, height, width) down to size × size: a pixel is the mean over the area that it covers."""
    if images.ndim != 4:
        raise MdbenchError(f"{name}: size is for images; these inputs are {_times(images.shape[1:])}")
    number, channels, height, width = images.shape
    if size > min(height, width):
        raise MdbenchError(f"{name}: size = {size} is larger than the images, which are {height} × {width}")
    rows, columns = _area_weights(height, size), _area_weights(width, size)
    scaled = np.empty((number, channels, size, size), np.float32)
    for channel in range(channels):  # one at a time: in float64 they take eight times the room
        scaled[:, channel] = rows @ images[:, channel].astype(np.float64) @ columns.T
    return scaled


def _area_weights(old: int, new: int) -> NDArray[np.float64]:
    """Return (new, old): which share of new pixel i old pixel j covers. Rows sum to 1."""
    edge = np.arange(new + 1)[:, None] * (old / new)
    pixel = np.arange(old)
    covered: NDArray[np.float64] = np.maximum(np.minimum(edge[1:], pixel + 1) - np.maximum(edge[:-1], pixel), 0)
    return covered * (new / old)


def _standardise(train: NDArray[Any], test: NDArray[Any], name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Subtract the training set's mean and divide by its standard deviation (constants: by 1), channel by channel."""
    standardised = np.empty(train.shape, np.float32), np.empty(test.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the result is checked
        for channel in range(train.shape[1]):
            values = train[:, channel].astype(np.float64)
            mean = _twelve_digits(values.mean())
            # Asked of the values: rounding gives constants a deviation of 1e-17.
            spread = _twelve_digits(values.std()) if values.max() > values.min() else 1.0
            for inputs, out in zip((train, test), standardised, strict=True):
                out[:, channel] = (inputs[:, channel].astype(np.float64) - mean) / spread
    if not all(np.isfinite(part).all() for part in standardised):
        raise MdbenchError(f"{name}: inputs are too large, or too nearly constant, to be standardised in float32")
    return standardised


def _twelve_digits(number: np.float64) -> np.float64:
    """Round away the last bits, which differ from machine to machine with the order in which a sum is taken."""
    return np.float64(f"{number:.12g}")


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


# MNIST-1D

_MNIST1D_CLASSES: Final = 10
_MNIST1D_LENGTH: Final = 40


def _generate_mnist1d(spec: DatasetSpec) -> _Raw:
    """Draw MNIST-1D: training and test examples each from random numbers of their own, so that neither moves the other."""
    train = _mnist1d_part("train", spec.train or 4000, spec.seed)
    test = _mnist1d_part("test", spec.test or 16000, spec.seed)
    return _Raw(train, test, _MNIST1D_CLASSES)


def _mnist1d_part(split: str, amount: int, seed: int) -> _Part:
    """Return examples of the classes 0, 1, …, 9, 0, 1, …, kept from an earlier time where they were drawn before."""
    try:
        versions = "-".join(f"{package}-{version(package)}" for package in ("mnist1d", "numpy", "scipy"))
    except ImportError as error:
        raise MdbenchError(f"mnist1d: the package {error.name} is not installed: {install_line('zoo')}") from error
    path = cache_home() / "datasets" / f"{versions}-seed-{seed}-{split}-{amount}.npz"
    signals = _read_kept(path, (amount, 1, _MNIST1D_LENGTH))
    if signals is None:
        signals = _draw_mnist1d(split, amount, seed)
        _keep_file(path, signals)
    return _part(signals, np.arange(amount) % _MNIST1D_CLASSES, f"mnist1d: {split}")


def _draw_mnist1d(split: str, amount: int, seed: int) -> NDArray[np.float32]:
    """Draw signals (amount, 1, 40), the first of which are what a smaller amount gives.

    The package's `make_dataset` is a loop over `transform`, followed by a standardisation with the mean and standard
    deviation of all that it drew. Ours comes later, and uses the training set's alone.
    """
    mnist1d = _import("mnist1d", "zoo")
    templates, settings = mnist1d.get_templates(), mnist1d.get_dataset_args()
    signals = np.empty((amount, 1, _MNIST1D_LENGTH), np.float32)
    with _global_numpy_seed(np.random.SeedSequence(seed, spawn_key=(("train", "test").index(split),))):
        for number, signal in enumerate(signals):
            template = templates["x"][number % _MNIST1D_CLASSES]
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


# Fashion-MNIST

_LARGEST_IDX: Final = 2**31  # bytes


def _read_fashion_mnist(folder: Path | None) -> _Raw:
    if folder is not None or DEBIAN_FASHION_MNIST.is_dir():
        return _read_idx_folder(folder or DEBIAN_FASHION_MNIST)
    try:
        return _read_hub(_ON_HUB["fashion_mnist"])
    except _OutOfReachError as error:
        raise MdbenchError(
            f"{error}; or install Debian's package dataset-fashion-mnist, or give the folder of the IDX files"
        ) from error


def _read_idx_folder(folder: Path) -> _Raw:
    """Read the four files of MNIST and its kin, compressed or not."""

    def read(name: str, dimensions: int) -> NDArray[np.uint8]:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return _read_idx(path, dimensions)
        raise MdbenchError(f"{folder}: there is neither {name} nor {name}.gz; give the folder that has them")

    def part(prefix: str) -> _Part:
        images, labels = read(f"{prefix}-images-idx3-ubyte", 3), read(f"{prefix}-labels-idx1-ubyte", 1)
        return _part(images[:, None], labels, f"{folder / prefix}-*")

    train, test = part("train"), part("t10k")
    return _Raw(train, test, _count_classes(train.labels, f"{folder}: training labels"))


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes: 0, 0, 8, the number of dimensions, each dimension in 4 bytes, the values.

    Raises
    ------
    MdbenchError
        The file cannot be read, is of another kind, or is longer or shorter than its header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, sizes = file.read(4), file.read(4 * dimensions)
            if magic != bytes([0, 0, 8, dimensions]):
                raise MdbenchError(
                    f"{path} is not an IDX file of bytes in {dimensions} dimensions: it begins with 0x{magic.hex()}"
                )
            if len(sizes) < 4 * dimensions:
                raise MdbenchError(f"{path} ends within its header; get it anew")
            shape = struct.unpack(f">{dimensions}I", sizes)
            expected = math.prod(shape)
            if expected > _LARGEST_IDX:
                raise MdbenchError(f"{path}: its header says {_times(shape)} bytes, more than 2 GiB; get it anew")
            values = file.read(expected + 1)  # never more than one too many, whatever a compressed file would grow to
    except (OSError, EOFError, zlib.error) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    if len(values) != expected:
        found = "more" if len(values) > expected else f"only {len(values)}"
        raise MdbenchError(f"{path}: its header says {_times(shape)} bytes, but there are {found}; get it anew")
    return np.frombuffer(values, np.uint8).reshape(shape)


# The Hugging Face hub and torchvision


class _OutOfReachError(MdbenchError):
    """A source is not on this machine and cannot be fetched from here; another source may be."""


def _import(module: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    # A torchvision that was built for another torch raises a RuntimeError or an OSError.
    except (ImportError, RuntimeError, OSError) as error:
        package = module.partition(".")[0]
        raise _OutOfReachError(f"{package} cannot be imported ({reason(error)}): {install_line(extra)}") from error


def _read_known(name: str, folder: Path | None) -> _Raw:
    if folder is not None:
        return _read_torchvision(name, folder, download=False)
    try:
        return _read_hub(_ON_HUB[name])
    except _OutOfReachError as hub:
        try:
            return _read_torchvision(name, cache_home() / "datasets" / "torchvision", download=True)
        except _OutOfReachError as torchvision:
            raise MdbenchError(
                f"{name}: {hub}; {torchvision}, and give the folder that its files are in where they cannot be downloaded"
            ) from torchvision


def _read_hub(source: _Hub) -> _Raw:
    """Read the training and the test split of an image data set. Data alone: code that comes with it is never run."""
    library = _import("datasets", "zoo")
    where = source.repository
    train = _load_split(library, source, "train")
    test = _load_split(library, source, source.test_split)
    image_column = _column(train, library.Image, source.image_column, "image_column", where)
    label_column = _column(train, library.ClassLabel, source.label_column, "label_column", where)

    def part(table: Any, split: str) -> _Part:
        labels = np.asarray(table[label_column][:])
        return _part(_decode(table[image_column], f"{where}: {split}"), labels, f"{where}: {split}")

    parts = part(train, "train"), part(test, source.test_split)
    kind = train.features[label_column]
    known = isinstance(kind, library.ClassLabel)
    return _Raw(*parts, kind.num_classes if known else _count_classes(parts[0].labels, f"{where}: train"))


def _load_split(library: ModuleType, source: _Hub, split: str) -> Any:
    try:
        return library.load_dataset(
            source.repository, name=source.config, revision=source.revision, split=split, trust_remote_code=False
        )
    except ConnectionError as error:
        raise _OutOfReachError(
            f"{source.repository} cannot be fetched from the Hugging Face hub ({reason(error)}); "
            "fetch it where the network reaches the hub"
        ) from error
    except Exception as error:
        raise MdbenchError(
            f"{source.repository}: split {split!r} cannot be read from the Hugging Face hub: {reason(error)}; "
            "check name, config, revision and test_split, and `hf auth login` where it is not public"
        ) from error


def _column(table: Any, kind: type, asked: str | None, field: str, where: str) -> str:
    """Return the column that was asked for, or the only one of a kind."""
    columns: list[str] = list(table.column_names)
    if asked is not None:
        if asked not in columns:
            raise MdbenchError(f"{where}: there is no column {asked!r}; {field} is one of {', '.join(columns)}")
        return asked
    found = [column for column in columns if isinstance(table.features[column], kind)]
    if len(found) != 1:
        raise MdbenchError(
            f"{where}: {len(found)} columns are of type {kind.__name__}; say which to use: {field} is one of "
            f"{', '.join(found or columns)}"
        )
    return found[0]


def _decode(images: Any, where: str) -> NDArray[np.uint8]:
    """Return Pillow images as (n, channels, height, width)."""
    try:
        pixels = [_pixels(image, f"{where}: image {number}") for number, image in enumerate(images)]
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises
        raise MdbenchError(f"{where}: an image cannot be read: {reason(error)}") from error
    if not pixels:
        raise MdbenchError(f"{where}: there are no images")
    for number, array in enumerate(pixels):
        if array.shape != pixels[0].shape:
            raise MdbenchError(
                f"{where}: image {number} is {_times(array.shape)}, image 0 {_times(pixels[0].shape)}; "
                "images must have one size, and all be greyscale or all be RGB"
            )
    return np.stack(pixels)


def _pixels(image: Any, where: str) -> NDArray[np.uint8]:
    """Return a Pillow image as (channels, height, width)."""
    mode = getattr(image, "mode", None)
    if mode not in ("L", "RGB"):
        raise MdbenchError(f"{where} has mode {mode}; images must be greyscale (L) or RGB")
    array: NDArray[np.uint8] = np.asarray(image)
    return array[None] if mode == "L" else array.transpose(2, 0, 1)


def _read_torchvision(name: str, root: Path, *, download: bool) -> _Raw:
    """Read a data set through torchvision, which checks its files against checksums of its own before it opens them."""
    make = getattr(_import("torchvision.datasets", "vision"), _IN_TORCHVISION[name])

    def part(split: str) -> _Part:
        which = {"split": split} if name == "svhn" else {"train": split == "train"}
        try:
            read = make(root=str(root), download=download, **which)
        except Exception as error:
            raise MdbenchError(f"{name}: torchvision cannot read it from {root}: {reason(error)}") from error
        if name == "svhn":
            return _part(np.asarray(read.data), np.asarray(read.labels), f"{name}: {split}")
        return _part(np.asarray(read.data).transpose(0, 3, 1, 2), np.asarray(read.targets), f"{name}: {split}")

    train, test = part("train"), part("test")
    return _Raw(train, test, _count_classes(train.labels, name))


# Files of one's own


_ARRAYS: Final = ("train_inputs", "train_labels", "test_inputs", "test_labels")


def _read_npz(path: Path) -> _Raw:
    if not path.is_file():
        raise MdbenchError(f"{path} is not there; check the data set's name and folder")
    if not zipfile.is_zipfile(path):
        raise MdbenchError(f"{path} is not an .npz file; write it with numpy.savez")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            read = {name: np.asarray(arrays[name]) for name in _ARRAYS if name in arrays}
    except Exception as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}; write it anew with numpy.savez") from error
    for name in _ARRAYS:
        if name not in read:
            raise MdbenchError(f"{path}: array {name!r} is missing; all of {', '.join(_ARRAYS)} must be there")
    train = _part(read["train_inputs"], read["train_labels"], f"{path}: train")
    test = _part(read["test_inputs"], read["test_labels"], f"{path}: test")
    return _Raw(train, test, _count_classes(train.labels, f"{path}: train_labels"))
