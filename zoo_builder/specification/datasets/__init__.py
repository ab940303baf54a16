"""The data sets that a zoo is trained on.

In comes a `DatasetSpec`; out goes a `Dataset`: arrays, checked and standardised. There is a file for each kind of source.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
