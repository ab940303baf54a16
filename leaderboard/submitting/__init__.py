"""From a method's file to an entry.

In comes a method; out goes the folder of an entry, or a pull request on the Hugging Face Hub.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
