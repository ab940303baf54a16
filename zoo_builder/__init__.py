"""Builds zoos: grids of networks, trained by the thousand, in a store that survives anything."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_builder.fetch import load_checkpoint

__all__ = ["load_checkpoint"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the command line's help must not wait for PyTorch."""
    if name in __all__:
        return getattr(import_module("zoo_builder.fetch"), name)
    raise AttributeError(f"module 'zoo_builder' has no attribute {name!r}")
