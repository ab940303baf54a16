"""The loss surfaces of networks of one shape: their loss as a function of their parameters, and its derivatives.

A surface holds S networks. A point is a vector of all parameters of one network, in the order of ``named_parameters``, each
flattened; what is asked of a surface is asked of all its networks at once, so that every answer has a leading axis S.
Networks are in evaluation mode (normalization uses the statistics it has kept) unless `training` is said, and then nothing
is kept.

Three kinds compute the same: `zoo_builder.landscape.taped.Taped`, in compiled loops on a CPU, the layers that these know;
`zoo_builder.landscape.stacked.Stacked`, by PyTorch, all networks as one, on any device; `zoo_builder.landscape.alone.Alone`,
by PyTorch, one network after the other, whatever they are. `zoo_builder.landscape.opening` chooses.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from zoo_builder.landscape.data import Data
from zoo_builder.landscape.objective import Objective
from zoo_builder.training import copied

#: What to say where there is no last linear layer.
NO_LINEAR = "the network has no linear layer, and so no penultimate one"


@dataclass(frozen=True)
class Layer:
    """A module with parameters of its own.

    Attributes
    ----------
    name : the module's path in the network; where others share its parameters, all their paths, joined by commas.
    parameters : names of its parameters, as in ``named_parameters``.
    block : where they lie in a point.
    """

    name: str
    parameters: tuple[str, ...]
    block: slice


class Layout:
    """Where the parameters of a network lie in a point.

    Attributes
    ----------
    shapes : parameter's name → its shape, in order.
    slices : parameter's name → where it lies.
    size : P, the length of a point.
    layers : the modules that have parameters, in order.
    """

    def __init__(self, network: nn.Module, names: Collection[str] | None = None) -> None:
        """Lay out a network's parameters that hold anything: those of these names, or all."""
        self.shapes = {
            name: tuple(value.shape)
            for name, value in network.named_parameters()
            if value.numel() and (names is None or name in names)
        }
        self.slices: dict[str, slice] = {}
        at = 0
        for name, shape in self.shapes.items():
            self.slices[name] = slice(at, at := at + math.prod(shape))
        self.size = at
        owned: dict[str, list[str]] = {}
        for name in self.shapes:
            owned.setdefault(name.rpartition(".")[0], []).append(name)
        paths: dict[int, list[str]] = {}
        for name, value in network.named_parameters(remove_duplicate=False):
            paths.setdefault(id(value), []).append(name.rpartition(".")[0])
        shared = {name: paths[id(value)] for name, value in network.named_parameters()}
        self.layers = tuple(
            Layer(
                ", ".join(dict.fromkeys(path for name in names for path in shared[name])),
                tuple(names),
                slice(self.slices[names[0]].start, self.slices[names[-1]].stop),
            )
            for names in owned.values()
        )

    def tensors(self, points: Tensor) -> dict[str, Tensor]:
        """Return points (…, P) as parameters, name → (…, *shape); they share memory."""
        ahead = points.shape[:-1]
        return {name: points[..., at].reshape(ahead + self.shapes[name]) for name, at in self.slices.items()}

    def points(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return parameters, name → (S, *shape), as points (S, P)."""
        return torch.cat([tensors[name].reshape(len(tensors[name]), -1) for name in self.slices], 1)


class Curvature(Protocol):
    """The Hessians of S losses, each at its network's place."""

    def __call__(self, vectors: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """Return Hessian–vector products, (S, V, P) of vectors (S, V, P); of the networks at `rows` alone, where given."""


class Surface(Protocol):
    """The loss surfaces of S networks of one shape.

    Attributes
    ----------
    module : the first of them, for its structure; its numbers are not to be used.
    layout : where parameters lie in a point.
    points : (S, P), where the networks are.
    """

    module: nn.Module
    layout: Layout
    points: Tensor

    @property
    def objective(self) -> Objective:
        """The loss."""

    @property
    def classifies(self) -> bool:
        """Whether the loss is one of classes, one an example, so that there are errors."""

    @property
    def way(self) -> str:
        """How it is computed, in words."""

    def __len__(self) -> int:
        """Return S."""

    def part(self, rows: Sequence[int]) -> Self:
        """Return the surfaces of some of the networks, by position; one may be there several times."""

    def network(self, row: int) -> nn.Module:
        """Return a copy of one network as an ordinary module, on the CPU."""

    def reopened(self, networks: Sequence[nn.Module]) -> Self:
        """Return the surfaces of other networks with the same loss, for the same inputs, in the same place."""

    def logits(self, data: Data, points: Tensor | None = None) -> Tensor:
        """Return outputs (S, n, K), at points (S, P) or where the networks are."""

    def features(self, data: Data) -> Tensor:
        """Return what the linear layer sees that is used last: (S, n, F).

        Raises
        ------
        MdbenchError
            There is no linear layer, or it is not used.
        """

    def scores(self, data: Data, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and errors in %, (S, M) and (S, M) float64 on the CPU, at points (S, M, P).

        Errors are NaN where the surface does not classify.
        """

    def gradients(
        self, data: Data, points: Tensor, chosen: Tensor | None = None, *, training: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return losses (S,) float64 on the CPU and their gradients (S, P), at points (S, P).

        Parameters
        ----------
        data : examples.
        points : one for each network.
        chosen : int64 (S, B), the examples that each network's loss is of; all if left out.
        training : whether normalization uses the statistics of the batch. Then all chosen examples are one batch.
        """

    def curvature(self, data: Data) -> Curvature:
        """Return the Hessians of the losses on all the data where the networks are.

        Raises
        ------
        MdbenchError
            The loss has no second derivatives that can be trusted.
        """

    def held(self, examples: int) -> int:
        """Return how many bytes products with the Hessians of losses on n examples hold, about, beside their vectors."""

    def renormalized(self, data: Data, points: Tensor) -> Self:
        """Return the surfaces at other points (S, P), normalization's statistics taken anew there.

        They are means over batches of 256 (all of the data where it is fewer; what is left over is left out), as in
        `torch.optim.swa_utils.update_bn` and Garipov et al., Loss surfaces, mode connectivity, and fast ensembling of
        DNNs (NeurIPS 2018), appendix A.1. Whatever else a network keeps stays as it is; without normalization only the points
        change.
        """


def numbers(
    networks: Sequence[nn.Module], moved: Callable[[Tensor], Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the parameters and the buffers of networks, name → (S, …), each moved to where they are to be.

    Raises
    ------
    ValueError
        They differ in name or shape.
    """
    found: list[dict[str, Tensor]] = []
    for states in (
        [dict(network.named_parameters()) for network in networks],
        [dict(network.named_buffers()) for network in networks],
    ):
        shapes = [{name: value.shape for name, value in state.items()} for state in states]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError("the networks are not seeds of one: their parameters must have the same names and shapes")
        found.append({name: torch.stack([moved(state[name]) for state in states]) for name in states[0]})
    return found[0], found[1]


def filled(network: nn.Module, values: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a network, on the CPU and in evaluation mode, with other parameters and buffers.

    Parameters
    ----------
    network : what to copy.
    values : by their names in ``named_parameters`` and ``named_buffers``: one name a tensor, however many share it.
    """
    module = copied(network).cpu()
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
    return module.eval()


#: Numbers that a product with a Hessian holds for each number that layers put out: kept between products 1.2 (perceptrons)
#: to 2.7 (attention), and what one product makes.
GRAPH = 4

#: Examples in a batch that normalization's statistics are taken from.
STATISTICS_BATCH = 256
