"""Which way of computing a surface fits some networks: compiled loops where they know them, PyTorch elsewhere."""

from collections.abc import Sequence

import torch
from torch import nn

from zoo_builder.landscape.stacked import Stacked
from zoo_builder.landscape.surface import Loss, Surface
from zoo_builder.landscape.taped import Taped
from zoo_builder.training import UnknownLayerError


def open_surface(
    networks: Sequence[nn.Module],
    shape: tuple[int, ...],
    *,
    loss: Loss | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Surface:
    """Return the surfaces of some networks.

    Parameters
    ----------
    networks : of one shape. They are copied, and not changed.
    shape : of one input.
    loss : mean loss of logits (n, K) and targets (n, …); the mean cross-entropy, in nats, if left out.
    device, dtype : where and in which precision to compute.

    Raises
    ------
    ValueError
        There are no networks, or their parameters and buffers differ in name or shape.
    MdbenchError
        The network cannot be mapped over a stack.
    """
    if torch.device(device).type == "cpu" and loss is None:
        try:
            return Taped(networks, shape, dtype)
        except UnknownLayerError:
            pass
    return Stacked(networks, shape, loss=loss, device=device, dtype=dtype)
