"""Networks of one shape as one program."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo_builder.training.copies import copied
from zoo_builder.training.costs import cost
from zoo_builder.training.program import Program, program_of


class Stack:
    """Networks of one shape, whose parameters lie one behind the other along a leading axis.

    Attributes
    ----------
    parameters : name → (S, …), leaves that require gradients.
    buffers : name → (S, …).
    program : what each of them computes.
    put_out : how many numbers the layers of one network put out for an example.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        shape: tuple[int, ...],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        vocabulary: int = 0,
    ) -> None:
        """Stack networks for inputs of a shape (without the batch's axis): their parameters and buffers are copied.

        Inputs are numbers, or ids of a vocabulary.

        Raises
        ------
        ValueError
            There are none, or their parameters and buffers differ in name or shape.
        """
        if not networks:
            raise ValueError("a stack needs at least one network")
        self.program: Program = program_of(networks[0], shape, vocabulary=vocabulary)
        self.put_out = cost(copied(networks[0]).to("cpu", torch.float32), shape, tokens=bool(vocabulary)).activations
        self._names = _names(networks[0])
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        for store, states in (
            (self.parameters, [dict(network.named_parameters()) for network in networks]),
            (self.buffers, [dict(network.named_buffers()) for network in networks]),
        ):
            shapes = [{name: value.shape for name, value in state.items()} for state in states]
            if any(shape != shapes[0] for shape in shapes):
                raise ValueError("networks of one stack must have parameters of the same names and shapes")
            for name, first in states[0].items():
                kind = dtype if first.is_floating_point() else first.dtype
                stacked = torch.stack([state[name].detach() for state in states])
                store[name] = stacked.to(device=device, dtype=kind)
        for value in self.parameters.values():
            value.requires_grad_()

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def __call__(self, x: Tensor, *, training: bool) -> Tensor:
        """Return outputs (S, K, …, B) of inputs (S, …, B), or (1, …, B) where all networks see the same."""
        return self.program(self.parameters, self.buffers, x, training)

    def part(self, rows: Tensor) -> "Stack":
        """Return a stack of copies of some networks; rows (S',) are positions."""
        part = Stack.__new__(Stack)
        part.program, part.put_out, part._names = self.program, self.put_out, self._names
        part.parameters = {name: value.detach()[rows].requires_grad_() for name, value in self.parameters.items()}
        part.buffers = {name: value[rows] for name, value in self.buffers.items()}
        return part

    def state(self, row: int) -> dict[str, Tensor]:
        """Return a copy of one network's parameters and buffers, as its ``state_dict`` would name them, on the CPU."""
        own = {**self.parameters, **self.buffers}
        return {name: own[known][row].detach().cpu().clone() for name, known in self._names.items()}


def _names(network: nn.Module) -> dict[str, str]:
    """Return the names of a network's ``state_dict``, each with that by which its tensor is known: the first it has."""
    first: dict[int, str] = {}
    every = (*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False))
    known = {name: first.setdefault(id(value), name) for name, value in every}
    return {name: known[name] for name in network.state_dict()}
