"""The residual network of the published zoo."""

from torch import Tensor, nn

from zoo_builder.specification.models.layers import Activation, Norm, activation_of, hidden, needs_bias, norm_of
from zoo_builder.specification.models.sizes import Shape, dimensions


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a way around them (He et al., CVPR 2016).

    Dropout is between the convolutions (Zagoruyko and Komodakis, Wide residual networks, BMVC 2016). Parameters have the
    names of the published networks, whatever the normalization.
    """

    def __init__(
        self,
        before: int,
        after: int,
        stride: int,
        norm: Norm = "batch",
        activation: Activation = "relu",
        dropout: float = 0,
    ) -> None:
        super().__init__()
        bias = needs_bias(norm)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=bias)
        self.bn1 = norm_of(norm, after, 2)
        self.inner = activation_of(activation, dropout)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=bias)
        self.bn2 = norm_of(norm, after, 2)
        self.outer = activation_of(activation)
        around: list[nn.Module] = []
        if stride != 1 or before != after:
            around = [nn.Conv2d(before, after, 1, stride=stride, bias=bias), norm_of(norm, after, 2)]
        self.shortcut = nn.Sequential(*around)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, before, H, W) to (B, after, H / stride, W / stride)."""
        inner = self.bn2(self.conv2(self.inner(self.bn1(self.conv1(x)))))
        out: Tensor = self.outer(inner + self.shortcut(x))
        return out


def resnet18(
    shape: Shape,
    outputs: int,
    width: int,
    depth: int = 2,
    norm: Norm = "batch",
    activation: Activation = "relu",
    dropout: float = 0,
) -> nn.Module:
    """Return the width-scaled ResNet-18 of the published zoo: `width` channels at first, 64 in the usual one.

    The form for small images (He et al., CVPR 2016, section 4.2): a 3 × 3 convolution, four groups of `depth` blocks with
    1, 2, 4 and 8 times `width` channels, global average pooling.
    """
    channels, *_ = dimensions("resnet18", shape, 3)
    blocks: list[nn.Module] = []
    before = width
    for group in range(4):
        for at in range(depth):
            stride = 2 if group and not at else 1
            blocks.append(BasicBlock(before, width * 2**group, stride, norm, activation, dropout))
            before = width * 2**group
    return nn.Sequential(
        *hidden(nn.Conv2d(channels, width, 3, padding=1, bias=needs_bias(norm)), norm, activation),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(before, outputs),
    )
