"""Averages over the way of a training: which step counts how much, and the statistics that belong to them."""

from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from zoo_builder.specification import Dropout, Network
from zoo_builder.training.copies import copied

#: Examples in a batch that normalization's statistics are taken from.
STATISTICS_BATCH: Final = 256


def epoch_ends(network: Network, every: int = 1) -> NDArray[np.int64]:
    """Return after how many steps a network has seen all its examples once more, so many times, up to its last step."""
    seen = np.arange(1, network.steps * network.batch_size // (every * network.examples) + 1)
    ends: NDArray[np.int64] = -(-seen * every * network.examples // network.batch_size)
    return ends


def weights(network: Network) -> NDArray[np.float64]:
    """Return by how much a network's average moves to its parameters after each step, (steps,): 0 is not at all.

    ``"swa"`` (Izmailov et al., UAI 2018) is the mean of the parameters at the ends of epochs and after the last step;
    ``"ema"`` moves at every step.
    """
    how, steps = network.how, network.steps
    found = np.zeros(steps)
    begin = how.average_from * steps
    if how.average == "ema":
        first = min(max(int(np.ceil(begin)), 1), steps)
        found[first - 1 :] = 1 - how.average_decay
        found[first - 1] = 1
    elif how.average == "swa":
        ends = np.unique([*epoch_ends(network), steps])
        ends = ends[ends >= begin]
        found[ends - 1] = 1 / np.arange(1, len(ends) + 1)
    return found


def replacing(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose normalization keeps the statistics of the last batch alone, and that drops nothing."""
    network = copied(network)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.momentum = cast(Any, 1.0)
        elif isinstance(module, Dropout):
            module.rate = 0.0
    return network


def normalizing(network: nn.Module, wanted: bool) -> nn.Module:
    """Have a network's normalization alone be in training mode, if wanted."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.train(wanted)
    return network
