"""Permutation alignment: the hidden units of one network put into the order in which they resemble another's.

Hidden units can change places without changing what a network computes, if everything that reads them changes with them
(Hecht-Nielsen, On the algebraic structure of feedforward network weight spaces, Advanced Neural Computers 1990). Which units
change places together follows from the network's layers: an addition ties what it adds, ReLU, normalization, pooling and
flattening pass units on, inputs and outputs stay where they are.

The order is found by weight matching: Ainsworth, Hayase and Srinivasa, Git Re-Basin: merging models modulo permutation
symmetries (ICLR 2023), section 3.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from zoo_builder.landscape.surface import Layout
from zoo_builder.training import UnknownLayerError, copied, trace

#: Of units: the unit that is to be at place i is now at place ``permutation[i]``.
Permutation: TypeAlias = NDArray[np.int64]
Array: TypeAlias = NDArray[np.float64]
Values = TypeVar("Values", Tensor, Array)

#: Shares of the similarity by which a permutation must raise it: less is rounding.
_GAIN = 1e-12
#: Relative differences of outputs that rounding explains, in float64.
_TOLERANCE = 1e-8
_EXAMPLES = 8
#: Layers that pass units on.
_PASSING = ("relu", "add", "flatten", nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.Identity)


@dataclass(frozen=True)
class Units:
    """Hidden units that only change places together: the channels of a value, and of all values that are added to it.

    Attributes
    ----------
    count : how many there are.
    axes : (tensor, axis) along which they lie, a tensor by its name in the network's state. An axis may be a multiple of
        `count`: then every unit has as many entries behind each other, its positions before flattening.
    """

    count: int
    axes: tuple[tuple[str, int], ...]


class _Ties:
    """Values' channels, by number; which of them are tied to each other; which axes they lie along."""

    #: Inputs and outputs, which stay where they are.
    FIXED = 0

    def __init__(self) -> None:
        self._counts, self._tied = [0], [self.FIXED]
        self._axes: dict[tuple[str, int], int] = {}

    def new(self, count: int) -> int:
        self._counts.append(count)
        self._tied.append(len(self._tied))
        return self._tied[-1]

    def find(self, at: int) -> int:
        while self._tied[at] != at:
            at = self._tied[at]
        return at

    def tie(self, one: int, other: int) -> None:
        low, high = sorted((self.find(one), self.find(other)))
        if low == high:
            return
        # What are units here and something else there cannot change places.
        self._counts[low] = self._counts[low] if self._counts[low] == self._counts[high] else 0
        self._tied[high] = low

    def lie(self, channels: int, name: str, axis: int) -> None:
        # A module that is called twice has its axes already.
        self.tie(channels, self._axes.setdefault((name, axis), channels))

    def units(self) -> tuple[Units, ...]:
        axes: dict[int, list[tuple[str, int]]] = {}
        for axis, channels in self._axes.items():
            axes.setdefault(self.find(channels), []).append(axis)
        return tuple(Units(self._counts[at], tuple(axes[at])) for at in sorted(axes) if self._counts[at] > 1)


