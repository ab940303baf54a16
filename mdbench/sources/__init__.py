"""Foreign tables, read into zoos: one file a source, the only place that knows its names."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
