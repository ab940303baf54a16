"""Sizes: of inputs and of networks."""

from torch import nn

from mdbench.errors import MdbenchError

Shape = tuple[int, ...]
_SHAPES = {1: "(features,)", 2: "(channels, length)", 3: "(channels, height, width)"}


def dimensions(name: str, shape: Shape, wanted: int) -> Shape:
    """Return an input's shape, which must have as many axes as an architecture wants."""
    if len(shape) != wanted:
        raise MdbenchError(f"architecture {name} wants inputs of shape {_SHAPES[wanted]}, the data set's are {shape}")
    return shape


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(value.numel() for value in network.parameters() if value.requires_grad)
