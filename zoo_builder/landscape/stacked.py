"""Loss surfaces by PyTorch: networks of one shape and one function as one stack, on any device, with any loss."""

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from zoo_builder.landscape.alone import last_seen
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.module import normalizations, normalizing
from zoo_builder.landscape.objective import CrossEntropy, Objective
from zoo_builder.landscape.surface import GRAPH, STATISTICS_BATCH, Curvature, Layout, filled, numbers
from zoo_builder.training import Program, copied, cost, program_of

#: Numbers that layers put out for one block of examples, at most, all networks together.
_BLOCK = 2**25
#: Numbers that layers put out for each number that comes in, where they cannot be counted.
_UNCOUNTED = 16


class Stacked:
    """The loss surfaces of a stack; see `zoo_builder.landscape.surface.Surface`."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        shape: tuple[int, ...],
        *,
        objective: Objective | None = None,
        names: Sequence[str] | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Stack networks for inputs of a shape.

        Parameters
        ----------
        networks : of one shape.
        shape : of one input, floating point.
        objective : the loss; the mean cross-entropy, in nats, if left out.
        names : of the parameters that surfaces are over; all if left out. The others stay as they are.
        device, dtype : where and in which precision to compute.
        """
        if not networks:
            raise ValueError("a surface needs at least one network")
        self.module = networks[0]
        self.layout = Layout(self.module, names)
        self.objective: Objective = objective or CrossEntropy()
        self._program: Program = program_of(self.module, shape, normalizing)
        self._put_out = _put_out(self.module, shape)
        self._device, self._dtype, self._shape = torch.device(device), dtype, shape
        parameters, buffers = numbers(networks, self._moved)
        self.points, self._buffers = self.layout.points(parameters), buffers
        self._frozen = {name: value for name, value in parameters.items() if name not in self.layout.shapes}

    @property
    def classifies(self) -> bool:
        """Whether the loss is one of classes, one an example."""
        return self.objective.classifies

    @property
    def way(self) -> str:
        """How it is computed, in words."""
        return f"a stack, {'layer by layer' if self._program.form == 'stacked' else 'mapped as a whole'}"

    def _moved(self, value: Tensor) -> Tensor:
        return value.detach().to(self._device, self._dtype if value.is_floating_point() else None)

    def __len__(self) -> int:
        return len(self.points)

    def _with(self, points: Tensor, buffers: dict[str, Tensor]) -> Self:
        other = copy.copy(self)
        other.points, other._buffers = points, buffers
        return other

    def _parameters(self, points: Tensor) -> dict[str, Tensor]:
        """Return all parameters of the networks at points (S, P), name → (S, …)."""
        return {**self.layout.tensors(points), **self._frozen}

    def part(self, rows: Sequence[int]) -> Self:
        """Return the surfaces of some of the networks."""
        chosen = torch.as_tensor(rows, dtype=torch.int64, device=self._device)
        other = self._with(self.points[chosen], {name: value[chosen] for name, value in self._buffers.items()})
        other._frozen = {name: value[chosen] for name, value in self._frozen.items()}
        return other

    def network(self, row: int) -> nn.Module:
        """Return a copy of one network."""
        buffers = {name: value[row] for name, value in self._buffers.items()}
        frozen = {name: value[row] for name, value in self._frozen.items()}
        return filled(self.module, {**self.layout.tensors(self.points[row]), **frozen, **buffers})

    def reopened(self, networks: Sequence[nn.Module]) -> Self:
        """Return the surfaces of other networks."""
        return type(self)(networks, self._shape, objective=self.objective, device=self._device, dtype=self._dtype)

    def _run(self, points: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor, *, training: bool = False) -> Tensor:
        """Return logits (S, B, K) of inputs (1 or S, B, …)."""
        x = self._moved(inputs).movedim(1, -1)
        return self._program(self._parameters(points), buffers, x, training).movedim(-1, 1)

    def _totals(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the numerators of losses, (S,), of logits (S, B, K) and targets (1 or S, B, …)."""
        targets = self._moved(targets)
        shared = len(targets) == 1
        over = torch.func.vmap(self.objective.total, in_dims=(0, None if shared else 0))
        totals: Tensor = over(logits, targets[0] if shared else targets)
        return totals

    def _blocks(self, data: Data, networks: int, examples: int | None = None) -> list[slice]:
        """Return examples in blocks that memory holds for so many networks."""
        examples = len(data) if examples is None else examples
        size = max(1, _BLOCK // (networks * self._put_out))
        return [slice(start, min(start + size, examples)) for start in range(0, examples, size)]

    def logits(self, data: Data, points: Tensor | None = None) -> Tensor:
        """Return outputs (S, n, K)."""
        points = self.points if points is None else points
        with torch.no_grad():
            parts = [
                self._run(points, self._buffers, data.tensor[block][None]) for block in self._blocks(data, len(self))
            ]
        return torch.cat(parts, 1)

    def features(self, data: Data) -> Tensor:
        """Return what the linear layer sees that is used last, (S, n, F)."""
        found = []
        for row in range(len(self)):
            module = self.network(row).to(self._device, self._dtype)
            with torch.no_grad():
                parts = [
                    last_seen(module, partial(module, self._moved(data.tensor[block])), block.stop - block.start)
                    for block in self._blocks(data, 1)
                ]
            found.append(torch.cat(parts))
        return torch.stack(found)

    def scores(self, data: Data, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and errors in %, (S, M) each, at points (S, M, P)."""
        size, many = points.shape[:2]
        losses, errors = torch.zeros(size, many, dtype=torch.float64), torch.full((size, many), torch.nan).double()
        whole = self.objective.normalizer(data.targets)
        with torch.no_grad():
            for at in range(many):
                loss, wrong = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
                for block in self._blocks(data, size):
                    logits = self._run(points[:, at], self._buffers, data.tensor[block][None])
                    targets = data.targets[block][None]
                    loss += self._totals(logits, targets).double().cpu()
                    if self.classifies:
                        wrong += (logits.argmax(2) != targets.to(self._device)).double().sum(1).cpu()
                losses[:, at] = loss / whole
                if self.classifies:
                    errors[:, at] = 100 * wrong / len(data)
        return losses, errors

    def gradients(
        self, data: Data, points: Tensor, chosen: Tensor | None = None, *, training: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return losses (S,) and gradients (S, P), at points (S, P)."""
        size = len(points)
        examples = len(data) if chosen is None else chosen.shape[1]
        where = points.detach().clone().requires_grad_()
        total, slope = torch.zeros(size, dtype=torch.float64), torch.zeros_like(points)
        blocks = [slice(0, examples)] if training else self._blocks(data, size, examples)
        buffers = {name: value.clone() for name, value in self._buffers.items()} if training else self._buffers
        wholes = self._normalizers(data, chosen)
        for block in blocks:
            if chosen is None:
                inputs, targets = data.tensor[block][None], data.targets[block][None]
            else:
                inputs, targets = data.tensor[chosen[:, block].cpu()], data.targets[chosen[:, block].cpu()]
            shares = self._totals(self._run(where, buffers, inputs, training=training), targets) / wholes.to(points)
            slope += torch.autograd.grad(shares.sum(), where)[0]
            total += shares.detach().double().cpu()
        return total, slope

    def _normalizers(self, data: Data, chosen: Tensor | None) -> Tensor:
        """Return what each network's numerators are divided by, float64 (S,) or (1,)."""
        if chosen is None:
            return torch.tensor([self.objective.normalizer(data.targets)], dtype=torch.float64)
        found = [self.objective.normalizer(data.targets[some]) for some in chosen.cpu()]
        return torch.tensor(found, dtype=torch.float64)

    def curvature(self, data: Data) -> Curvature:
        """Return the Hessians of the losses where the networks are (Pearlmutter, Neural Computation 1994)."""
        blocks, whole = self._blocks(data, len(self)), self.objective.normalizer(data.targets)

        def products(vectors: Tensor, rows: Sequence[int] | None = None) -> Tensor:
            some = self if rows is None else self.part(rows)
            out = torch.zeros_like(vectors)
            for block in blocks:
                where = some.points.detach().clone().requires_grad_()
                logits = some._run(where, some._buffers, data.tensor[block][None])
                losses = self._totals(logits, data.targets[block][None]).sum() / whole
                (slope,) = torch.autograd.grad(losses, where, create_graph=True)
                for at in range(vectors.shape[1]):
                    (product,) = torch.autograd.grad(
                        slope, where, vectors[:, at], retain_graph=True, allow_unused=True, materialize_grads=True
                    )
                    out[:, at] += product
            return out

        return products

    def held(self, examples: int) -> int:
        """Return how many bytes products with the Hessians hold, about, beside their vectors."""
        put_out = min(max(_BLOCK, len(self) * self._put_out), examples * len(self) * self._put_out)
        return (GRAPH * put_out + 4 * self.points.numel()) * self.points.element_size()

    def renormalized(self, data: Data, points: Tensor) -> Self:
        """Return the surfaces at other points, normalization's statistics taken anew there."""
        layers = normalizations(self.module)
        if not layers:
            return self._with(points, self._buffers)
        kept = [f"{path}.{name}" if path else name for path in layers for name in ("running_mean", "running_var")]
        size = min(STATISTICS_BATCH, len(data))
        sums: dict[str, Any] = dict.fromkeys(kept, 0.0)
        times = len(data) // size
        with torch.no_grad():
            for at in range(times):
                own = {name: value.clone() for name, value in self._buffers.items()}
                x = self._moved(data.tensor[at * size : (at + 1) * size][None]).movedim(1, -1)
                self._replacing(self._parameters(points), own, x, True)
                for name in kept:
                    sums[name] = sums[name] + own[name] / times
        return self._with(points, {**self._buffers, **sums})

    @cached_property
    def _replacing(self) -> Program:
        """The networks' program with normalization whose running statistics are those of the last batch."""
        module = copied(self.module)
        for layer in normalizations(module).values():
            layer.momentum = cast(Any, 1.0)
        return program_of(module, self._shape, normalizing)


def _put_out(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many numbers an example makes in a network, itself included."""
    inputs = max(1, math.prod(shape))
    with suppress(Exception):  # layers that give several tensors, and whatever else anybody's network does with zeros
        return inputs + cost(copied(network).to("cpu", torch.float32), shape).activations
    return inputs * (1 + _UNCOUNTED)
