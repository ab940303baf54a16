"""Networks, trained: one after the other in compiled loops on a CPU, as stacks on other devices.

In come networks of one shape and their data; out go their trained tensors, their losses and errors. What trains them is made
from the module itself, and tried against it first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
