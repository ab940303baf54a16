"""From the numbers of one network to verdicts, with how much to believe them.

In comes a row of measured columns; out go calibrated probabilities for every task, an answer or an abstention, and how good
the same pipeline is on zoos that it never saw.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
