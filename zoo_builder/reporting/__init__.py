"""What a zoo says: its data report, its figures, and one configuration drawn.

In comes the folder of a zoo; out go numbers about its tables, Markdown and images.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
