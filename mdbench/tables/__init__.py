"""Zoos as tables, and the labels that follow from them.

In comes a folder or a name; out goes a `Zoo`: one row a configuration, a network and a layer, every column as the schema
says it, and the labels, which are computed from the test errors over the grid and never read.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
