"""Where mdbench keeps things on this machine."""

import os
from pathlib import Path
from typing import Final

import platformdirs

HOME_VARIABLE = "MDBENCH_HOME"
#: The folder of mdbench itself.
PACKAGE: Final = Path(__file__).resolve().parent


def data_home() -> Path:
    """Return the folder for imported zoos: ``$MDBENCH_HOME``, or the platform's folder for user data."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home).expanduser() if home else Path(platformdirs.user_data_dir("mdbench", appauthor=False))


def zoo_home() -> Path:
    """Return the folder whose subfolders are zoos."""
    return data_home() / "zoos"


def cache_home() -> Path:
    """Return the folder for cached answers: ``$MDBENCH_HOME/cache``, or the platform's cache folder."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home).expanduser() / "cache" if home else Path(platformdirs.user_cache_dir("mdbench", appauthor=False))
