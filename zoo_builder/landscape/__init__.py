"""Loss-landscape metrics, of a zoo's networks and of anybody's PyTorch models: ``measure(models, loss, data)``.

In come trained networks and data; out go numbers of networks, layers and configurations, or the reason why one is missing.
Nine families, a file each; `zoo_builder.landscape.registry` lists them, docs/metrics.md says how each is checked.
"""

import lazy_loader

from mdbench.extras import needs

_attached, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = [
    "Data",
    "Interrupted",
    "Measurements",
    "Settings",
    "measure",
]  # for people; the stub lists what other rooms take besides


def __getattr__(name: str) -> object:
    with needs("zoo"):
        return _attached(name)
