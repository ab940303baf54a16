"""The board as a folder of pages.

In comes the board; out go HTML, JSON and Markdown, in a folder or served on this machine.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
