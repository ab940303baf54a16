"""Convolutions of stride 2, one behind the other, over signals and images."""

import math

from torch import nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.models.layers import Activation, Norm, Residual, hidden, needs_bias
from zoo_builder.specification.models.sizes import Shape, dimensions


def cnn1d(
    shape: Shape,
    outputs: int,
    width: int,
    depth: int = 3,
    norm: Norm = "batch",
    activation: Activation = "relu",
    dropout: float = 0,
    residual: bool = False,
) -> nn.Module:
    """Return `depth` convolutions of stride 2 and `width` channels each, the first of size 5, the others of size 3.

    Behind each there are a normalization, an activation and dropout; with `residual` then one more convolution, of size 3
    and stride 1, with the same behind it and a way around it.
    """
    channels, length = dimensions("cnn1d", shape, 2)
    bias = needs_bias(norm)
    layers: list[nn.Module] = []
    for at in range(depth):
        size = 5 if at == 0 else 3
        layers += hidden(nn.Conv1d(channels, width, size, stride=2, padding=1, bias=bias), norm, activation, dropout)
        channels, length = width, (length + 2 - size) // 2 + 1
        if residual:
            more = nn.Conv1d(width, width, 3, padding=1, bias=bias)
            layers.append(Residual(*hidden(more, norm, activation, dropout)))
    if length < 1:
        raise MdbenchError(f"architecture cnn1d: inputs of shape {shape} are too short for depth {depth}")
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * length, outputs))


def cnn2d(
    shape: Shape,
    outputs: int,
    width: int,
    depth: int = 3,
    norm: Norm = "batch",
    activation: Activation = "relu",
    dropout: float = 0,
    residual: bool = False,
) -> nn.Module:
    """Return `depth` 3 × 3 convolutions of stride 2, with `width` channels, twice as many, four times as many, and so on.

    What is behind each is as in `cnn1d`.
    """
    channels, *sides = dimensions("cnn2d", shape, 3)
    bias = needs_bias(norm)
    layers: list[nn.Module] = []
    for at in range(depth):
        wide = width * 2**at
        layers += hidden(nn.Conv2d(channels, wide, 3, stride=2, padding=1, bias=bias), norm, activation, dropout)
        channels, sides = wide, [(side - 1) // 2 + 1 for side in sides]
        if residual:
            more = nn.Conv2d(wide, wide, 3, padding=1, bias=bias)
            layers.append(Residual(*hidden(more, norm, activation, dropout)))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * math.prod(sides), outputs))
