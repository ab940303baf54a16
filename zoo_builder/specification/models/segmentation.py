"""The U-Net: from an image to a class for each of its pixels."""

import torch
from torch import Tensor, nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.models.layers import Activation, Norm, hidden, needs_bias
from zoo_builder.specification.models.sizes import Shape, dimensions


class UNet(nn.Module):
    """A way down to coarser images with more channels, and a way up again that sees what there was on the way down.

    As Ronneberger, Fischer and Brox (MICCAI 2015) have it: two 3 × 3 convolutions a level, a maximum over 2 × 2 pixels down,
    a transposed convolution of stride 2 up. Edges are padded here, so that an image keeps its size.
    """

    def __init__(
        self, channels: int, outputs: int, width: int, depth: int, norm: Norm, activation: Activation, dropout: float
    ) -> None:
        super().__init__()

        def both(before: int, after: int) -> nn.Sequential:
            bias = needs_bias(norm)
            one, other = (nn.Conv2d(of, after, 3, padding=1, bias=bias) for of in (before, after))
            return nn.Sequential(*hidden(one, norm, activation, dropout), *hidden(other, norm, activation, dropout))

        wide = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(both(*of) for of in zip([channels, *wide], wide, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * after, after, 2, stride=2) for after in reversed(wide[:-1]))
        self.joined = nn.ModuleList(both(2 * after, after) for after in reversed(wide[:-1]))
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, outputs, H, W)."""
        x = self.down[0](x)
        seen = []
        for layers in self.down[1:]:
            seen.append(x)
            x = layers(self.pool(x))
        for up, layers in zip(self.up, self.joined, strict=True):
            x = layers(torch.cat([seen.pop(), up(x)], 1))
        out: Tensor = self.head(x)
        return out


def unet(
    shape: Shape,
    outputs: int,
    width: int,
    depth: int = 2,
    norm: Norm = "batch",
    activation: Activation = "relu",
    dropout: float = 0,
) -> nn.Module:
    """Return a U-Net of `width` channels at first, which halves an image `depth` times and doubles its channels each time."""
    channels, *sides = dimensions("unet", shape, 3)
    if any(side % 2**depth for side in sides):
        most = max(fewer for fewer in range(depth) if not any(side % 2**fewer for side in sides))
        instead = f"write depth = {most} at most, or give" if most else "give"
        raise MdbenchError(
            f"architecture unet: images of {sides[0]} × {sides[1]} cannot be halved {depth} times; "
            f"{instead} images whose sides are multiples of {2**depth}"
        )
    return UNet(channels, outputs, width, depth, norm, activation, dropout)
