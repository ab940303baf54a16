"""Loss surfaces by PyTorch: any network, any device, any loss; networks of one shape as one stack."""

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.surface import NO_LINEAR, STATISTICS_BATCH, Curvature, Layout, Loss, filled, numbers
from zoo_builder.training import Program, cost, last_linear, program_of

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
        loss: Loss | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Stack networks for inputs of a shape; see `zoo_builder.landscape.open_surface`."""
        if not networks:
            raise ValueError("a surface needs at least one network")
        self.module = networks[0]
        self.layout = Layout(self.module)
        self.classifies = loss is None
        self._loss: Loss = loss or functional.cross_entropy
        self._program: Program = program_of(self.module, shape)
        self._put_out = _put_out(self.module, shape)
        self._shape, self._device, self._dtype = shape, torch.device(device), dtype
        parameters, buffers = numbers(networks, self._moved)
        self.points, self._buffers = self.layout.points(parameters), buffers

    def _moved(self, value: Tensor) -> Tensor:
        return value.detach().to(self._device, self._dtype if value.is_floating_point() else None)

    def __len__(self) -> int:
        return len(self.points)

    def _with(self, points: Tensor, buffers: dict[str, Tensor]) -> Self:
        other = copy.copy(self)
        other.points, other._buffers = points, buffers
        return other

    def part(self, rows: Sequence[int]) -> Self:
        """Return the surfaces of some of the networks."""
        chosen = torch.as_tensor(rows, dtype=torch.int64, device=self._device)
        return self._with(self.points[chosen], {name: value[chosen] for name, value in self._buffers.items()})

    def network(self, row: int) -> nn.Module:
        """Return a copy of one network."""
        buffers = {name: value[row] for name, value in self._buffers.items()}
        return filled(self.module, {**self.layout.tensors(self.points[row]), **buffers})

    def reopened(self, networks: Sequence[nn.Module]) -> Self:
        """Return the surfaces of other networks."""
        loss = None if self.classifies else self._loss
        return type(self)(networks, self._shape, loss=loss, device=self._device, dtype=self._dtype)

    def _run(self, points: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor, *, training: bool = False) -> Tensor:
        """Return logits (S, B, K) of inputs (1 or S, B, …)."""
        x = self._moved(inputs).movedim(1, -1)
        return self._program(self.layout.tensors(points), buffers, x, training).movedim(-1, 1)

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return mean losses (S,) of logits (S, B, K) and targets (1 or S, B, …)."""
        targets = targets.to(self._device).expand(len(logits), *targets.shape[1:])
        losses: Tensor = torch.func.vmap(self._loss)(logits, targets)
        return losses

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
                self._run(points, self._buffers, data.inputs[block][None]) for block in self._blocks(data, len(self))
            ]
        return torch.cat(parts, 1)

    def features(self, data: Data) -> Tensor:
        """Return what the last linear layer sees, (S, n, F)."""
        last = last_linear(self.module)
        if last is None:
            raise MdbenchError(NO_LINEAR)
        seen: list[Tensor] = []

        def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[:] = [inputs[0].detach().flatten(1)]

        found = []
        for row in range(len(self)):
            module = self.network(row).to(self._device, self._dtype)
            module.get_submodule(last).register_forward_pre_hook(see)
            parts = []
            with torch.no_grad():
                for block in self._blocks(data, 1):
                    seen.clear()
                    module(self._moved(data.inputs[block]))
                    parts += seen
            if not parts:
                raise MdbenchError(
                    f"the network does not use {last}, its last linear layer; there is no penultimate one"
                )
            found.append(torch.cat(parts))
        return torch.stack(found)

    def scores(self, data: Data, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean losses and errors in %, (S, M) each, at points (S, M, P)."""
        size, many = points.shape[:2]
        losses, errors = torch.zeros(size, many, dtype=torch.float64), torch.full((size, many), torch.nan).double()
        with torch.no_grad():
            for at in range(many):
                loss, wrong = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
                for block in self._blocks(data, size):
                    logits = self._run(points[:, at], self._buffers, data.inputs[block][None])
                    targets = data.targets[block][None]
                    loss += self._losses(logits, targets).double().cpu() * logits.shape[1]
                    if self.classifies:
                        wrong += (logits.argmax(2) != targets.to(self._device)).double().sum(1).cpu()
                losses[:, at] = loss / len(data)
                if self.classifies:
                    errors[:, at] = 100 * wrong / len(data)
        return losses, errors

    def gradients(
        self, data: Data, points: Tensor, chosen: Tensor | None = None, *, training: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return mean losses (S,) and gradients (S, P), at points (S, P)."""
        size = len(points)
        examples = len(data) if chosen is None else chosen.shape[1]
        where = points.detach().clone().requires_grad_()
        total, slope = torch.zeros(size, dtype=torch.float64), torch.zeros_like(points)
        blocks = [slice(0, examples)] if training else self._blocks(data, size, examples)
        buffers = {name: value.clone() for name, value in self._buffers.items()} if training else self._buffers
        for block in blocks:
            if chosen is None:
                inputs, targets = data.inputs[block][None], data.targets[block][None]
            else:
                inputs, targets = data.inputs[chosen[:, block].cpu()], data.targets[chosen[:, block].cpu()]
            losses = self._losses(self._run(where, buffers, inputs, training=training), targets)
            share = (block.stop - block.start) / examples
            slope += torch.autograd.grad(losses.sum() * share, where)[0]
            total += losses.detach().double().cpu() * share
        return total, slope

    def curvature(self, data: Data) -> Curvature:
        """Return the Hessians of the mean losses where the networks are (Pearlmutter, Neural Computation 1994)."""
        blocks = self._blocks(data, len(self))

        def products(vectors: Tensor, rows: Sequence[int] | None = None) -> Tensor:
            some = self if rows is None else self.part(rows)
            out = torch.zeros_like(vectors)
            for block in blocks:
                where = some.points.detach().clone().requires_grad_()
                logits = self._run(where, some._buffers, data.inputs[block][None])
                share = logits.shape[1] / len(data)
                losses = self._losses(logits, data.targets[block][None]).sum() * share
                (slope,) = torch.autograd.grad(losses, where, create_graph=True)
                for at in range(vectors.shape[1]):
                    (product,) = torch.autograd.grad(
                        slope, where, vectors[:, at], retain_graph=True, allow_unused=True, materialize_grads=True
                    )
                    out[:, at] += product
            return out

        return products

    def renormalized(self, data: Data, points: Tensor) -> Self:
        """Return the surfaces at other points, normalization's statistics taken anew there."""
        kinds = nn.modules.batchnorm._BatchNorm
        normalizations = {name: module for name, module in self.module.named_modules() if isinstance(module, kinds)}
        # Normalizations keep old + momentum · (batch's − old): from zero, that is momentum · batch's.
        shares = {
            f"{name}.{statistic}": 1.0 if module.momentum is None else module.momentum
            for name, module in normalizations.items()
            for statistic in ("running_mean", "running_var")
            if module.track_running_stats
        }
        if not shares:
            return self._with(points, self._buffers)
        size = min(STATISTICS_BATCH, len(data))
        sums: dict[str, Any] = dict.fromkeys(shares, 0.0)
        times = len(data) // size
        with torch.no_grad():
            for at in range(times):
                empty = {name: torch.zeros_like(value) for name, value in self._buffers.items()}
                self._run(points, empty, data.inputs[at * size : (at + 1) * size][None], training=True)
                for name, share in shares.items():
                    sums[name] = sums[name] + empty[name] / (share * times)
        return self._with(points, {**self._buffers, **sums})


def _put_out(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many numbers an example makes in a network, itself included."""
    inputs = max(1, math.prod(shape))
    with suppress(Exception):  # layers that give several tensors, and whatever else anybody's network does with zeros
        return inputs + cost(copy.deepcopy(network).to("cpu", torch.float32), shape).activations
    return inputs * (1 + _UNCOUNTED)
