"""From a specification to the tables of a zoo, gone on with after any interruption.

In come a specification and workers; out go a folder of units, each there whole or not at all, and the tables that are joined
from them: networks trained, landscapes measured, and any of it verified by doing it again.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
