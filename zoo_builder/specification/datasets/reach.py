"""What a source needs that may not be here: a package, or the network."""

from importlib import import_module
from types import ModuleType

from mdbench.errors import MdbenchError, reason
from mdbench.extras import install_line


class OutOfReachError(MdbenchError):
    """A source is not on this machine and cannot be fetched from here; another source may be."""


def import_package(module: str, extra: str) -> ModuleType:
    """Import a module of a package that may not be installed.

    Raises
    ------
    OutOfReachError
        It cannot be imported; the message says which extra of mdbench brings it.
    """
    try:
        return import_module(module)
    # A torchvision that was built for another torch raises a RuntimeError or an OSError.
    except (ImportError, RuntimeError, OSError) as error:
        package = module.partition(".")[0]
        raise OutOfReachError(f"{package} cannot be imported ({reason(error)}): {install_line(extra)}") from error
