"""What became of entries: their methods run again, and the ledger that keeps every event.

In come entries; out go verdicts, scores and lines of the ledger.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
