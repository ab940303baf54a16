"""The dataset that comes with this package: a folder with a card that Hugging Face's ``datasets`` reads as it is.

``data/ZOO/`` are zoos, ``data/cases.parquet`` and ``data/splits.parquet`` the benchmark itself, ``README.md`` says what they
hold.
"""

from pathlib import Path
from typing import Final

from mdbench.paths import PACKAGE

DATA: Final = "data"


def dataset_path() -> str:
    """Return the folder of the dataset, for ``datasets.load_dataset(mdbench.dataset_path())``."""
    return str(PACKAGE)


def bundled_zoos() -> Path:
    """Return the folder whose subfolders are the zoos of this package."""
    return Path(dataset_path(), DATA)
