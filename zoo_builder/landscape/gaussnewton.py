"""Traces of a classifier's Hessian, exactly, where the network is affine in each layer's parameters between kinks.

The Hessian of a mean loss is the Gauss–Newton matrix G = mean of Jᵀ S Sᵀ J, J the Jacobian of an example's logits and S Sᵀ
the Hessian of the loss with respect to them, plus what the network's own curvature adds. Where activations are ReLU and the
like, and every parameter is used once, the logits are an affine function of any one layer's parameters as long as no unit
crosses a kink: the network's own curvature has no diagonal blocks, and those of the Hessian are those of G (Botev, Ritter
and Barber, Practical Gauss-Newton optimisation for deep learning, ICML 2017, section 4). So a layer's trace is

    mean over examples of Σₖ ‖Jᵀ sₖ‖²,    sₖ = √pₖ (eₖ − p), p the probabilities,

and takes one pass backward a class, without gradients of weights: the norm of one example's is found from what goes into
the layer and what comes back to it (Rochette et al., Efficient per-example gradient computations in convolutional neural
networks, 2019). Hutchinson's probes see what lies between two layers as noise; here there is none.
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from zoo_builder.landscape.data import Data

#: Classes up to which each is asked about; where there are more, as many random combinations of all of them.
DIRECTIONS: Final = 16
#: Numbers that the largest layer sees of a block of examples.
_BLOCK: Final = 2**23

#: Modules without parameters, functions and methods that are affine between kinks. Sizes of tensors are asked for, too.
_MODULES: Final = frozenset(
    {nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d}
    | {nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d}
    | {nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d}
)
_FUNCTIONS: Final = frozenset(
    {operator.add, torch.add, torch.cat, torch.flatten, torch.relu, functional.relu, functional.leaky_relu}
    | {functional.max_pool1d, functional.max_pool2d, functional.avg_pool1d, functional.avg_pool2d}
    | {functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, getattr, operator.getitem}
)
_METHODS: Final = frozenset({"relu", "add", "flatten", "mean", "sum", "size", "view", "reshape"})


@dataclass(frozen=True)
class BlockTraces:
    """Traces of L diagonal blocks of a network's Hessian, with standard errors: 0 up to `DIRECTIONS` classes.

    Attributes
    ----------
    blocks, blocks_se : (L,).
    whole, whole_se : of their sum.
    """

    blocks: NDArray[np.float64]
    blocks_se: NDArray[np.float64]
    whole: float
    whole_se: float


def block_traces(
    network: nn.Module,
    data: Data,
    blocks: Sequence[Sequence[str]],
    rng: np.random.Generator,
) -> BlockTraces | None:
    """Return traces of the Hessian of the mean cross-entropy; None where the network is not known to be of this kind.

    Parameters
    ----------
    network : an ordinary module in evaluation mode. It is changed, and not to be used any more.
    data : inputs (n, …) and class numbers (n,), on the network's device and in its precision.
    blocks : names of the parameters of each of L diagonal blocks.
    rng : for combinations of classes, where there are many.
    """
    recorder = _Recorder.of(network)
    if recorder is None:
        return None
    logits, layers = recorder.recorded(data.tensor[:1])
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        return None
    if not torch.allclose(network(data.tensor[:2])[:1], logits, rtol=1e-3, atol=1e-5):
        return None  # the trace missed something, or examples see each other
    size = max(1, _BLOCK // max(layer.columns.numel() for layer in layers))
    places = {name: at for at, names in enumerate(blocks) for name in names}
    traces, variances = np.zeros(len(blocks)), np.zeros(len(blocks) + 1)  # the last one that of their sum
    for start in range(0, len(data), size):
        logits, layers = recorder.recorded(data.tensor[start : start + size])
        drawn = logits.shape[1] > DIRECTIONS
        squares: list[NDArray[np.float64]] = []
        for direction in _drawn(logits.detach(), rng) if drawn else _each(logits.detach()):
            slopes = torch.autograd.grad(logits, [layer.output for layer in layers], direction, retain_graph=True)
            squares.append(np.zeros((len(blocks), len(logits))))
            for layer, slope in zip(layers, slopes, strict=True):
                for name, square in layer.squares(slope).items():
                    if name in places:
                        squares[-1][places[name]] += square.double().cpu().numpy()
        share = len(squares) if drawn else 1
        traces += np.sum(squares, (0, 2)) / share
        if drawn:
            variances += np.append(_variances(np.stack(squares, 1)), _variances(np.sum(squares, 1)))
    errors = np.sqrt(variances) / len(data)
    return BlockTraces(traces / len(data), errors[:-1], float(traces.sum() / len(data)), float(errors[-1]))


def _variances(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return variances of sums over n examples, each of them a mean of D independent numbers: (…, D, n) → (…)."""
    return np.asarray((squares.var(-2, ddof=1) / squares.shape[-2]).sum(-1))


def _each(logits: Tensor) -> Iterator[Tensor]:
    """Yield directions (n, K) in the space of logits (n, K): the columns of S, K of them.

    1 − p is computed from what is left of it, so that it keeps its digits where a network is sure.
    """
    p, rest, roots = _probabilities(logits)
    for k in range(logits.shape[1]):
        direction = -roots[:, [k]] * p
        direction[:, k] = roots[:, k] * rest[:, k]
        yield direction.to(logits)


def _drawn(logits: Tensor, rng: np.random.Generator) -> Iterator[Tensor]:
    """Yield directions (n, K): S times random signs, `DIRECTIONS` times."""
    p, rest, roots = _probabilities(logits)
    for _ in range(DIRECTIONS):
        signs = torch.as_tensor(2 * rng.integers(0, 2, tuple(logits.shape)) - 1).to(roots)
        drawn = roots * signs
        yield (drawn * rest - p * (drawn.sum(1, keepdim=True) - drawn)).to(logits)


