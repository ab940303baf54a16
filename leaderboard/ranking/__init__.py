"""Who is ahead, and whether by more than chance.

In come entries and their ledger, as of a date; out goes the board: rankings with intervals, and what can be told apart.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
