"""What is not installed with mdbench itself: parts that need more packages say which, and how to get them."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mdbench.errors import MdbenchError

#: Packages that a method may import without naming them as requirements, though mdbench does without, and the extra of each.
OPTIONAL: Final = {"xgboost": "xgboost"}


def install_line(extra: str) -> str:
    """Return the shell command that installs an extra, and where to run it: mdbench is on no package index."""
    return f"pip install -e '.[{extra}]' in a clone of mdbench"


def missing(package: str, extra: str) -> str:
    """Say that a package is missing, and how to get it."""
    return f"the package {package} is missing; run {install_line(extra)}"


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Stand around the imports of an extra's packages.

    Parameters
    ----------
    extra : the extra of this distribution that installs them.

    Raises
    ------
    MdbenchError
        A package is not installed. A module missing from a package that is there is a fault, and raised as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or importlib.util.find_spec(package):
            raise
        raise MdbenchError(missing(package, extra)) from error
