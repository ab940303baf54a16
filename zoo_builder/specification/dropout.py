"""Dropout whose masks are a function of network, step, layer and place: the same in every way of computing a network.

The random bits are those of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014):
the i-th number of a stream needs no other one, so that compiled loops, NumPy and PyTorch each draw what they need.
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Bits that decide whether a number is kept.
BITS: Final = 24
#: What SplitMix64 adds from number to number, and multiplies by.
GOLDEN: Final = 0x9E3779B97F4A7C15
FACTORS: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_STREAM: Final = 2  # 0 and 1 are initialisation and order


def stream(seed: int, layer: int) -> int:
    """Return the key of a network's dropout layer, in [0, 2⁶⁴): its place among the network's dropout layers counts."""
    return int(np.random.SeedSequence([seed, _STREAM, layer]).generate_state(1, np.uint64)[0])


def key_at(stream: int, step: int) -> int:
    """Return the key of a mask: that of the layer at a step of training, 0 being the first; an int64."""
    return int(np.uint64(mixed(np.array([stream], np.uint64), np.array([step]))[0]).view(np.int64))


def mixed(key: NDArray[np.uint64], index: NDArray[Any]) -> NDArray[np.uint64]:
    """Return numbers of SplitMix64's stream that begins at a key, uint64: those at the indices, 0 being the first."""
    with np.errstate(over="ignore"):
        z = key + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(FACTORS[0])
        z = (z ^ (z >> np.uint64(27))) * np.uint64(FACTORS[1])
        numbers: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return numbers


def threshold(rate: float) -> int:
    """Return what the upper bits of a number must reach for its place to be kept; rates are multiples of 2⁻²⁴."""
    return round(rate * 2**BITS)


class Dropout(nn.Module):
    """Dropout (Srivastava et al., JMLR 2014) by masks that can be drawn again.

    In training, value j of an example's n, in PyTorch's order, at place b of its batch is kept if the number b n + j of
    the stream at `key` has upper bits of at least rate · 2²⁴; it is then divided by 1 − rate.

    Attributes
    ----------
    rate : share of values that are dropped, from 0 to below 1.
    key : int64, a buffer that no ``state_dict`` holds; whoever trains sets it before every step, to `key_at`.
    """

    key: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"dropout is a share from 0 to below 1, not {rate}")
        self.rate = rate
        self.register_buffer("key", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, …) to the same shape."""
        if not self.training or self.rate == 0:
            return x
        index = torch.arange(x.numel(), device=x.device).view(x.shape)
        return x * mask(self.key, index, self.rate, x.dtype)

    def extra_repr(self) -> str:
        """Say the rate."""
        return f"rate={self.rate}"


def mask(key: Tensor, index: Tensor, rate: float, dtype: torch.dtype) -> Tensor:
    """Return what values are multiplied by: 0 or 1 / (1 − rate), of the indices' shape; key int64, or one that broadcasts."""
    z = key + (index + 1) * _signed(GOLDEN)
    z = (z ^ _shifted(z, 30)) * _signed(FACTORS[0])
    z = (z ^ _shifted(z, 27)) * _signed(FACTORS[1])
    upper = _shifted(z ^ _shifted(z, 31), 64 - BITS)
    return (upper >= threshold(rate)).to(dtype) / (1 - rate)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Return z shifted right as if it had no sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def swapped(network: nn.Module) -> nn.Module:
    """Put dropout of this kind in the place of every ``nn.Dropout`` of a network, and return it."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
    return network


def dropouts(network: nn.Module) -> list[str]:
    """Return the names of a network's dropout layers, in the order that `stream` counts them."""
    return [name for name, module in network.named_modules() if type(module) is Dropout]
