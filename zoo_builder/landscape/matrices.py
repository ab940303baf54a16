"""Which matrices a network multiplies by: the one place that knows.

=========================================  =================================================  =================
layer                                      matrix                                             rows × columns
=========================================  =================================================  =================
linear                                     its weight                                         out × in
convolution                                what multiplies all that is seen from one          out × in · kernel
                                           position; of groups, one block each on the
                                           diagonal
transposed convolution                     what one position that comes in is multiplied by:  out · kernel × in
                                           the transpose of the matrix of the convolution
                                           that it is the adjoint of; of groups, blocks
embedding, embedding bag                   what multiplies the unit vector of a word          out × words
bilinear                                   what multiplies the products of both inputs        out × in · in
attention                                  those of queries, keys and values apart; its       out × in
                                           output's is a linear layer's
RNN, LSTM, GRU, their cells                one for each gate, of inputs and of states; of a   units × in
                                           projection of states, one
``Conv1D`` of Hugging Face's transformers  its weight, transposed                             out × in
=========================================  =================================================  =================

Where a weight is computed from other tensors (parametrizations, weight and spectral normalization, masks of pruning), the
matrix is that of the computed weight. A subclass with a ``forward`` of its own may do anything with its weight, so that it
has no known matrix; nor has a module of another kind.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from mdbench.errors import MdbenchError
from zoo_builder.landscape.data import Inputs, of_each
from zoo_builder.landscape.module import called
from zoo_builder.landscape.surface import Layout
from zoo_builder.training import copied

#: Why a layer has no numbers.
NOT_KNOWN: Final = "which matrix is applied is not known"
#: Gates in the order in which layers stack their weights.
_LSTM: Final = ("input", "forget", "cell", "output")
_GRU: Final = ("reset", "update", "new")
#: Layers whose parameters, of whatever shape, multiply element by element.
_ELEMENTWISE: Final = (nn.LayerNorm, nn.RMSNorm)
#: Weights of attention that lie apart, while their biases lie below one another.
_APART: Final = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
_CONTAINERS: Final = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
#: Hooks that compute a weight before each pass; each of them has ``remove``.
_HOOKS: Final = (WeightNorm, SpectralNorm, BasePruningMethod)


@dataclass(frozen=True)
class Matrix:
    """A matrix that a network multiplies by.

    Attributes
    ----------
    name : of the layer: its path, with the weight and the part of it behind where a module has several
        (``attention.in_proj_weight.query``). A weight that several layers share has all their names, joined by commas.
    paths : of the module, of all that share the weight.
    attribute : the parameter that it lies in, as the module calls it.
    weight : the same, as in ``named_parameters``.
    start : numbers of the parameter that lie before it.
    height, width : of the numbers as they lie there, all blocks below one another.
    blocks : on the diagonal.
    transposed : whether the blocks lie there as their transposes.
    embedding : whether words are looked up in it.
    """

    name: str
    paths: tuple[str, ...]
    attribute: str
    weight: str
    start: int
    height: int
    width: int
    blocks: int = 1
    transposed: bool = False
    embedding: bool = False

    @property
    def path(self) -> str:
        """Path of the module, the first of several."""
        return self.paths[0]

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of one block."""
        height = self.height // self.blocks
        return (self.width, height) if self.transposed else (height, self.width)

    @property
    def rows(self) -> int:
        """What goes out."""
        return self.blocks * self.sides[0]

    @property
    def columns(self) -> int:
        """What comes in."""
        return self.blocks * self.sides[1]

    @property
    def size(self) -> int:
        """Numbers in it, those outside the blocks not counted."""
        return self.height * self.width

    def place(self, layout: Layout) -> slice:
        """Return where its numbers lie in a point."""
        start = layout.slices[self.weight].start + self.start
        return slice(start, start + self.size)

    def cut(self, numbers: Tensor) -> Tensor:
        """Return the numbers (…, size) as blocks (…, blocks, rows, columns); they share memory where they can."""
        blocks = numbers.reshape(*numbers.shape[:-1], self.blocks, self.height // self.blocks, self.width)
        return blocks.transpose(-1, -2) if self.transposed else blocks


@dataclass(frozen=True)
class Matrices:
    """What is known of a network's matrices.

    Attributes
    ----------
    known : the matrices, in the order of ``named_modules``.
    unknown : path → kind of the modules that have parameters of two or more dimensions and no known matrix.
    """

    known: tuple[Matrix, ...]
    unknown: dict[str, str]

    def __len__(self) -> int:
        """Return how many layers there are, known and unknown."""
        return len(self.known) + len(self.unknown)

    @property
    def left_out(self) -> str:
        """What has no known matrix, in words; empty where nothing has."""
        said = ", ".join(f"{path or 'the network itself'} ({kind})" for path, kind in self.unknown.items())
        return said and f"{NOT_KNOWN} of {said}"


@dataclass(frozen=True)
class _Part:
    """A matrix within a module: the weight it lies in, its rows there, and the rest of what a `Matrix` says."""

    weight: str = "weight"
    rows: tuple[int, int] | None = None
    name: str = ""
    blocks: int = 1
    transposed: bool = False
    embedding: bool = False


def _stacked(weight: str, names: Sequence[str], height: int) -> list[_Part]:
    """Return matrices of so many rows each that lie below one another."""
    return [_Part(weight, (at * height, (at + 1) * height), name) for at, name in enumerate(names)]


def _convolution(module: Any) -> list[_Part]:
    return [_Part(blocks=module.groups)]


def _transposed(module: Any) -> list[_Part]:
    return [_Part(blocks=module.groups, transposed=True)]


def _attention(module: Any) -> list[_Part]:
    if module.in_proj_weight is not None:
        return _stacked("in_proj_weight", ("query", "key", "value"), module.embed_dim)
    return [_Part(f"{name}_proj_weight") for name in "qkv"]


def _recurrent(module: Any, gates: Sequence[str] = ()) -> list[_Part]:
    found: list[_Part] = []
    for name, _ in module.named_parameters(recurse=False):
        if gates and name.startswith(("weight_ih", "weight_hh")):
            found += _stacked(name, gates, module.hidden_size)
        elif name.startswith("weight"):
            found.append(_Part(name))
    return found


#: Kinds of layers, and the matrices of one.
_KINDS: Final[tuple[tuple[tuple[type[nn.Module], ...], Callable[[Any], list[_Part]]], ...]] = (
    ((nn.Linear, nn.Bilinear), lambda _: [_Part()]),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed),
    ((nn.Embedding, nn.EmbeddingBag), lambda _: [_Part(transposed=True, embedding=True)]),
    ((nn.MultiheadAttention,), _attention),
    ((nn.RNN, nn.RNNCell), _recurrent),
    ((nn.LSTM, nn.LSTMCell), lambda module: _recurrent(module, _LSTM)),
    ((nn.GRU, nn.GRUCell), lambda module: _recurrent(module, _GRU)),
)