def _probabilities(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return p, 1 − p and √p, float64."""
    logarithms = logits.double().log_softmax(1)
    return logarithms.exp(), -torch.expm1(logarithms), (logarithms / 2).exp()


@dataclass
class _Layer:
    """A module with parameters, what went into it, and what came out, for n examples.

    It multiplies weights (O, F) with T columns (n, F, T), in groups of its channels, or scales channels (n, C, T).
    """

    name: str
    module: nn.Module
    input: Tensor
    output: Tensor

    @cached_property
    def columns(self) -> Tensor:
        """What the weights are multiplied with: (n, groups, F, T), or (n, C, T) where each channel has one."""
        module: Any = self.module
        x = self.input
        if isinstance(module, nn.Linear):
            return x.movedim(-1, 1).reshape(len(x), 1, module.in_features, -1)
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            settings: Any = (module.kernel_size, module.dilation, module.padding, module.stride)
            if x.dim() == 3:  # a line of positions is an image of one row
                x, settings = x[:, :, None], [(one, *own) for one, own in zip((1, 1, 0, 1), settings, strict=True)]
            columns = functional.unfold(x, *settings)
            return columns.reshape(len(x), module.groups, -1, columns.shape[2])
        along = (-1, *[1] * (x.dim() - 2))
        spread = (module.running_var + module.eps).sqrt()
        normalized: Tensor = (x - module.running_mean.view(along)) / spread.view(along)
        return normalized.reshape(len(x), x.shape[1], -1)

    @cached_property
    def _gram(self) -> Tensor:
        return self.columns.transpose(-2, -1) @ self.columns

    def squares(self, slope: Tensor) -> dict[str, Tensor]:
        """Return squared norms of the gradients of each example, parameter's name → (n,), given the output's gradient."""
        if isinstance(self.module, nn.Linear):
            slope = slope.movedim(-1, 1)
        slope = slope.reshape(*slope.shape[:2], -1)
        found = {f"{self.name}.bias": slope.sum(2).square().sum(1)}
        if self.columns.dim() == 3:
            found[f"{self.name}.weight"] = (slope * self.columns).sum(2).square().sum(1)
            return found
        groups, inputs, places = self.columns.shape[1:]
        slope = slope.reshape(len(slope), groups, -1, places)
        outputs = slope.shape[2]
        if places * (inputs + outputs) < inputs * outputs:  # ‖Σₜ yₜ xₜᵀ‖² = Σₜᵤ (yₜ · yᵤ) (xₜ · xᵤ)
            square = (slope.transpose(-2, -1) @ slope * self._gram).sum((1, 2, 3))
        else:
            square = (slope @ self.columns.transpose(-2, -1)).square().sum((1, 2, 3))
        found[f"{self.name}.weight"] = square
        return found


class _Recorder(fx.Interpreter):
    """Runs a network, and keeps what goes into its modules with parameters and what comes out."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self._layers: list[_Layer] = []

    @classmethod
    def of(cls, network: nn.Module) -> Self | None:
        """Return a network's, or None where it is not known to be affine in each layer's parameters between kinks."""
        network.requires_grad_(requires_grad=False)
        for module in network.modules():
            if hasattr(module, "inplace"):
                setattr(module, "inplace", False)  # noqa: B010 - a module may have any attribute
        try:
            traced = fx.symbolic_trace(network)
        except Exception:  # noqa: BLE001 - whatever a network's own code does with what only stands for a tensor
            return None
        for node in traced.graph.nodes:
            if node.target is operator.iadd:
                node.target = operator.add
        return cls(traced) if _is_affine_by_layers(network, traced.graph) else None

    def recorded(self, inputs: Tensor) -> tuple[Tensor, list[_Layer]]:
        """Return logits (n, K), and the layers that made them."""
        self._layers = []
        with torch.enable_grad():
            logits: Tensor = self.run(inputs)
        return logits, self._layers

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a module."""
        out = super().call_module(target, args, kwargs)
        module = self.fetch_attr(target)
        if next(module.parameters(), None) is not None:
            out = out.requires_grad_() if not out.requires_grad else out
            self._layers.append(_Layer(target, module, args[0].detach(), out))
        return out


def _is_affine_by_layers(network: nn.Module, graph: fx.Graph) -> bool:
    """Tell whether all that a graph does is known, and whether it uses every parameter once."""
    modules, used = dict(network.named_modules()), []
    if any(module.training or module._forward_hooks or module._forward_pre_hooks for module in modules.values()):
        return False
    for node in graph.nodes:
        if any(argument is True for argument in node.args) or node.kwargs.get("inplace"):
            return False
        if node.op == "call_module":
            module = modules[node.target]
            if not _is_affine(module) and type(module) not in _MODULES:
                return False
            used += [id(parameter) for parameter in module.parameters()]
        elif node.op == "call_function":
            if node.target not in _FUNCTIONS:
                return False
        elif node.op == "call_method":
            if node.target not in _METHODS:
                return False
        elif node.op not in ("placeholder", "output"):
            return False
    return len(used) == len(set(used)) == len(list(network.named_parameters(remove_duplicate=False)))


def _is_affine(module: nn.Module) -> bool:
    """Tell whether a module is one of those that `_Layer` knows."""
    if type(module) in (nn.Conv1d, nn.Conv2d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return not module.training and module.running_mean is not None
    return type(module) is nn.Linear