def hidden_units(network: nn.Module, shape: tuple[int, ...]) -> tuple[Units, ...]:
    """Return the hidden units of a network, those next to the inputs first.

    What the layers say is tried: with all units in other places, the network must compute the same.

    Parameters
    ----------
    network : any; it stays as it is.
    shape : of one input.

    Raises
    ------
    UnknownLayerError
        It has layers that are not known here, or does something that they do not say.
    """
    ties = _Ties()
    graph = trace(network)
    channels = {graph.entrance: ties.FIXED}
    for layer in graph.layers:
        first, *others = (channels[source] for source in layer.sources)
        what, name = layer.what, layer.name
        if isinstance(what, nn.Linear | nn.Conv1d | nn.Conv2d):
            ties.lie(first, f"{name}.weight", 1)
            first = ties.new(what.weight.shape[0])
            for tensor in ("weight", "bias") if what.bias is not None else ("weight",):
                ties.lie(first, f"{name}.{tensor}", 0)
        elif isinstance(what, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in ("weight", "bias", "running_mean", "running_var"):
                ties.lie(first, f"{name}.{tensor}", 0)
        elif what not in _PASSING and type(what) not in _PASSING:
            raise UnknownLayerError
        for other in others:
            ties.tie(first, other)
        channels[layer.target] = first
    ties.tie(channels[graph.exit], ties.FIXED)
    found = ties.units()
    _try(network, shape, found)
    return found


def _try(network: nn.Module, shape: tuple[int, ...], units: Sequence[Units]) -> None:
    """Move all units of such a network, with numbers drawn at random, by one place, and see whether anybody notices."""
    chance = torch.Generator().manual_seed(0)
    network = copied(network).cpu().double().eval()
    state = {}
    for name, value in network.state_dict().items():
        numbers = torch.randn(value.shape, generator=chance).double()
        state[name] = (numbers.abs() if name.endswith("running_var") else numbers).to(value.dtype)
    inputs = torch.randn(_EXAMPLES, *shape, generator=chance).double()
    with torch.no_grad():
        network.load_state_dict(state)
        expected = network(inputs)
        try:
            network.load_state_dict(permuted(state, units, [np.roll(np.arange(one.count), 1) for one in units]))
        except RuntimeError as error:
            raise UnknownLayerError from error
        found = network(inputs)
    if not (found - expected).norm() <= _TOLERANCE * expected.norm():
        raise UnknownLayerError


def permuted(
    state: Mapping[str, Values], units: Sequence[Units], permutations: Sequence[Permutation]
) -> dict[str, Values]:
    """Return a network's tensors with its hidden units in other places; it computes the same.

    Parameters
    ----------
    state : name → tensor, as in ``state_dict`` or a part of it.
    units : the network's; see `hidden_units`.
    permutations : one each.
    """
    moved = dict(state)
    for one, permutation in zip(units, permutations, strict=True):
        for name, axis in one.axes:
            if name in moved:
                moved[name] = _moved(moved[name], axis, permutation)
    return moved


def _moved(value: Values, axis: int, permutation: Permutation) -> Values:
    by_unit = value.reshape((*value.shape[:axis], len(permutation), -1, *value.shape[axis + 1 :]))
    return by_unit[(slice(None),) * axis + (permutation,)].reshape(value.shape)


def match(
    reference: Mapping[str, Tensor], other: Mapping[str, Tensor], units: Sequence[Units]
) -> tuple[Permutation, ...]:
    """Return the order of one network's hidden units in which its weights are most like another's.

    That is, the permutations for which the inner product of all tensors that units lie along is largest. They are found by
    coordinate descent (Ainsworth et al., ICLR 2023, algorithm 1): units by units, the best order as the others stand, which
    is a linear assignment, until none is better than what is there. It begins, which the paper leaves open, from the inputs
    on: each units' order is the best by those weights alone whose other end is in order already. So networks that differ
    only by the order are matched exactly, and nothing depends on the order that units came in.

    Parameters
    ----------
    reference, other : name → tensor. Tensors that only one of them has are not looked at.
    units : the networks'; see `hidden_units`.

    Returns
    -------
    For `permuted`, to be applied to `other`.

    Raises
    ------
    ValueError
        A number is not finite.
    """
    fixed, moved = (
        {name: tensor.detach().cpu().double().numpy() for name, tensor in state.items()} for state in (reference, other)
    )
    every = [
        Units(one.count, tuple((name, at) for name, at in one.axes if name in fixed and name in moved)) for one in units
    ]
    orders = [np.arange(one.count) for one in units]

    def move(at: int, permutation: Permutation) -> None:
        orders[at] = orders[at][permutation]
        moved.update(_part(moved, every[at], permutation))

    for at, one in enumerate(every):
        later = [name for behind in every[at + 1 :] for name, _ in behind.axes]
        names = [name for name, _ in one.axes]
        known = tuple(axis for axis in one.axes if axis[0] not in later and names.count(axis[0]) == 1)
        move(at, _best(fixed, moved, Units(one.count, known)))
    improved = True
    while improved:
        improved = False
        for at, one in enumerate(every):
            better = _best(fixed, moved, one)
            if (better == np.arange(one.count)).all():
                continue
            # Where the same units are at both ends of a tensor, what is best with one end held need not be better.
            gain = whole = 0.0
            for name, value in _part(moved, one, better).items():
                gain += float(np.vdot(fixed[name], value - moved[name]))
                whole += float(np.linalg.norm(fixed[name]) * np.linalg.norm(value))
            if gain > _GAIN * whole:
                move(at, better)
                improved = True
    return tuple(orders)


def _part(state: Mapping[str, Values], one: Units, permutation: Permutation) -> dict[str, Values]:
    """Return those tensors that some units lie along, the units in other places."""
    return permuted({name: state[name] for name, _ in one.axes}, [one], [permutation])


def _best(fixed: Mapping[str, Array], moved: Mapping[str, Array], one: Units) -> Permutation:
    """Return the order of units in which the inner product with the fixed tensors is largest, other units as they stand."""
    likeness = np.zeros((one.count, one.count))
    for name, axis in one.axes:
        likeness += _by_unit(fixed[name], axis, one.count) @ _by_unit(moved[name], axis, one.count).T
    return linear_sum_assignment(likeness, maximize=True)[1].astype(np.int64)


def _by_unit(value: Array, axis: int, count: int) -> Array:
    return np.moveaxis(value.reshape((*value.shape[:axis], count, -1, *value.shape[axis + 1 :])), axis, 0).reshape(
        count, -1
    )


def aligned(layout: Layout, units: Sequence[Units], references: Tensor, points: Tensor) -> Tensor:
    """Return points (S, P) with hidden units in the order in which they are most like those at the references (S, P)."""
    found = []
    for reference, point in zip(references, points, strict=True):
        tensors = layout.tensors(point)
        order = match(layout.tensors(reference), tensors, units)
        found.append(layout.points({name: value[None] for name, value in permuted(tensors, units, order).items()})[0])
    return torch.stack(found)


def shuffled(network: nn.Module, shape: tuple[int, ...], rng: np.random.Generator) -> nn.Module:
    """Return a copy of a network with its hidden units in random places; it computes the same.

    Parameters
    ----------
    network : it stays as it is.
    shape : of one input.
    rng : where the places come from.

    Raises
    ------
    UnknownLayerError
        The network has layers that are not known here.
    """
    units = hidden_units(network, shape)
    other = copied(network)
    other.load_state_dict(permuted(network.state_dict(), units, [rng.permutation(one.count) for one in units]))
    return other
