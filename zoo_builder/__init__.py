"""Builds zoos: grids of networks, trained by the thousand, in a store that survives anything."""

import lazy_loader

from mdbench.extras import needs

_attached, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    with needs("zoo"):
        return _attached(name)