def find(network: nn.Module) -> Matrices:
    """Return the matrices of a network whose weights are parameters; see `ordinary`.

    Raises
    ------
    MdbenchError
        A parameter has no shape yet.
    """
    found: dict[tuple[int, int], Matrix] = {}
    others: dict[nn.Module, tuple[str, set[int]]] = {}
    names = {id(value): name for name, value in network.named_parameters()}
    for path, module in network.named_modules(remove_duplicate=False):
        own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
        for name, value in own.items():
            if is_lazy(value):
                raise MdbenchError(
                    f"{path or 'the network'} has no shape yet ({type(module).__name__}.{name}): "
                    "pass one batch through the network first"
                )
        parts = _parts(module)
        if parts is None:
            large = {id(value) for value in own.values() if value.dim() > 1}
            if large and not isinstance(module, _ELEMENTWISE):
                others.setdefault(module, (path, large))
            continue
        if any(part.weight not in own for part in parts):  # something that is not known computes it
            others.setdefault(module, (path, {0}))
            continue
        for part in parts:
            value = own[part.weight]
            first, last = part.rows or (0, len(value))
            key = id(value), first
            name = ".".join(filter(None, (path, part.weight if len(parts) > 1 else "", part.name)))
            if key in found:
                both = found[key]
                found[key] = replace(both, name=f"{both.name}, {name}", paths=(*both.paths, path))
            elif value.numel():
                width = value.numel() // len(value)
                found[key] = Matrix(
                    name=name,
                    paths=(path,),
                    attribute=part.weight,
                    weight=names[id(value)],
                    start=first * width,
                    height=last - first,
                    width=width,
                    blocks=part.blocks,
                    transposed=part.transposed,
                    embedding=part.embedding,
                )
    known = {value for value, _ in found}
    unknown = {path: type(module).__name__ for module, (path, large) in others.items() if large - known}
    return Matrices(tuple(found.values()), unknown)


def biases(network: nn.Module, matrix: Matrix, layout: Layout) -> list[slice]:
    """Return where the biases lie in a point that are added to what a matrix multiplied.

    A gate has its part of the module's biases, as has the query, the key or the value of an attention. Where several layers
    share a matrix, those of all of them; where none has any, nothing.
    """
    found: dict[int, slice] = {}
    names = {id(value): name for name, value in network.named_parameters()}
    for path in matrix.paths:
        own = dict(network.get_submodule(path).named_parameters(recurse=False, remove_duplicate=False))
        weight, bias = own.get(matrix.attribute), own.get(_bias_of(matrix.attribute))
        if weight is None or bias is None or bias.dim() != 1:
            continue
        first, count = 0, len(bias)
        if matrix.attribute in _APART:
            first, count = _APART.index(matrix.attribute) * len(weight), len(weight)
        elif matrix.height < len(weight):  # rows of what lies below one another
            first, count = matrix.start // matrix.width, matrix.height
        start = layout.slices[names[id(bias)]].start + first
        found[start] = slice(start, start + count)
    return list(found.values())


