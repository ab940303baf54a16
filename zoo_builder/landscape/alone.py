"""Loss surfaces of any networks, one after the other, each as the module that it is."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from typing import Any, Final, Literal, Self, cast

import torch
from torch import Tensor, nn

from mdbench.errors import MdbenchError, reason
from zoo_builder.landscape.data import Data, Inputs, Rows, named, of_each
from zoo_builder.landscape.module import (
    Composed,
    Output,
    called,
    dense,
    main_output,
    normalizations,
    normalizing,
    padded,
)
from zoo_builder.landscape.objective import Objective
from zoo_builder.landscape.product import DOUBLE, KEPT, Differences, Differentiated
from zoo_builder.landscape.surface import GRAPH, NO_LINEAR, STATISTICS_BATCH, Curvature, Layout, filled
from zoo_builder.training import copied

#: How a Hessian is multiplied by vectors: differentiating the gradient forwards, backwards once more, or by its differences.
Products = Literal["forward", "backward", "differences"]

_WORDS: Final[dict[Products, str]] = {
    "forward": "the gradient differentiated forwards",
    "backward": "the gradient differentiated backwards",
    "differences": "differences of the gradient",
}

#: Numbers that a network puts out for one block of examples, at most.
_BLOCK: Final = 2**25


class Alone:
    """The loss surfaces of networks that are each called as they are; see `zoo_builder.landscape.surface.Surface`.

    They need not compute the same function: what they share are the names and shapes of their parameters.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        objective: Objective,
        *,
        names: Sequence[str] | None = None,
        output: Output = main_output,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        products: Products = "backward",
        differences: Differences = DOUBLE,
        composed: bool = False,
    ) -> None:
        """Copy networks.

        Parameters
        ----------
        networks : whose parameters have the same names and shapes.
        objective : the loss.
        names : of the parameters that surfaces are over; all if left out. The others stay as they are.
        output : what a network puts out → what the loss sees.
        device, dtype : where and in which precision to compute.
        products : how Hessians are multiplied by vectors.
        differences : how long their step is, and in which precision.
        composed : whether hard swishes and hard sigmoids are computed by functions that have second derivatives.

        Raises
        ------
        ValueError
            There are no networks, or their parameters differ in name or shape.
        MdbenchError
            A network cannot be copied.
        """
        if not networks:
            raise ValueError("a surface needs at least one network")
        self.objective, self.products, self.output = objective, products, output
        self.differences, self.composed = differences, composed
        self._device, self._dtype = torch.device(device), dtype
        try:
            self._modules = [copied(network).to(device, dtype).eval() for network in networks]
        except (RuntimeError, TypeError) as error:
            raise MdbenchError(f"the network cannot be copied: {reason(error)}") from error
        for module in self._modules:
            module.requires_grad_(False)
            padded(dense(module))
        self.module = self._modules[0]
        self.layout = Layout(self.module, names)
        if any(Layout(module, names).shapes != self.layout.shapes for module in self._modules):
            raise ValueError("networks that are measured together must have parameters of the same names and shapes")
        self.points = torch.stack([self._point(module) for module in self._modules])
        self._buffers = [self._kept(module) for module in self._modules]

    @property
    def classifies(self) -> bool:
        """Whether the loss is one of classes, one an example."""
        return self.objective.classifies

    @property
    def way(self) -> str:
        """How it is computed, in words."""
        if self.without_hessian:
            return "one by one, without second derivatives"
        single = self.products == "differences" and self.differences.dtype != torch.float64
        return f"one by one, {_WORDS[self.products]}" + (" in single precision" if single else "")

    def __len__(self) -> int:
        return len(self.points)

    def _own(self, module: nn.Module) -> list[nn.Parameter]:
        """Return the parameters that the surface is over, in order."""
        every = dict(module.named_parameters())
        return [every[name] for name in self.layout.shapes]

    def _point(self, module: nn.Module) -> Tensor:
        return torch.cat([value.detach().reshape(-1) for value in self._own(module)])

    @staticmethod
    def _kept(module: nn.Module) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in module.named_buffers()}

    def part(self, rows: Sequence[int]) -> Self:
        """Return the surfaces of some of the networks."""
        other = copy.copy(self)
        other.__dict__.pop("_others", None)
        other._modules, other._buffers = [self._modules[row] for row in rows], [self._buffers[row] for row in rows]
        other.points = self.points[torch.as_tensor(rows, dtype=torch.int64, device=self.points.device)]
        return other

    def network(self, row: int) -> nn.Module:
        """Return a copy of one network."""
        return filled(self._modules[row], {**self.layout.tensors(self.points[row]), **self._buffers[row]})

    def reopened(self, networks: Sequence[nn.Module]) -> Self:
        """Return the surfaces of other networks."""
        how: dict[str, Any] = {"products": self.products, "differences": self.differences, "composed": self.composed}
        where: dict[str, Any] = {"device": self._device, "dtype": self._dtype}
        return type(self)(networks, self.objective, output=self.output, **where, **how)

    def _at(self, row: int, point: Tensor, *, differentiated: bool = False) -> nn.Module:
        """Return a network with its parameters at a point, and its buffers as they were."""
        module = self._modules[row]
        with torch.no_grad():
            for value, wanted in zip(self._own(module), self.layout.tensors(point).values(), strict=True):
                value.copy_(wanted)
            for name, kept in self._buffers[row].items():
                module.get_buffer(name).copy_(kept)
        for value in self._own(module):
            value.requires_grad_(differentiated)
        return module

    def _moved(self, inputs: Inputs) -> Inputs:
        """Return inputs where and as they are computed with; copies, for a network may change what it is given."""
        return of_each(
            inputs,
            lambda value: value.detach().to(
                self._device, self._dtype if value.is_floating_point() else None, copy=True
            ),
        )

    def _outputs(self, module: nn.Module, data: Data, rows: Rows) -> Tensor:
        some = data.given(rows)
        with Composed() if self.composed else nullcontext():
            found = self.output(called(module, self._moved(some)))
        many = len(next(iter(named(some).values())))
        if not found.is_floating_point() or not found.dim() or len(found) != many:
            raise MdbenchError(
                f"a network puts out {found.dtype}, shape {tuple(found.shape)}, for {many} examples: the first axis must be "
                "theirs, and the numbers floating point; give output=, a function that returns such a tensor"
            )
        return found

    def _targets(self, data: Data, rows: Rows) -> Tensor:
        targets = data.targets[rows].to(self._device)
        return targets.to(self._dtype) if targets.is_floating_point() else targets

    def _blocks(self, data: Data, examples: int | None = None) -> list[slice]:
        """Return examples in blocks that memory holds."""
        many = len(data) if examples is None else examples
        size = max(1, _BLOCK // self._put_out(data))
        return [slice(start, min(start + size, many)) for start in range(0, many, size)]

    def _put_out(self, data: Data) -> int:
        """Return how many numbers an example makes in a network, itself included."""
        if self._numbers is None:
            pair = slice(2)  # normalization over a batch wants two
            count = sum(value[pair].numel() for value in _tensors(data.inputs))

            def add(_: nn.Module, __: Any, output: Any) -> None:
                nonlocal count
                count += sum(value.numel() for value in _tensors(output))

            module = self.network(0).to(self._device, self._dtype)  # apart from those that are at work
            hooks = [one.register_forward_hook(add) for one in module.modules() if not list(one.children())]
            try:
                with self._asking(data):
                    self._outputs(module, data, pair)
            finally:
                for hook in hooks:
                    hook.remove()
            self._numbers = max(1, count // min(2, len(data)))
        return self._numbers

    #: Why there are no second derivatives, where there are none.
    without_hessian: str = ""
    _numbers: int | None = None
    _without_gradients: bool | None = None

    def _silent(self, data: Data) -> bool:
        """Return whether the network can be asked without gradients: physics-informed ones take derivatives themselves."""
        if self._without_gradients is None:
            module = self.network(0).to(self._device, self._dtype)  # apart from those that are at work
            try:
                with torch.no_grad():
                    self._outputs(module, data, slice(2))
                self._without_gradients = True
            except RuntimeError:
                self._without_gradients = False
        return self._without_gradients

    @contextmanager
    def _asking(self, data: Data) -> Iterator[None]:
        with torch.set_grad_enabled(not self._silent(data)):
            yield

    def logits(self, data: Data, points: Tensor | None = None) -> Tensor:
        """Return outputs (S, n, K)."""
        points = self.points if points is None else points
        found = []
        with self._asking(data):
            for row, point in enumerate(points):
                module = self._at(row, point)
                found.append(torch.cat([self._outputs(module, data, block).detach() for block in self._blocks(data)]))
        return torch.stack(found)

    def features(self, data: Data) -> Tensor:
        """Return what the linear layer sees that is used last, (S, n, F)."""
        found = []
        with self._asking(data):
            for row, point in enumerate(self.points):
                module = self._at(row, point)
                found.append(
                    torch.cat(
                        [
                            last_seen(module, partial(self._outputs, module, data, block), block.stop - block.start)
                            for block in self._blocks(data)
                        ]
                    )
                )
        return torch.stack(found)

    def scores(self, data: Data, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and errors in %, (S, M) each, at points (S, M, P)."""
        losses = torch.zeros(points.shape[:2], dtype=torch.float64)
        errors = torch.full(points.shape[:2], torch.nan, dtype=torch.float64)
        whole = self.objective.normalizer(data.targets)
        with self._asking(data):
            for row, at in ((row, at) for row in range(len(points)) for at in range(points.shape[1])):
                module, wrong = self._at(row, points[row, at]), 0
                for block in self._blocks(data):
                    outputs, targets = self._outputs(module, data, block), self._targets(data, block)
                    losses[row, at] += float(self.objective.total(outputs, targets).detach()) / whole
                    if self.classifies:
                        wrong += int((outputs.argmax(1) != targets).sum())
                if self.classifies:
                    errors[row, at] = 100 * wrong / len(data)
        return losses, errors

    def gradients(
        self, data: Data, points: Tensor, chosen: Tensor | None = None, *, training: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return losses (S,) and gradients (S, P), at points (S, P)."""
        losses, slopes = torch.zeros(len(points), dtype=torch.float64), torch.zeros_like(points)
        for row, point in enumerate(points):
            some = data if chosen is None else data.some(chosen[row].cpu())
            whole = self.objective.normalizer(some.targets)
            blocks = [slice(len(some))] if training else self._blocks(some)
            module = normalizing(self._at(row, point, differentiated=True), training)
            try:
                for block in blocks:
                    loss, slope = self._slope(module, some, block, whole)
                    losses[row] += float(loss)
                    slopes[row] += _flat(slope)
            finally:
                module.eval()
        return losses, slopes

    def _slope(self, module: nn.Module, data: Data, block: Rows, whole: float) -> tuple[Tensor, list[Tensor]]:
        """Return a block's share of the loss and its gradient, by parameter."""
        own = self._own(module)
        with torch.enable_grad():
            loss = self.objective.total(self._outputs(module, data, block), self._targets(data, block)) / whole
            if not loss.requires_grad:
                return loss.detach(), [torch.zeros_like(value) for value in own]
            found = torch.autograd.grad(loss, own, allow_unused=True, materialize_grads=True)
        return loss.detach(), list(found)

    def curvature(self, data: Data) -> Curvature:
        """Return the Hessians of the losses where the networks are."""
        if self.without_hessian:
            raise MdbenchError(f"the loss has no second derivatives here: {self.without_hessian}")
        if self.products == "backward":
            return _Backwards(self, data)
        whole, blocks = self.objective.normalizer(data.targets), self._blocks(data)
        product = self._forwards if self.products == "forward" else self._differences

        def products(vectors: Tensor, rows: Sequence[int] | None = None) -> Tensor:
            out = torch.zeros_like(vectors)
            for at, row in enumerate(range(len(self)) if rows is None else rows):
                for block in blocks:
                    product(row, data, block, whole, vectors[at], out[at])
            return out

        return products

    def _forwards(self, row: int, data: Data, block: slice, whole: float, vectors: Tensor, out: Tensor) -> None:
        """Add a block's products, the gradient differentiated forwards (Pearlmutter, Neural Computation 1994)."""
        module = self._at(row, self.points[row])
        inputs, targets = self._moved(data.given(block)), self._targets(data, block)

        def loss(own: dict[str, Tensor]) -> Tensor:
            def network(*args: Any, **kwargs: Any) -> Any:
                return torch.func.functional_call(module, own, args, kwargs)

            return self.objective.total(self.output(called(network, inputs)), targets) / whole

        point = self.layout.tensors(self.points[row])
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, FutureWarning):  # what PyTorch says of its own code at the first call
                warnings.simplefilter("ignore", kind)
            for at, vector in enumerate(vectors):
                product = torch.func.jvp(torch.func.grad(loss), (point,), (self.layout.tensors(vector),))[1]
                out[at] += _flat([product[name] for name in self.layout.shapes])

    def differentiated(self, row: int, data: Data) -> Differentiated:
        """Return one network's Hessian, its gradient differentiated backwards; it has a copy of the network."""
        module, whole = self.network(row).to(self._device, self._dtype), self.objective.normalizer(data.targets)
        module.requires_grad_(False)
        own = [value.requires_grad_() for value in self._own(module)]

        def loss(block: slice) -> Tensor:
            return self.objective.total(self._outputs(module, data, block), self._targets(data, block)) / whole

        return Differentiated(own, loss, len(data))

    def _differences(self, row: int, data: Data, block: slice, whole: float, vectors: Tensor, out: Tensor) -> None:
        """Add a block's products, differences of gradients; see `Differences`."""
        other = self._others[row]
        point = self.points[row].to(other.points)
        for at, vector in enumerate(vectors.to(other.points)):
            length = vector.norm()
            if not length > 0:
                continue
            step = self.differences.step * torch.clamp(point.norm(), min=1.0) / length
            ends = []
            for side in (step, -step):
                module = other._at(0, point + side * vector, differentiated=True)
                ends.append(_flat(other._slope(module, data, block, whole)[1]))
            out[at] += ((ends[0] - ends[1]) / (2 * step)).to(out)

    @cached_property
    def _others(self) -> "list[Alone]":
        """The networks in the precision of differences."""
        return [
            Alone(
                [self.network(row)],
                self.objective,
                names=tuple(self.layout.shapes),
                output=self.output,
                device=self._device,
                dtype=self.differences.dtype,
            )
            for row in range(len(self))
        ]

    def held(self, examples: int) -> int:
        """Return how many bytes products with the Hessians hold, about, beside their vectors."""
        itemsize = self.points.element_size()
        graph = GRAPH * examples * (self._numbers or 0) * itemsize
        if self.products == "differences":
            return graph + 16 * self.points.numel() * 2
        return min(graph, 2 * KEPT) + 4 * self.points.numel() * itemsize

    def renormalized(self, data: Data, points: Tensor) -> Self:
        """Return the surfaces at other points, normalization's statistics taken anew there."""
        other = copy.copy(self)
        other.__dict__.pop("_others", None)
        with self._asking(data):
            fresh = [self._statistics(row, data, point) for row, point in enumerate(points)]
        other.points = points
        other._buffers = [{**kept, **statistics} for kept, statistics in zip(self._buffers, fresh, strict=True)]
        return other

    def _statistics(self, row: int, data: Data, point: Tensor) -> dict[str, Tensor]:
        module, size = self._at(row, point), min(STATISTICS_BATCH, len(data))
        layers, times = normalizations(module), len(data) // size
        sums: dict[str, Any] = {}
        if not layers:
            return {}
        momenta = {path: layer.momentum for path, layer in layers.items()}
        try:
            for layer in layers.values():
                layer.momentum = cast(Any, 1.0)  # what is kept is then the batch's
            normalizing(module)
            for at in range(times):
                self._outputs(module, data, slice(at * size, (at + 1) * size))
                for path, layer in layers.items():
                    for name in ("running_mean", "running_var"):
                        own, batch = f"{path}.{name}" if path else name, getattr(layer, name)
                        sums[own] = sums.get(own, 0.0) + batch / times
        finally:
            for path, layer in layers.items():
                layer.momentum = cast(Any, momenta[path])
            module.eval()
        return sums


class _Backwards:
    """The Hessians of networks alone, their gradients differentiated backwards: a `zoo_builder.landscape.surface.Curvature`.

    Graphs of gradients are kept of as many networks as are asked about together, where memory holds all of them.
    """

    def __init__(self, surface: Alone, data: Data) -> None:
        self._surface, self._data = surface, data
        self._known: dict[int, Differentiated] = {}

    def __call__(self, vectors: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Return products (S, V, P) of vectors (S, V, P), of all networks or of some."""
        return self.within(vectors, rows, slice(0, vectors.shape[2]))

    def keeps(self, examples: int) -> bool:
        """Tell, after a product, whether graphs of so many examples would be kept between products."""
        return all(one.would_keep(examples) for one in self._known.values())

    def within(self, vectors: Tensor, rows: Sequence[int] | None, block: slice) -> Tensor:
        """Return products of the diagonal blocks of some neighbouring parameters, (S, V, p) of vectors (S, V, p)."""
        rows = range(len(self._surface)) if rows is None else rows
        self._known = {row: one for row, one in self._known.items() if row in rows}
        out = torch.empty_like(vectors)
        for at, row in enumerate(rows):
            if row not in self._known:
                self._known[row] = self._surface.differentiated(row, self._data)
            one = self._known[row]
            one.kept = KEPT // len(rows)
            out[at] = one.within(vectors[at : at + 1], None, block)[0]
        return out


def last_seen(network: nn.Module, run: Callable[[], Any], examples: int) -> Tensor:
    """Return what the linear layer sees that is used last while a network runs on n examples, (n, F).

    Raises
    ------
    MdbenchError
        It uses none.
    """
    seen: list[Tensor] = []

    def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[:] = [inputs[0].detach()]

    hooks = [one.register_forward_pre_hook(see) for one in network.modules() if isinstance(one, nn.Linear)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise MdbenchError(NO_LINEAR)
    return seen[0].reshape(examples, -1)


def _flat(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([value.detach().reshape(-1) for value in values])


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a layer puts out."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _tensors(one)
