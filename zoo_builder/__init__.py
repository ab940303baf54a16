"""Builds zoos: grids of networks, trained by the thousand, in a store that survives anything."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
