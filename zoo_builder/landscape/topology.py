"""Topology of the training loss around a network: minima, passes and holes of its sublevel sets on grids.

The loss is sampled on regular grids through the network, in two and in three dimensions, along the eigenvectors of its
Hessian's largest eigenvalues and along filter-normalized random directions (Xie et al., Evaluating loss landscapes from a
topology perspective (NeurIPS workshop on scientific methods for understanding deep learning 2024); Geniesse et al.,
Visualizing loss functions as topological landscape profiles (NeurReps 2024)). As a level rises over the grid, basins are
born at minima and merge at passes. What is counted is how many there are, and how long they persist.

A grid is a cubical complex whose cells are the sampled points: two are neighbours where they differ by at most one step along
every axis. With neighbours along single axes alone, a narrow valley that lies obliquely would come apart into one minimum
for every point that happens to lie at its bottom.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import gudhi
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape.data import Data
from zoo_builder.landscape.hessian import spectrum
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import Missing
from zoo_builder.landscape.surface import Layout, Surface

#: Points along each axis of a grid, by its number of dimensions; odd, so that the network is the one in the middle.
#: On 315 networks of two zoos (MLPs, 1-D convolutions), the depths of these grids, on 128 examples, have a rank correlation
#: of 0.991 to 0.998 with those of 11² and 7³ points on 256 examples, which cost three to four times as much. More points do
#: not say more: on 31² all networks that were tried have one minimum, from 0.3 to 3 times as far along eigenvectors and 0.3
#: to twice as far along random directions, of the loss and of its logarithm.
SIDES: Final = {2: 9, 3: 5}
#: Basins and holes that persist over less than this share of the losses' range are not counted.
THRESHOLD: Final = 1e-3
#: How far a grid reaches along an eigenvector, as a share of the norm of all parameters.
EIGENVECTOR_REACH: Final = 0.1
#: Numbers in the points that a surface is handed at once.
_CHUNK: Final = 2**24

Floats = NDArray[np.float64]

#: How a column ends, and the least that it can be.
_NUMBERS: Final = {
    "minima": 1,
    "largest_persistence": 0,
    "total_persistence": 0,
    "persistence_entropy": 0,
    "merge_tree_size": 1,
    "depth": 0,
}
#: Columns that are measured on one grid: how they begin, along which directions it lies, and how many.
_PLANES: Final = {f"topology_{kind}_{axes}d": (kind, axes) for kind in ("eigen", "random") for axes in SIDES}

METRICS: Final = tuple(
    Metric(
        f"{plane}_{name}", "checkpoint", low=low, cost=f"{SIDES[axes] ** axes} losses" if name == "minima" else "free"
    )
    for plane, (_, axes) in _PLANES.items()
    for name, low in _NUMBERS.items()
)


def grid(side: int, dimensions: int) -> Floats:
    """Return the offsets of a regular grid's points, −1 to 1 along each axis: (sideᵈ, d), the last axis fastest."""
    axes = np.meshgrid(*[np.linspace(-1, 1, side)] * dimensions, indexing="ij")
    return np.stack([axis.ravel() for axis in axes], 1)


def filter_normalized(layout: Layout, points: Tensor, directions: Tensor) -> Tensor:
    """Scale each filter of directions (S, D, P) to the norm of the network's own, at points (S, P).

    A filter is what makes one output: a row of a weight. Parameters with fewer than two axes, biases and those of
    normalization, get zero (Li et al., Visualizing the loss landscape of neural nets (NeurIPS 2018), section 4).
    """
    out = torch.zeros_like(directions)
    for name, at in layout.slices.items():
        shape = layout.shapes[name]
        if len(shape) > 1:
            own = points[:, at].reshape(len(points), 1, shape[0], -1)
            drawn = directions[:, :, at].reshape(*directions.shape[:2], shape[0], -1)
            length = drawn.norm(dim=3, keepdim=True).clamp(min=torch.finfo(drawn.dtype).tiny)
            out[:, :, at] = (drawn * (own.norm(dim=3, keepdim=True) / length)).flatten(2)
    return out


def eigenvector_directions(subject: Subject, dimensions: int) -> Tensor:
    """Return the eigenvectors of the Hessians' largest eigenvalues, (S, D, P), `EIGENVECTOR_REACH` · ‖parameters‖ long.

    Of the two signs of an eigenvector, the one is taken whose largest component is positive. Those that did not converge
    are NaN.
    """
    vectors = spectrum(subject).vectors[:, :dimensions]
    largest = vectors.gather(2, vectors.abs().argmax(2, keepdim=True))
    reach: Tensor = EIGENVECTOR_REACH * subject.surface.points.norm(dim=1)
    return vectors * largest.sign() * reach[:, None, None]


