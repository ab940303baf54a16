"""What one example costs a network."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdbench.errors import MdbenchError
from zoo_builder.specification import parameter_count, told


@dataclass(frozen=True)
class Cost:
    """What one example costs a network.

    Attributes
    ----------
    parameters : trainable parameters.
    multiplications : multiply–adds of a forward pass, in matrix products; training takes three times as many.
    activations : numbers that layers put out in a forward pass, unfolded inputs of convolutions included.
    tensors : parameters and buffers, counted as tensors.
    bytes : of these tensors and their names.
    """

    parameters: int
    multiplications: int
    activations: int
    tensors: int
    bytes: int


def cost(network: nn.Module, shape: tuple[int, ...], *, tokens: bool = False) -> Cost:
    """Count what one example costs a network, by letting one through it; inputs are numbers, or tokens.

    Raises
    ------
    MdbenchError
        The network fails on it.
    """
    multiplications = activations = 0

    def count(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal multiplications, activations
        activations += output.numel()
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            positions = output[0, 0].numel()
            multiplications += module.weight.numel() * positions
            activations += module.weight[0].numel() * positions
        elif isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d):
            multiplications += module.weight.numel() * given[0][0, 0].numel()
        elif isinstance(module, nn.Linear):
            multiplications += module.weight.numel()

    hooks = [module.register_forward_hook(count) for module in network.modules() if not list(module.children())]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *shape, dtype=torch.int64 if tokens else torch.float32))
    except Exception as error:
        raise MdbenchError(f"the architecture fails on an example of zeros: {told(error)}") from error
    for hook in hooks:
        hook.remove()
    state = network.state_dict()
    stored = sum(len(name) + value.numel() * value.element_size() for name, value in state.items())
    return Cost(parameter_count(network), multiplications, activations, len(state), stored)
