"""An ordinary network as a list of layers, traced once by `torch.fx`."""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from zoo_builder.specification import Attention, Dropout, Features

#: What to say where PyTorch would refuse to normalize.
ONE_VALUE = (
    "batch normalization cannot tell the spread of one value: "
    "the batch size must be 2 at least, or the architecture without norm"
)


#: What a layer is where it is no module of PyTorch's. Of tokens: positions of an image flattened, a parameter added at every
#: position, positions and channels exchanged, the mean over positions, a linear layer with a parameter of another one, and
#: attention, of which the latter sees no later keys.
Function = Literal[
    "relu",
    "add",
    "flatten",
    "concatenate",
    "positions",
    "shift",
    "transpose",
    "mean",
    "shared linear",
    "attention",
    "causal",
]


class UnknownLayerError(Exception):
    """A network does something that is not a list of layers known here."""


@dataclass(frozen=True)
class Layer:
    """``target = what(sources)``.

    Attributes
    ----------
    what : a module without children, or a function by its name. Functions that PyTorch also has as modules are such modules.
    name : the module's path in the network, the begin of its parameters' names, or the name of a function's parameter; empty
        for others.
    sources, target : names of values.
    relu : whether a ReLU follows that nobody looks behind (batch normalization only).
    """

    what: nn.Module | Function
    name: str
    sources: tuple[str, ...]
    target: str
    relu: bool = False


@dataclass(frozen=True)
class Graph:
    """A network: from the value named `entrance` over its layers, in order, to the one named `exit`."""

    entrance: str
    layers: tuple[Layer, ...]
    exit: str


class _Tracer(fx.Tracer):
    """Looks into no layer that is known here."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in (Dropout, Features, Attention) or super().is_leaf_module(m, module_qualified_name)


def trace(network: nn.Module) -> Graph:
    """Return a network's layers.

    Raises
    ------
    UnknownLayerError
        It cannot be traced, or calls something other than modules, activations, addition, concatenation and flattening.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception as error:
        raise UnknownLayerError from error
    modules = dict(network.named_modules())
    entrances = [node for node in graph.nodes if node.op == "placeholder"]
    (exit_,) = (node for node in graph.nodes if node.op == "output")
    if len(entrances) != 1 or not isinstance(exit_.args[0], fx.Node):
        raise UnknownLayerError
    names = {node: node.name for node in graph.nodes}
    if any(not node.users for node in graph.nodes if node.op not in ("placeholder", "output")):
        raise UnknownLayerError  # what nobody uses may work in place
    fused = {}
    for node in graph.nodes:
        relu = _relu_behind(node, modules)
        if relu is not None:
            fused[node] = relu
            names[relu] = names[node]  # what the ReLU would give is what the normalization gives already
    gone = set(fused.values())
    layers = []
    for node in graph.nodes:
        if node.op in ("placeholder", "output", "get_attr") or node in gone:
            continue
        if _changes_what_others_see(node, modules):
            raise UnknownLayerError
        what, name = _of_tokens(node, network, modules) or _kind(node, modules)
        used = node.args[0] if what == "concatenate" else node.args
        sources = tuple(names[one] for one in used if isinstance(one, fx.Node) and one.op != "get_attr")
        layers.append(Layer(what, name, sources, names[node], node in fused))
    return Graph(names[entrances[0]], tuple(layers), names[exit_.args[0]])


_RELU = {functional.relu, torch.relu}
_ADDITIONS = {operator.add, operator.iadd, torch.add}
_CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
_ACTIVATIONS: dict[object, type[nn.Module]] = {
    torch.tanh: nn.Tanh,
    torch.sigmoid: nn.Sigmoid,
    functional.gelu: nn.GELU,
    functional.silu: nn.SiLU,
    functional.softplus: nn.Softplus,
}


