"""What answers are worth.

In come methods and cases; out goes a `Result`: scores with their intervals, predictions and what failed. Two methods are
compared on the same draws, and diagnoses are turned into moves on the grid.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
