"""Architectures: ordinary PyTorch modules, with width and depth as knobs."""

import math
from itertools import pairwise

from torch import Tensor, nn

from mdbench.errors import MdbenchError

Shape = tuple[int, ...]


def mlp(shape: Shape, classes: int, width: int, depth: int = 2, norm: bool = True) -> nn.Module:
    """Return `depth` hidden layers of `width` units, each with batch normalization (if `norm`) and ReLU."""
    sizes = [math.prod(shape), *[width] * depth]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers.append(nn.Linear(before, after, bias=not norm))
        layers += [nn.BatchNorm1d(after)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes))


def cnn1d(shape: Shape, classes: int, width: int, depth: int = 3, norm: bool = True) -> nn.Module:
    """Return `depth` convolutions of stride 2 and `width` channels each, the first of size 5, the others of size 3."""
    channels, length = _dimensions("cnn1d", shape, 2)
    layers: list[nn.Module] = []
    for at in range(depth):
        size = 5 if at == 0 else 3
        layers.append(nn.Conv1d(channels, width, size, stride=2, padding=1, bias=not norm))
        layers += [nn.BatchNorm1d(width)] if norm else []
        layers.append(nn.ReLU())
        channels, length = width, (length + 2 - size) // 2 + 1
    if length < 1:
        raise MdbenchError(f"architecture cnn1d: inputs of shape {shape} are too short for depth {depth}")
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * length, classes))


def cnn2d(shape: Shape, classes: int, width: int, depth: int = 3, norm: bool = True) -> nn.Module:
    """Return `depth` 3 × 3 convolutions of stride 2, with `width` channels, twice as many, four times as many, and so on."""
    channels, *sides = _dimensions("cnn2d", shape, 3)
    layers: list[nn.Module] = []
    for at in range(depth):
        wide = width * 2**at
        layers.append(nn.Conv2d(channels, wide, 3, stride=2, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(wide)] if norm else []
        layers.append(nn.ReLU())
        channels, sides = wide, [(side - 1) // 2 + 1 for side in sides]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * math.prod(sides), classes))


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a way around them (He et al., CVPR 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        around: list[nn.Module] = []
        if stride != 1 or before != after:
            around = [nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)]
        self.shortcut = nn.Sequential(*around)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, before, H, W) to (B, after, H / stride, W / stride)."""
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu(inner + self.shortcut(x))
        return out


def resnet18(shape: Shape, classes: int, width: int, depth: int = 2) -> nn.Module:
    """Return the width-scaled ResNet-18 of the published zoo: `width` channels at first, 64 in the usual one.

    The form for small images (He et al., CVPR 2016, section 4.2): a 3 × 3 convolution, four groups of `depth` blocks with
    1, 2, 4 and 8 times `width` channels, global average pooling.
    """
    channels, *_ = _dimensions("resnet18", shape, 3)
    blocks: list[nn.Module] = []
    before = width
    for group in range(4):
        for at in range(depth):
            blocks.append(BasicBlock(before, width * 2**group, stride=2 if group and not at else 1))
            before = width * 2**group
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(before, classes),
    )


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(value.numel() for value in network.parameters() if value.requires_grad)


def _dimensions(name: str, shape: Shape, wanted: int) -> Shape:
    if len(shape) != wanted:
        kind = "(channels, length)" if wanted == 2 else "(channels, height, width)"
        raise MdbenchError(f"architecture {name} wants inputs of shape {kind}, the data set's are {shape}")
    return shape
