"""Loss-landscape metrics, of a zoo's networks and of anybody's PyTorch models: ``measure(models, loss, data)``.

Nine families, a file each; `zoo_builder.landscape.registry` lists them, docs/metrics.md says how each is checked.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_builder.landscape.data import Data
    from zoo_builder.landscape.measurement import Measurements, measure
    from zoo_builder.landscape.metric import Settings

__all__ = ["Data", "Measurements", "Settings", "measure"]

_HOMES = {"Data": "data", "Measurements": "measurement", "Settings": "metric", "measure": "measurement"}


def __getattr__(name: str) -> Any:
    # Families import one another's modules from here, and what all of them need takes a while to import.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
