"""Methods, and how they are asked.

In come a method's file and the rows of a case; out goes an `Answer`, one verdict a seed and test row. Methods run here, in
worker processes, or in a sandbox; answers are kept by the content of all that they depend on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
