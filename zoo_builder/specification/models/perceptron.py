"""The multilayer perceptron."""

import math
from itertools import pairwise

from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.models.layers import Activation, Norm, Residual, hidden, needs_bias
from zoo_builder.specification.models.sizes import Shape


def mlp(
    shape: Shape,
    outputs: int,
    width: int,
    depth: int = 2,
    norm: Norm = "batch",
    activation: Activation = "relu",
    dropout: float = 0,
    residual: bool = False,
) -> nn.Module:
    """Return `depth` hidden layers of `width` units, each with a normalization, an activation and dropout behind it.

    With `residual`, there is a way around each of them but the first, whose input has another size.
    """
    if width == 1 and norm in ("layer", "group"):
        raise MdbenchError(f'architecture mlp: norm = "{norm}" makes zero of one unit; write a width from 2 up')
    layers: list[nn.Module] = [nn.Flatten()]
    for at, (before, after) in enumerate(pairwise([math.prod(shape), *[width] * depth])):
        those = hidden(nn.Linear(before, after, bias=needs_bias(norm)), norm, activation, dropout)
        layers += [Residual(*those)] if residual and at else those
    return nn.Sequential(*layers, nn.Linear(width, outputs))
