"""A person's own networks, examined: what can be measured of them, what they lack, and how much to believe it.

In come networks, a loss and data, as objects or as they are named on a command line; out goes a diagnosis, and a report of
it. What the answers follow from is in `mdbench.diagnosing`.
"""

import lazy_loader

from mdbench.extras import needs

_attached, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    with needs("zoo"):
        return _attached(name)
