"""Which versions are at work: mdbench's own, and those of the packages that may change a prediction."""

from typing import Final

__version__ = "0.1.0"

#: Packages whose versions may change a prediction.
PACKAGES: Final = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "xgboost")


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that may change a prediction, of those that are installed."""
    from importlib.metadata import PackageNotFoundError, version  # takes longer to import than the rest of a help

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