def random_directions(subject: Subject, dimensions: int) -> Tensor:
    """Return filter-normalized Gaussian directions (S, D, P); fewer are the first of more."""
    surface = subject.surface
    shape = (dimensions, surface.layout.size)
    drawn = np.stack([subject.rng(row, "topology").standard_normal(shape) for row in range(len(surface))])
    return filter_normalized(surface.layout, surface.points, torch.as_tensor(drawn).to(surface.points))


def sampled(surface: Surface, data: Data, directions: Tensor, offsets: Floats) -> Floats:
    """Return the losses (S, M) at the networks plus offsets (M, D) along directions (S, D, P), in evaluation mode."""
    size, axes, parameters = directions.shape
    step = max(1, _CHUNK // (size * parameters))
    parts = []
    where = torch.as_tensor(offsets).to(directions)
    for at in range(0, len(where), step):
        some = where[at : at + step]
        points = surface.points[:, None].repeat(1, len(some), 1)
        for axis in range(axes):
            points.addcmul_(some[None, :, axis, None], directions[:, axis, None])
        parts.append(surface.scores(data, points)[0])
    return torch.cat(parts, 1).numpy()


def persistence(losses: Floats, threshold: float = 0) -> list[Floats]:
    """Return the persistence diagrams of the sublevel sets of values on a grid, for dimensions 0 to D − 1.

    Parameters
    ----------
    losses : (n₁, …, n_D), finite.
    threshold : classes that persist over no more than this are left out.

    Returns
    -------
    (k, 2) each, births and deaths, the longest first. Dimension 0 has the basins; the lowest never dies, its death is inf.
    Dimension 1 has the loops around what is higher.
    """
    cells = gudhi.CubicalComplex(top_dimensional_cells=losses)
    cells.compute_persistence(homology_coeff_field=2, min_persistence=threshold)
    found = []
    for dimension in range(losses.ndim):
        pairs = np.asarray(cells.persistence_intervals_in_dimension(dimension), dtype=np.float64).reshape(-1, 2)
        found.append(pairs[np.argsort(pairs[:, 0] - pairs[:, 1], kind="stable")])
    return found


@dataclass(frozen=True, eq=False)
class MergeTree:
    """How the basins of a grid merge as a level rises: minima are leaves, and passes are where they merge.

    Attributes
    ----------
    heights : (N,), of the nodes: the value of a minimum, or of a pass. Nodes are in the order in which a level reaches
        them, so that the last is the root.
    parents : int (N,), the node that a node merges into; −1 at the root.
    vertices : int (N,), where nodes are on the flattened grid.
    """

    heights: Floats
    parents: NDArray[np.int64]
    vertices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.heights)

    @property
    def leaves(self) -> NDArray[np.int64]:
        """The nodes that are minima."""
        return np.setdiff1d(np.arange(len(self)), self.parents)

    def pairs(self) -> Floats:
        """Return births and deaths (k, 2) of the minima but the lowest: of those that meet, the lowest lives on."""
        lowest = self.heights.copy()
        found = []
        for node in range(len(self)):
            # A node comes behind all that merge in it.
            children = lowest[self.parents == node]
            if len(children):
                lowest[node] = children.min()
                found += [(birth, self.heights[node]) for birth in np.sort(children)[1:]]
        return np.array(found, dtype=np.float64).reshape(-1, 2)


def merge_tree(losses: Floats, threshold: float = 0) -> MergeTree:
    """Return the merge tree of the sublevel sets of values on a grid.

    Parameters
    ----------
    losses : (n₁, …, n_D), finite.
    threshold : minima that persist over no more than this are part of the basin that they merge with.

    Returns
    -------
    Its nodes are minima and passes; basins that meet at one height meet in one node (Carr, Snoeyink and Axen, Computing
    contour trees in all dimensions (Computational Geometry 2003)).
    """
    values = losses.ravel().tolist()
    around = _neighbours(losses.shape)
    belongs = [-1] * len(
        values
    )  # union–find: a vertex's way to its basin's lowest vertex; −1 where the level is not yet
    top: dict[int, int] = {}  # basin → the highest node of its tree
    nodes: list[tuple[float, int]] = []
    children: list[list[int]] = []

    def basin(vertex: int) -> int:
        while belongs[vertex] != vertex:
            belongs[vertex] = vertex = belongs[belongs[vertex]]
        return vertex

    def add(vertex: int, below: list[int]) -> int:
        nodes.append((values[vertex], vertex))
        children.append(below)
        return len(nodes) - 1

    for vertex in np.argsort(losses.ravel(), kind="stable").tolist():
        height = values[vertex]
        met = sorted({basin(other) for other in around[vertex] if belongs[other] >= 0}, key=lambda at: (values[at], at))
        belongs[vertex] = oldest = met[0] if met else vertex
        if not met:
            top[vertex] = add(vertex, [])
        for other in met[1:]:
            belongs[other] = oldest
        merged = [other for other in met[1:] if height - values[other] > threshold]
        if merged:
            below = [top[other] for other in (oldest, *merged)]
            same = [node for node in below if children[node] and nodes[node][0] == height]
            ends = [node for node in below if node not in same]
            top[oldest] = add(vertex, ends + [child for node in same for child in children[node]])
    root = top[basin(0)]
    parents = {child: node for node in _beneath(root, children) for child in children[node]} | {root: -1}
    kept = sorted(parents)
    number = {node: at for at, node in enumerate(kept)} | {-1: -1}
    return MergeTree(
        np.array([nodes[node][0] for node in kept]),
        np.array([number[parents[node]] for node in kept], dtype=np.int64),
        np.array([nodes[node][1] for node in kept], dtype=np.int64),
    )