def _is_relu(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    return len(node.args) == 1 and (
        (node.op == "call_module" and type(modules[str(node.target)]) is nn.ReLU)
        or (node.op == "call_function" and node.target in _RELU)
        or (node.op == "call_method" and node.target == "relu")
    )


def _relu_behind(node: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node | None:
    """Return the ReLU that alone uses a batch normalization's output, if there is one."""
    if node.op != "call_module" or type(modules[str(node.target)]) not in (nn.BatchNorm1d, nn.BatchNorm2d):
        return None
    users = list(node.users)
    return users[0] if len(users) == 1 and _is_relu(users[0], modules) else None


def _changes_what_others_see(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Tell whether a node works in place on a value that somebody else uses, or may use by another name."""
    if node.op == "call_module":
        in_place = getattr(modules[str(node.target)], "inplace", False)
    else:
        in_place = node.target is operator.iadd or node.kwargs.get("inplace", False)
    if not in_place:
        return False
    changed = node.all_input_nodes[0]
    own = changed.op == "call_module" and type(modules[str(changed.target)]) not in (nn.Flatten, nn.Identity, Dropout)
    return len(changed.users) > 1 or not (own or changed.target in _ADDITIONS | _RELU)


def _of_tokens(node: fx.Node, network: nn.Module, modules: Mapping[str, nn.Module]) -> tuple[Function, str] | None:
    """Return which layer of tokens a node is, and the name of its module or parameter; None if it is none."""
    given = [one for one in node.args if isinstance(one, fx.Node) and one.op == "get_attr"]
    names = [str(one.target) for one in given]
    parameters = dict(network.named_parameters())
    if node.op == "call_module" and type(modules[str(node.target)]) is Attention:
        _, *rest = node.args
        if not node.kwargs and (not rest or rest == [None]):
            return "attention", str(node.target)
        if not node.kwargs and rest == given and _is_causal(dict(network.named_buffers()).get(names[0])):
            return "causal", str(node.target)
        raise UnknownLayerError
    if given and (len(given) > 1 or names[0] not in parameters or node.kwargs or node.args[1:] != (given[0],)):
        raise UnknownLayerError
    if given and node.op == "call_function" and node.target in _ADDITIONS - {operator.iadd}:
        return "shift", names[0]
    if given and node.op == "call_function" and node.target is functional.linear:
        return "shared linear", names[0]
    if given:
        raise UnknownLayerError
    said = node.op == "call_method" and (node.target, node.args[1:], not node.kwargs)
    functions: dict[object, Function] = {
        ("flatten", (2,), True): "positions",
        ("transpose", (1, 2), True): "transpose",
        ("mean", (1,), True): "mean",
    }
    return (functions[said], "") if said in functions else None


def _is_causal(mask: Tensor | None) -> bool:
    """Tell whether a mask (length, length) takes from every query the keys behind it, and nothing else."""
    if mask is None or mask.dim() != 2 or mask.shape[0] != mask.shape[1]:
        return False
    return bool((mask.cpu() == torch.full_like(mask.cpu(), -math.inf).triu(1)).all())


def _kind(node: fx.Node, modules: Mapping[str, nn.Module]) -> tuple[nn.Module | Function, str]:
    if _is_relu(node, modules):
        return "relu", ""
    if node.op == "call_module" and len(node.args) == 1 and not node.kwargs:
        module = modules[str(node.target)]
        if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
            return "flatten", ""
        if _is_ordinary(module):
            return module, str(node.target)
    both = len(node.args) == 2 and all(isinstance(argument, fx.Node) for argument in node.args)
    if node.op == "call_function" and node.target in _ADDITIONS and both and not node.kwargs:
        return "add", ""
    if node.op == "call_function":
        if node.target in _ACTIVATIONS and len(node.args) == 1 and not node.kwargs:
            return _ACTIVATIONS[node.target](), ""
        if node.target in _CONCATENATIONS and _joins_channels(node):
            return "concatenate", ""
    flattens = node.target is torch.flatten if node.op == "call_function" else node.target == "flatten"
    if flattens and (node.args[1:], node.kwargs) in (((1,), {}), ((), {"start_dim": 1})):
        return "flatten", ""
    raise UnknownLayerError


def _joins_channels(node: fx.Node) -> bool:
    """Tell whether a concatenation is of two values, along the axis of channels."""
    parts, *rest = node.args
    both = isinstance(parts, list | tuple) and len(parts) == 2 and all(isinstance(part, fx.Node) for part in parts)
    return both and (rest, node.kwargs) in (([1], {}), ([], {"dim": 1}))


def _is_ordinary(module: nn.Module) -> bool:
    """Tell whether a module is a layer known here, with ordinary settings; a subclass may compute something else."""
    kind = type(module)
    if kind in (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d):
        assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d)
        plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        plain = plain and module.groups == 1 and set(module.dilation) == {1}
        return plain and (not module.transposed or not any((*module.padding, *module.output_padding)))
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d):
        assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        return module.affine and module.track_running_stats and module.momentum is not None
    if kind in (nn.LayerNorm, nn.GroupNorm):
        assert isinstance(module, nn.LayerNorm | nn.GroupNorm)
        return module.weight is not None and module.bias is not None
    if kind in (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d):
        return module.output_size in (1, (1,), (1, 1))
    if kind in (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d):
        return _pools_plainly(module)
    if kind is nn.Embedding:
        assert isinstance(module, nn.Embedding)
        said = (module.padding_idx, module.max_norm, module.scale_grad_by_freq, module.sparse)
        return said == (None, None, False, False)
    if kind is nn.Softplus:
        assert isinstance(module, nn.Softplus)
        return (module.beta, module.threshold) == (1, 20)
    return kind in (nn.Linear, nn.Identity, nn.GELU, nn.Tanh, nn.SiLU, nn.Sigmoid, Dropout, Features)


def _pools_plainly(module: nn.Module) -> bool:
    """Tell whether every window of a pooling lies inside, and has all its places."""
    padding: int | tuple[int, ...] = module.padding  # type: ignore[assignment]
    padded = any(padding) if isinstance(padding, tuple) else padding
    if padded or module.ceil_mode:
        return False
    if isinstance(module, nn.MaxPool1d | nn.MaxPool2d):
        return module.dilation in (1, (1,), (1, 1)) and not module.return_indices
    return getattr(module, "divisor_override", None) is None
