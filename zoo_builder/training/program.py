"""An ordinary network as a program over stacks.

Every layer that has a stacked form here is replaced by it. A network with a layer that has none, or that computes something
else than its layers say, still runs: as a whole, through `torch.func.vmap`, which is slower on a CPU.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.specification import told
from zoo_builder.training import graph as graphs
from zoo_builder.training.copies import emptied
from zoo_builder.training.operators import convolve, normalize
from zoo_builder.training.probe import Answers, Probe, tried_loss

Tensors = Mapping[str, Tensor]

#: A stacked layer: activations, then all parameters and buffers of the stack by name, then whether this is training.
Layer = Callable[[Tensor, Tensors, Tensors, bool], Tensor]


class Program(Protocol):
    """What a network computes, for a stack of networks."""

    @property
    def form(self) -> Literal["stacked", "mapped"]:
        """Whether the stack computes layer by layer, or is mapped as a whole."""

    def __call__(self, parameters: Tensors, buffers: Tensors, x: Tensor, training: bool) -> Tensor:
        """Return outputs (S, K, …, B) of inputs (S, …, B), or (1, …, B) where all networks see the same.

        Parameters
        ----------
        parameters, buffers : name → (S, …). Buffers are updated in place when training.
        x : the inputs.
        training : whether batch normalization uses the batch's statistics, and updates its own.
        """


def _as_in_training(network: nn.Module, wanted: bool) -> nn.Module:
    return network.train(wanted)


def program_of(
    network: nn.Module,
    shape: tuple[int, ...],
    training: Callable[[nn.Module, bool], nn.Module] = _as_in_training,
    vocabulary: int = 0,
) -> Program:
    """Return the program of a network for inputs of a shape: stacked where that computes the same, mapped otherwise.

    Parameters
    ----------
    network : the network.
    shape : of one input.
    training : puts a network into training mode, or takes it out; as PyTorch does, or else.
    vocabulary : number of token ids; 0 where inputs are numbers.
    """
    try:
        program = _Stacked.of(network)
        _try(program, network, shape, vocabulary)
    except graphs.UnknownLayerError:
        return _Mapped(network, training)
    return program


def _try(program: "_Stacked", network: nn.Module, shape: tuple[int, ...], vocabulary: int) -> None:
    probe = Probe.of(network, shape, torch.float64, vocabulary)
    x = probe.inputs.movedim(0, -1)[None]
    parameters = {
        name: value.detach().to("cpu", torch.float64)[None].clone().requires_grad_()
        for name, value in network.named_parameters()
    }
    buffers = {
        name: value.detach().to("cpu", torch.float64 if value.is_floating_point() else None)[None].clone()
        for name, value in network.named_buffers()
    }
    try:
        loss = tried_loss(program(parameters, buffers, x, True)[0].movedim(-1, 0), probe.labels)
        slopes = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            later = tried_loss(program(parameters, buffers, x, False)[0].movedim(-1, 0), probe.labels)
    except (
        Exception
    ) as error:  # what such a program can stumble over has no end: rows where vectors are wanted, other names
        raise graphs.UnknownLayerError from error
    gradients = {name: slope[0] for name, slope in zip(parameters, slopes, strict=True)}
    probe.check(Answers((loss.item(), later.item()), gradients, {name: value[0] for name, value in buffers.items()}))


@dataclass(frozen=True)
class _Instruction:
    """``values[out] = run(*values[inputs])``; values that are not used again are let go."""

    run: Callable[..., Tensor]
    inputs: tuple[str, ...]
    out: str
    layer: bool
    last_use: tuple[str, ...]


@dataclass(frozen=True)
class _Stacked:
    instructions: tuple[_Instruction, ...]
    entrance: str
    exit: str
    form: Literal["stacked", "mapped"] = "stacked"

    def __call__(self, parameters: Tensors, buffers: Tensors, x: Tensor, training: bool) -> Tensor:
        values = {self.entrance: x}
        for step in self.instructions:
            inputs = [values[name] for name in step.inputs]
            values[step.out] = step.run(*inputs, parameters, buffers, training) if step.layer else step.run(*inputs)
            for name in step.last_use:
                del values[name]
        return values[self.exit]

    @classmethod
    def of(cls, network: nn.Module) -> "_Stacked":
        graph = graphs.trace(network)
        last = {name: at for at, layer in enumerate(graph.layers) for name in layer.sources}
        last.pop(graph.exit, None)
        instructions = []
        for at, layer in enumerate(graph.layers):
            run, is_module = _form(layer)
            unused = tuple(name for name, use in last.items() if use == at)
            instructions.append(_Instruction(run, layer.sources, layer.target, is_module, unused))
        return cls(tuple(instructions), graph.entrance, graph.exit)


def _form(layer: graphs.Layer) -> tuple[Callable[..., Tensor], bool]:
    """Return a layer's stacked form, and whether it is a module's (which gets parameters) or a plain function."""
    if isinstance(layer.what, str):
        if layer.what not in _FUNCTIONS:
            raise graphs.UnknownLayerError
        return _FUNCTIONS[layer.what], False
    make = _LAYERS.get(type(layer.what))
    if make is None:
        raise graphs.UnknownLayerError
    return make(layer.what, layer.name, layer.relu), True


def _flatten(x: Tensor) -> Tensor:
    return x.flatten(1, -2)


def _convolution(module: nn.Conv1d | nn.Conv2d, name: str, relu: bool) -> Layer:
    flat = isinstance(module, nn.Conv1d)
    stride, padding = ((*module.stride, 1), (*module.padding, 0)) if flat else (module.stride, module.padding)

    def layer(x: Tensor, parameters: Tensors, buffers: Tensors, training: bool) -> Tensor:
        weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
        if not flat:
            return convolve(x, weight, bias, stride, padding)  # type: ignore[arg-type]
        return convolve(x.unsqueeze(3), weight.unsqueeze(4), bias, stride, padding).squeeze(3)  # type: ignore[arg-type]

    return layer


def _linear(module: nn.Linear, name: str, relu: bool) -> Layer:
    def layer(x: Tensor, parameters: Tensors, buffers: Tensors, training: bool) -> Tensor:
        weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
        if x.dim() != 3:
            raise ValueError(f"layer {name} is linear and wants (features), not {tuple(x.shape[1:-1])}")
        x = x.expand(len(weight), -1, -1)
        return torch.bmm(weight, x) if bias is None else torch.baddbmm(bias[:, :, None], weight, x)

    return layer


def _normalization(module: nn.BatchNorm1d | nn.BatchNorm2d, name: str, relu: bool) -> Layer:
    momentum, epsilon = module.momentum or 0.0, module.eps

    def layer(x: Tensor, parameters: Tensors, buffers: Tensors, training: bool) -> Tensor:
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        mean, variance = buffers[f"{name}.running_mean"], buffers[f"{name}.running_var"]
        x = x.expand(len(weight), *x.shape[1:])
        if training:
            out, batch_mean, batch_variance = normalize(x, weight, bias, epsilon, relu=relu)
            n = x[0, 0].numel()
            if n < 2:
                raise MdbenchError(graphs.ONE_VALUE)
            mean.lerp_(batch_mean, momentum)
            variance.lerp_(batch_variance * (n / (n - 1)), momentum)
            buffers[f"{name}.num_batches_tracked"] += 1
            return out
        each = (*weight.shape, *[1] * (x.dim() - 2))
        scale = weight * torch.rsqrt(variance + epsilon)
        out = torch.addcmul((bias - mean * scale).view(each), x, scale.view(each))
        return out.relu_() if relu else out

    return layer


def _pool(module: nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d, name: str, relu: bool) -> Layer:
    axes = (2,) if isinstance(module, nn.AdaptiveAvgPool1d) else (2, 3)
    return lambda x, parameters, buffers, training: x.mean(axes, keepdim=True)


def _identity(module: nn.Identity, name: str, relu: bool) -> Layer:
    return lambda x, parameters, buffers, training: x


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {"relu": functional.relu, "add": operator.add, "flatten": _flatten}
#: Layer class → its stacked form. Subclasses are not taken: they may compute something else.
_LAYERS: dict[type[nn.Module], Callable[[Any, str, bool], Layer]] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm1d: _normalization,
    nn.BatchNorm2d: _normalization,
    nn.AdaptiveAvgPool1d: _pool,
    nn.AdaptiveAvgPool2d: _pool,
    nn.Identity: _identity,
}


class _Mapped:
    """A network of any kind, mapped over the stack by PyTorch."""

    form: Literal["stacked", "mapped"] = "mapped"

    def __init__(self, network: nn.Module, training: Callable[[nn.Module, bool], nn.Module]) -> None:
        self._network, self._training = emptied(network), training

    def __call__(self, parameters: Tensors, buffers: Tensors, x: Tensor, training: bool) -> Tensor:
        self._training(self._network, training)

        def one(own_parameters: Tensors, own_buffers: Tensors, own_x: Tensor) -> Tensor:
            logits: Tensor = torch.func.functional_call(self._network, ({**own_parameters, **own_buffers},), (own_x,))
            return logits

        batched = x.movedim(-1, 1)
        shared = len(x) == 1
        every = torch.func.vmap(one, in_dims=(0, 0, None if shared else 0), randomness="error")
        try:
            logits: Tensor = every(dict(parameters), dict(buffers), batched[0] if shared else batched)
        except (torch.OutOfMemoryError, MdbenchError):
            raise
        except Exception as error:
            if "more than 1 value per channel" in str(error):
                raise MdbenchError(graphs.ONE_VALUE) from error
            if "randomness error mode" in str(error):
                raise MdbenchError(
                    "the architecture draws random numbers while it computes (dropout?), "
                    "but a network of a zoo is a function of its parameters and inputs; leave that layer out"
                ) from error
            raise MdbenchError(f"the architecture cannot be mapped over a stack: {told(error)}") from error
        return logits.movedim(1, -1)
