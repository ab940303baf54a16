"""Architectures: ordinary PyTorch modules, with width and depth as knobs.

In come an input's shape and the number of outputs; out goes an ``nn.Module``. There is a file for each kind of architecture.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
