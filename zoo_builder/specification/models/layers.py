"""What stands between the layers of an architecture: activations, normalizations, dropout, additions."""

from typing import Literal

from torch import Tensor, nn

from mdbench.errors import MdbenchError
from zoo_builder.specification.dropout import Dropout

Activation = Literal["relu", "gelu", "tanh", "silu", "softplus"]
#: True is batch normalization, false is none.
Norm = Literal["batch", "layer", "group", "none"] | bool

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}
_BATCH = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d)


def activation_of(name: Activation, dropout: float = 0) -> nn.Module:
    """Return an activation, and dropout behind it; parameters have the same names with and without dropout."""
    if name not in _ACTIVATIONS:
        raise MdbenchError(f"activation {name!r} is none of {', '.join(_ACTIVATIONS)}")
    activation = _ACTIVATIONS[name]()
    return nn.Sequential(activation, Dropout(dropout)) if dropout else activation


def needs_bias(norm: Norm) -> bool:
    """Tell whether a layer before a normalization needs a bias: batch normalization would take it away."""
    return norm not in (True, "batch")


def norm_of(norm: Norm, channels: int, positions: int) -> nn.Module:
    """Return a normalization of (B, channels, …); an ``nn.Identity`` for none.

    Layer normalization is that of all values of an example together, with a weight and a bias a channel (Wu and He, Group
    normalization, ECCV 2018, section 3). Groups are 2, 4 or 8 of at least four channels each where that comes out even,
    else one.

    Parameters
    ----------
    norm, channels : which, of how many.
    positions : number of axes behind the channels: 0 of a vector, 1 of a signal, 2 of an image.
    """
    if norm in (True, "batch"):
        return _BATCH[positions](channels)
    if norm == "layer":
        return nn.GroupNorm(1, channels) if positions else nn.LayerNorm(channels)
    if norm == "group":
        return nn.GroupNorm(
            max(n for n in (1, 2, 4, 8) if n == 1 or (channels % n == 0 and channels >= 4 * n)), channels
        )
    if norm in (False, "none"):
        return nn.Identity()
    raise MdbenchError(f"norm {norm!r} is none of batch, layer, group, none")


def hidden(
    layer: nn.Linear | nn.Conv1d | nn.Conv2d, norm: Norm, activation: Activation, dropout: float = 0
) -> list[nn.Module]:
    """Return a layer, with the normalization (if any), the activation and the dropout behind it."""
    channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    behind = norm_of(norm, channels, 0 if isinstance(layer, nn.Linear) else layer.weight.ndim - 2)
    normalization = [] if isinstance(behind, nn.Identity) else [behind]
    return [layer, *normalization, activation_of(activation, dropout)]


class Residual(nn.Sequential):
    """Layers and a way around them, x + layers(x) (He et al., CVPR 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to one of the same shape."""
        out = x
        for layer in self:
            out = layer(out)
        return x + out
