"""IDX files: how MNIST and its kin are handed on."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError, reason
from zoo_builder.specification.datasets.raw import Part, Raw, checked_part, count_classes, times

_LARGEST: Final = 2**31  # bytes


def read_idx_folder(folder: Path) -> Raw:
    """Read the four files of MNIST and its kin, compressed or not."""

    def read(name: str, dimensions: int) -> NDArray[np.uint8]:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return _read_idx(path, dimensions)
        raise MdbenchError(f"{folder}: there is neither {name} nor {name}.gz; give the folder that has them")

    def part(prefix: str) -> Part:
        images, labels = read(f"{prefix}-images-idx3-ubyte", 3), read(f"{prefix}-labels-idx1-ubyte", 1)
        return checked_part(images[:, None], labels, f"{folder / prefix}-*")

    train, test = part("train"), part("t10k")
    return Raw(train, test, count_classes(train.targets, f"{folder}: training labels"))


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
            if expected > _LARGEST:
                raise MdbenchError(f"{path}: its header says {times(shape)} bytes, more than 2 GiB; get it anew")
            values = file.read(expected + 1)  # never more than one too many, whatever a compressed file would grow to
    except (OSError, EOFError, zlib.error) as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}") from error
    if len(values) != expected:
        found = "more" if len(values) > expected else f"only {len(values)}"
        raise MdbenchError(f"{path}: its header says {times(shape)} bytes, but there are {found}; get it anew")
    return np.frombuffer(values, np.uint8).reshape(shape)
