"""Files ``*.npz``: arrays of one's own."""

import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from mdbench.errors import MdbenchError, reason
from zoo_builder.specification.datasets.raw import Raw, checked_part, count_classes

_ARRAYS: Final = ("train_inputs", "train_labels", "test_inputs", "test_labels")


def read_npz(path: Path) -> Raw:
    """Read a data set from a file ``*.npz``.

    Raises
    ------
    MdbenchError
        The file is not there, cannot be read, or lacks an array; or an array is not what it must be.
    """
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
    train = checked_part(read["train_inputs"], read["train_labels"], f"{path}: train")
    test = checked_part(read["test_inputs"], read["test_labels"], f"{path}: test")
    return Raw(train, test, count_classes(train.targets, f"{path}: train_labels"))
