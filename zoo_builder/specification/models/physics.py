"""The network of physics-informed training: from coordinates to the solution, with its derivatives."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.specification.models.layers import Activation, activation_of
from zoo_builder.specification.models.sizes import Shape, dimensions

Jet = tuple[Tensor, Tensor, Tensor]


def _relu(x: Tensor) -> Jet:
    return x.relu(), (x > 0).to(x.dtype), torch.zeros_like(x)


def _tanh(x: Tensor) -> Jet:
    value = x.tanh()
    first = 1 - value * value
    return value, first, -2 * value * first


def _gelu(x: Tensor) -> Jet:
    share = 0.5 * (1 + (x * math.sqrt(0.5)).erf())
    density = (-0.5 * x * x).exp() * (1 / math.sqrt(2 * math.pi))
    return x * share, share + x * density, density * (2 - x * x)


def _silu(x: Tensor) -> Jet:
    share = x.sigmoid()
    slope = share * (1 - share)
    return x * share, share + x * slope, slope * (2 + x * (1 - 2 * share))


def _softplus(x: Tensor) -> Jet:
    share = x.sigmoid()
    return functional.softplus(x), share, share * (1 - share)


#: Activation → its value and its first two derivatives.
_JETS: dict[str, Callable[[Tensor], Jet]] = {
    "relu": _relu,
    "gelu": _gelu,
    "tanh": _tanh,
    "silu": _silu,
    "softplus": _softplus,
}


class Pinn(nn.Module):
    """A perceptron over coordinates, of random Fourier features of them if wanted.

    The features are sin(2πFᵀx) and cos(2πFᵀx), where F has normally distributed entries (Tancik et al., NeurIPS 2020). F is
    not trained: it is a buffer, `frequencies` (d, fourier).
    """

    frequencies: Tensor

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, activation: Activation, fourier: int, scale: float
    ) -> None:
        super().__init__()
        if fourier:
            self.register_buffer("frequencies", scale * torch.randn(inputs, fourier))
        self.fourier = fourier
        sizes = [2 * fourier or inputs, *[width] * depth]
        self.hidden = nn.ModuleList(nn.Linear(before, width) for before in sizes[:-1])
        self.activation = activation_of(activation)
        self.head = nn.Linear(width, outputs)
        self._jet = _JETS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Map coordinates (B, d) to (B, outputs)."""
        if self.fourier:
            angles = 2 * math.pi * (x @ self.frequencies)
            x = torch.cat([angles.sin(), angles.cos()], 1)
        for layer in self.hidden:
            x = self.activation(layer(x))
        out: Tensor = self.head(x)
        return out

    def jet(self, x: Tensor, directions: Sequence[int], order: Literal[1, 2] = 2) -> Jet:
        """Return the output with its first and second derivatives along some coordinates, exactly.

        Truncated Taylor polynomials go through the layers (Griewank and Walther, Evaluating derivatives, 2008, chapter 13):
        of a linear layer, all of them in one matrix product; of f, by (f∘x)' = f'(x) x' and (f∘x)'' = f''(x) x'² + f'(x) x''.

        Parameters
        ----------
        x : coordinates (B, d).
        directions : numbers of the n coordinates.
        order : 1 where second derivatives are not wanted.

        Returns
        -------
        value (B, outputs), first and second derivatives (n, B, outputs) each; of order 1, the second are (0, B, outputs).
        """
        layers = list(self.hidden)
        if self.fourier:
            angles, rows = 2 * math.pi * (x @ self.frequencies), 2 * math.pi * self.frequencies[list(directions)]
            sines, cosines = angles.sin(), angles.cos()
            value, slope = torch.cat([sines, cosines], 1), torch.cat([cosines, -sines], 1)
            curvature, rows = -value, torch.cat([rows, rows], 1)
        else:
            layer = layers.pop(0)
            rows = cast("Tensor", layer.weight).T[list(directions)]
            value, slope, curvature = self._jet(layer(x))
        first = rows[:, None]  # the same at every point, without second derivatives
        seen = first if order == 2 else first[:0]
        first, second = slope * first, curvature * seen * seen
        for layer in layers:
            inner, first, second = _linear(layer, (value, first, second))
            value, slope, curvature = self._jet(inner)
            seen = first if order == 2 else first[:0]
            first, second = slope * first, torch.addcmul(slope * second, curvature * seen, seen)
        return _linear(self.head, (value, first, second))


def _linear(layer: nn.Module, at: Jet) -> Jet:
    """Return what a linear layer makes of a value (B, features) and derivatives (…, B, features)."""
    assert isinstance(layer, nn.Linear)
    value, first, second = at
    count = len(first)
    together = torch.cat([value[None], first, second]) @ layer.weight.T
    return together[0] + layer.bias, together[1 : 1 + count], together[1 + count :]


def pinn(
    shape: Shape,
    outputs: int,
    width: int,
    depth: int = 4,
    activation: Activation = "tanh",
    fourier: int = 0,
    scale: float = 1,
) -> nn.Module:
    """Return `depth` hidden layers of `width` units over coordinates, or over `fourier` random frequencies of them.

    `scale` is the standard deviation of the frequencies, in periods a unit of the coordinates. The network has a method
    `jet`, for derivatives with respect to the coordinates.
    """
    (inputs,) = dimensions("pinn", shape, 1)
    if scale != 1 and not fourier:
        raise MdbenchError(
            "architecture pinn: scale is that of Fourier features, and fourier = 0 asks for none; write both"
        )
    return Pinn(inputs, outputs, width, depth, activation, fourier, scale)