def _beneath(root: int, children: Sequence[Sequence[int]]) -> list[int]:
    found = [root]
    for node in found:
        found += children[node]
    return found


@lru_cache(maxsize=8)
def _neighbours(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """For each point of a grid, those at most one step away along every axis."""
    padded = np.pad(np.arange(math.prod(shape)).reshape(shape), 1, constant_values=-1)
    around = [
        padded[tuple(slice(1 + step, 1 + step + side) for step, side in zip(steps, shape, strict=True))]
        .ravel()
        .tolist()
        for steps in itertools.product((-1, 0, 1), repeat=len(shape))
        if any(steps)
    ]
    return tuple(tuple(other for other in others if other >= 0) for others in zip(*around, strict=True))


def depth(losses: Floats) -> float:
    """Return how far a path from the middle of a grid to its rim must climb at least, above the value in the middle.

    Parameters
    ----------
    losses : (n₁, …, n_D), every n odd.
    """
    around = _neighbours(losses.shape)
    inside = np.zeros(losses.shape, dtype=bool)
    inside[(slice(1, -1),) * losses.ndim] = True
    values, within = losses.ravel().tolist(), inside.ravel().tolist()
    middle = len(values) // 2
    waiting, seen, level = [(values[middle], middle)], {middle}, -math.inf
    while True:
        height, vertex = heapq.heappop(waiting)
        level = max(level, height)
        if not within[vertex]:
            return level - values[middle]
        for other in around[vertex]:
            if other not in seen:
                seen.add(other)
                heapq.heappush(waiting, (values[other], other))


def persistence_entropy(lengths: Floats) -> float:
    """Return −Σ p ln p, in nats, p being the shares that bars of these lengths (k,) have of their sum.

    The bar of the lowest minimum, which never dies, is to end at the highest value there is (Atienza, Gonzalez-Diaz and
    Rucco, Persistent entropy for separating topological features from noise in Vietoris–Rips complexes (JIIS 2019)).
    """
    if len(lengths) == 1:
        return 0.0
    shares = lengths / lengths.sum()
    return float(-(shares * np.log(shares)).sum())


def described(losses: Floats) -> dict[str, float]:
    """Return what is measured of one grid (n₁, …, n_D) of finite losses, by the ends of the columns' names."""
    spread = float(np.ptp(losses))
    basins, *_ = persistence(losses, THRESHOLD * spread)
    lengths = basins[1:, 1] - basins[1:, 0]
    return {
        "minima": len(basins),
        "largest_persistence": float(lengths.max(initial=0)),
        "total_persistence": float(lengths.sum()),
        "persistence_entropy": persistence_entropy(np.append(lengths, spread)),
        "merge_tree_size": len(merge_tree(losses, THRESHOLD * spread)) if len(basins) > 1 else 1,
        "depth": depth(losses),
    }


def measure(subject: Subject) -> Measured:
    """Measure all networks of a subject: `METRICS`."""
    surface = subject.surface
    size, most = len(surface), max(SIDES)
    data = subject.train.first(subject.settings.topology_sample)
    missing = Missing(size)
    every = {"eigen": eigenvector_directions(subject, most), "random": random_directions(subject, most)}
    found = {metric.column: np.full(size, np.nan) for metric in METRICS}
    for plane, (kind, axes) in _PLANES.items():
        columns = [f"{plane}_{name}" for name in _NUMBERS]
        if surface.layout.size < axes:
            missing.because(f"there are fewer than {axes} parameters", columns)
            continue
        directions = every[kind][:, :axes]
        unknown = ~torch.isfinite(directions).flatten(1).all(1).cpu().numpy()
        missing.because("the Hessian's eigenvectors did not converge", columns, np.flatnonzero(unknown).tolist())
        still = (directions == 0).all(2).any(1).cpu().numpy()
        missing.because("all weights are zero", columns, np.flatnonzero(still).tolist())
        rows = np.flatnonzero(~unknown & ~still).tolist()
        if not rows:
            continue
        losses = sampled(surface.part(rows), data, directions[rows], grid(SIDES[axes], axes))
        for row, values in zip(rows, losses, strict=True):
            if np.isfinite(values).all():
                for name, value in described(values.reshape((SIDES[axes],) * axes)).items():
                    found[f"{plane}_{name}"][row] = value
    networks = missing.fill(found, list(found), "the loss on the grid is not finite")
    return Measured(networks=networks, network_reasons=missing.reasons)
