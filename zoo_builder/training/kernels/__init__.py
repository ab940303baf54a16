"""The inner loops of training and measuring on a CPU, compiled by Numba: a network's whole training is a call or two.

They read a tape (see `zoo_builder.training.tape`), forwards for logits and backwards for gradients.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
