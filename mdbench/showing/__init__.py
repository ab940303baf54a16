"""Results and zoos for people: the terminal, Markdown and figures.

In come results, cases and zoos; out go text and images. Nothing is computed here that a score depends on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
