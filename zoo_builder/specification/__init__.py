"""What a zoo is to be.

In comes a TOML file; out go a `ZooSpec`, its data (`Dataset`, `Subsets`) and its networks before any training: a grid point,
a seed, the random numbers that follow from them, and an ordinary PyTorch module.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
