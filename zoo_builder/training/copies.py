"""Copies of networks."""

import copy
from typing import Any

from torch import Tensor, nn


def copied(network: nn.Module) -> nn.Module:
    """Return a copy of a network."""
    return copy.deepcopy(network, _kept(network))


def emptied(network: nn.Module) -> nn.Module:
    """Return a copy whose parameters and buffers hold nothing, so that one that is not filled in is noticed.

    What is one tensor by several names stays one, unlike in ``.to("meta")``.
    """
    empty: dict[int, Any] = {
        id(value): nn.Parameter(value.detach().to("meta"), value.requires_grad) for value in network.parameters()
    }
    empty.update((id(value), value.detach().to("meta")) for value in network.buffers())
    return copy.deepcopy(network, {**_kept(network), **empty})


def _kept(network: nn.Module) -> dict[int, Any]:
    """Return copies of tensors that a network has computed from its parameters and kept, as pruning does, by their identity.

    PyTorch copies no tensor that remembers how it was computed.
    """
    return {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