def _bias_of(weight: str) -> str:
    """Return what a module calls the biases that belong to a weight."""
    return "in_proj_bias" if weight in _APART else weight.replace("weight", "bias")


def _parts(module: nn.Module) -> list[_Part] | None:
    """Return the matrices of one module; None where it is not known which it applies."""
    for kinds, parts in _KINDS:
        kind = next((kind for kind in kinds if isinstance(module, kind)), None)
        if kind is not None:
            return parts(module) if _as_its_kind(module, kind) else None
    # Of Hugging Face's transformers, and of programs that follow it: x W + b with a weight (in, out).
    if type(module).__name__ == "Conv1D" and isinstance(weight := getattr(module, "weight", None), Tensor):
        return [_Part(transposed=True)] if weight.shape[1:] == (getattr(module, "nf", None),) else None
    return None


def _as_its_kind(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a module computes what its kind computes: nobody gave it another way of its own."""
    return all(
        name not in vars(module) and getattr(type(module), name, None) is getattr(kind, name, None)
        for name in ("forward", "_conv_forward")
    )


def reparametrized(network: nn.Module) -> bool:
    """Return whether a network computes weights from other tensors."""
    return any(
        parametrize.is_parametrized(module)
        or any(_hooks(module))
        or (isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None)
        for module in network.modules()
    )


def _hooks(module: nn.Module) -> Iterator[tuple[int, Any]]:
    return ((key, hook) for key, hook in module._forward_pre_hooks.items() if isinstance(hook, _HOOKS))


def ordinary(network: nn.Module) -> nn.Module:
    """Return a copy that does the same in evaluation mode, and whose weights are parameters.

    Parametrizations, normalizations of weights, masks, and bounds on the vectors of words are carried out, and removed.
    """
    plain = copied(network).eval()
    for module in list(plain.modules()):
        if parametrize.is_parametrized(module):
            _unparametrize(module)
        for key, hook in list(_hooks(module)):
            hook.remove(module)
            del module._forward_pre_hooks[key]
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            weight = module.weight.detach()
            torch.embedding_renorm_(weight, torch.arange(len(weight)), module.max_norm, module.norm_type)
            module.max_norm = None
    return plain


def _unparametrize(module: nn.Module) -> None:
    """Have a module of its own keep what its parametrizations compute.

    `torch.nn.utils.parametrize.remove_parametrizations` changes the module's class, which its copies share
    (findings/torch-remove-parametrizations.sh).
    """
    lists = module.parametrizations
    assert isinstance(lists, nn.ModuleDict)
    computed = {
        name: (getattr(module, name).detach().clone(), next(own.parameters(), None) is not None)
        for name, own in lists.items()
    }
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, (value, trained) in computed.items():
        if trained:
            setattr(module, name, nn.Parameter(value))
        else:
            module.register_buffer(name, value)


def repeated(network: nn.Module, matrices: Sequence[Matrix]) -> list[str]:
    """Return for each matrix the block that it is in, a path; its own name where it is in none.

    A block is a module with two matrices or more whose class is there several times, as those of transformers and of
    residual networks are: the outermost one. Lists and sequences are no blocks, nor is the network itself.
    """

    def around(path: str) -> Iterator[str]:
        parts = path.split(".")
        return (".".join(parts[:to]) for to in range(1, len(parts) + 1))

    inside: dict[str, int] = {}
    for matrix in matrices:
        for path in around(matrix.path):
            inside[path] = inside.get(path, 0) + 1
    modules = {path: network.get_submodule(path) for path, many in inside.items() if many > 1}
    kinds = [type(module) for module in modules.values()]
    blocks = {
        path
        for path, module in modules.items()
        if not isinstance(module, _CONTAINERS) and kinds.count(type(module)) > 1
    }
    return [next((path for path in around(matrix.path) if path in blocks), matrix.name) for matrix in matrices]


def used_last(network: nn.Module, inputs: Inputs, matrices: Sequence[Matrix]) -> list[Matrix]:
    """Return the matrices of the module that a pass uses last, of those that are given."""
    seen: list[str] = []

    def note(path: str) -> Callable[..., None]:
        return lambda *_: seen.append(path)

    paths = {path for matrix in matrices for path in matrix.paths}
    handles = [network.get_submodule(path).register_forward_pre_hook(note(path)) for path in paths]
    kind = next(network.parameters()).dtype
    try:
        called(
            network, of_each(inputs, lambda value: value.detach().cpu().to(kind if value.is_floating_point() else None))
        )
    finally:
        for handle in handles:
            handle.remove()
    return [matrix for matrix in matrices if seen and seen[-1] in matrix.paths]
