"""The two-layer network of feature learning's theory."""

import math

import torch
from torch import Tensor, nn

from zoo_builder.specification.models.layers import Activation, activation_of
from zoo_builder.specification.models.sizes import Shape


class TwoLayer(nn.Module):
    """f(x) = φ(x Wᵀ / √d) aᵀ / √h, with every entry of W (h, d) and of a (outputs, h) from the normal distribution at first.

    Rates of thousands are ordinary in this scaling: a gradient of W is of the order of 1 / (√h √d).
    """

    def __init__(self, features: int, outputs: int, width: int, activation: Activation, readout: bool) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, width, bias=False)
        nn.init.normal_(self.hidden.weight)
        self.activation = activation_of(activation)
        drawn = torch.randn(outputs, width)
        if readout:
            self.readout = nn.Parameter(drawn)
        else:
            self.register_buffer("readout", drawn)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, d) to (B, outputs)."""
        hidden = self.activation(self.hidden(x.flatten(1)) / math.sqrt(self.hidden.in_features))
        out: Tensor = hidden @ self.readout.T / math.sqrt(self.hidden.out_features)
        return out


def two_layer(
    shape: Shape, outputs: int, width: int, activation: Activation = "tanh", readout: bool = False
) -> nn.Module:
    """Return a two-layer network of `width` hidden units; its second layer is trained only with `readout`.

    The setting of Ba et al. (NeurIPS 2022) and of Kothapalli et al. (From spikes to heavy tails, 2024).
    """
    return TwoLayer(math.prod(shape), outputs, width, activation, readout)
