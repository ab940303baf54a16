"""Networks as people have them: ordinary PyTorch modules, of any inputs and any form of output."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mdbench.errors import MdbenchError
from zoo_builder.landscape.data import Inputs

#: What a network puts out → the tensor that the loss sees.
Output = Callable[[Any], Tensor]
#: Which parameters a landscape is over: those that train, or all.
Which = Literal["trained", "all"]

#: Modules whose running statistics belong to normalization: batch and instance normalization of every kind.
_NORMALIZATIONS: Final = (nn.modules.batchnorm._NormBase,)
#: Where PyTorch keeps modules that compute with integers in place of floating point numbers.
_QUANTIZED: Final = ("torch.ao.nn.quantized", "torch.nn.quantized", "torch.ao.nn.intrinsic.quantized")


def dense(network: nn.Module) -> nn.Module:
    """Have embeddings give gradients that are ordinary tensors, and return the network."""
    for one in network.modules():
        if isinstance(one, nn.Embedding | nn.EmbeddingBag):
            one.sparse = False
    return network


class _Padded(nn.Embedding):
    """An embedding whose row of padding stays what it is, as in training: PyTorch gives that row no gradient."""

    kept: Tensor
    row: int

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that PyTorch gives it
        """Return the vectors of tokens."""
        padding = torch.arange(len(self.weight), device=self.weight.device) == self.row
        weight = torch.where(padding[:, None], self.kept.to(self.weight), self.weight)
        return functional.embedding(input, weight, None, None, self.norm_type, self.scale_grad_by_freq)


def padded(network: nn.Module) -> nn.Module:
    """Have rows of padding in embeddings be constants, so that the gradient is that of the loss, and return the network."""
    for one in network.modules():
        if type(one) is nn.Embedding and one.padding_idx is not None and one.max_norm is None:
            vars(one).update(kept=one.weight.detach().clone(), row=one.padding_idx, padding_idx=None)
            one.__class__ = _Padded
    return network


def normalizations(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a network that keep running statistics of what they normalize, by path."""
    return {
        path: module
        for path, module in network.named_modules()
        if isinstance(module, _NORMALIZATIONS) and module.running_mean is not None
    }


def normalizing(network: nn.Module, wanted: bool = True) -> nn.Module:
    """Have a network's normalization use the statistics of the batch, and everything else be as in evaluation mode."""
    network.eval()
    for module in normalizations(network).values() if wanted else ():
        module.train()
    return network


@contextmanager
def plain_attention() -> Iterator[None]:
    """Have attention computed by plain operators: PyTorch's fast kernels have no second derivatives, and cannot be mapped."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what networks that run in double precision do.

    Attributes
    ----------
    narrowed : whether they compute in a lower precision inside, as normalization in language models does.
    hard : whether they use hard swishes or hard sigmoids, which have no second derivatives in PyTorch.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.narrowed, self.hard = False, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].dtype == torch.float64:
            self.narrowed |= found.is_floating_point() and found.dtype != torch.float64
        self.hard |= func.overloadpacket in _HARD
        return found


_HARD: Final = {getattr(torch.ops.aten, name) for name in ("hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_")}


class Composed(TorchFunctionMode):
    """Has hard swishes and hard sigmoids computed by a function that PyTorch differentiates twice, ReLU6."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.hardswish or func is functional.hardsigmoid:
            x = args[0]
            hard = functional.relu6(x + 3) / 6
            return x * hard if func is functional.hardswish else hard
        return func(*args, **(kwargs or {}))


def trained(network: nn.Module, which: Which = "trained") -> list[str]:
    """Return the names of the parameters that a landscape is over: those that require gradients, or all if none does."""
    names = [name for name, value in network.named_parameters() if value.requires_grad or which == "all"]
    return names or [name for name, _ in network.named_parameters()]


def called(network: Callable[..., Any], inputs: Inputs) -> Any:
    """Return what a network puts out, whatever it is."""
    if isinstance(inputs, Tensor):
        return network(inputs)
    return network(**inputs) if isinstance(inputs, Mapping) else network(*inputs)


def main_output(given: Any) -> Tensor:
    """Return the tensor that the loss sees, of what a network puts out.

    A tensor is that itself. Of a mapping or an object it is what is called ``logits``, or ``out`` as torchvision has it; of a
    tuple, the first.

    Raises
    ------
    MdbenchError
        There is no such tensor.
    """
    found = given
    if isinstance(given, tuple) and not hasattr(given, "logits") and given:
        found = given[0]
    elif not isinstance(given, Tensor):
        for name in ("logits", "out"):
            found = given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)
            if found is not None:
                break
    if not isinstance(found, Tensor):
        keys = f" with {', '.join(map(repr, given))}" if isinstance(given, Mapping) else ""
        raise MdbenchError(
            f"the network puts out a {type(given).__name__}{keys}, and which tensor of it the loss sees is not known: give "
            "output=, a function that returns it"
        )
    return found


def check_module(network: Any, what: str) -> None:
    """Make sure that something is a network whose numbers are there, and are floating point.

    Raises
    ------
    MdbenchError
        It is not.
    """
    if not isinstance(network, nn.Module):
        raise MdbenchError(
            f"{what} is a {type(network).__name__}, and must be a torch.nn.Module: build the network, load its state into "
            "it, and give the network"
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise MdbenchError(
            f"{what} is a program of torch.jit, and what it computes cannot be seen: give the network that it was made from"
        )
    values = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, value in values.items():
        if nn.parameter.is_lazy(value):
            raise MdbenchError(f"{what}: {name} has no shape yet: pass an example through the network once")
        if value.is_meta:
            raise MdbenchError(
                f"{what}: {name} is on the device 'meta', and holds no numbers: load the network's state first"
            )
        if value.is_complex():
            raise MdbenchError(f"{what}: {name} holds complex numbers; landscapes are over real ones")
    if any(type(module).__module__.startswith(_QUANTIZED) for module in network.modules()) or any(
        value.is_quantized for value in values.values()
    ):
        raise MdbenchError(f"{what} is quantized, and has no loss landscape: give the network that it was made from")
    if not any(True for _ in network.parameters()):
        raise MdbenchError(f"{what} has no parameters, and so no loss landscape")
