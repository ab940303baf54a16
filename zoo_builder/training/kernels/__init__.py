"""The inner loops of training and measuring on a CPU, compiled by Numba: a network's whole training is a call or two.

They read a tape (see `zoo_builder.training.tape`), forwards for logits and backwards for gradients. One network at a time, so
that what a small one needs in a step stays in the nearer caches; one thread. A layer is a file with its `forward` and
`backward`, and with their derivatives `forward_along` and `backward_along`, where these are others; `passes` calls them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
