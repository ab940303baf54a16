"""Files ``*.npz``: arrays of one's own."""

import zipfile
from pathlib import Path

import numpy as np

from mdbench.errors import MdbenchError, reason
from zoo_builder.specification.datasets.arrays import ARRAYS, raw_of
from zoo_builder.specification.datasets.raw import Raw


def read_npz(path: Path) -> Raw:
    """Read a data set from a file ``*.npz``.

    Raises
    ------
    MdbenchError
        The file is not there, cannot be read, or its arrays are not a data set, see `raw_of`.
    """
    if not path.is_file():
        seen = "" if path.is_absolute() else f" in {Path.cwd()}, where the command was started"
        raise MdbenchError(f"{path} is not there{seen}; check the data set's name and folder")
    if not zipfile.is_zipfile(path):
        raise MdbenchError(f"{path} is not an .npz file; write it with numpy.savez")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            read = {name: np.asarray(arrays[name]) for name in ARRAYS if name in arrays}
    except Exception as error:
        raise MdbenchError(f"{path} cannot be read: {reason(error)}; write it anew with numpy.savez") from error
    return raw_of(read, str(path))
