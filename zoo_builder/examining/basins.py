"""The loss over a plane through a network, as its basins lie in each other."""

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from zoo_builder.examining.drawing import BOTTOM, LEFT, RIGHT, TOP
from zoo_builder.landscape import Data, Subject, measure, topology

#: Points along each axis: those of the family `topology`.
SIDE: Final = topology.SIDES[2]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """The loss over a plane, drawn.

    Attributes
    ----------
    cells : for each place of the grid, row by row, how high its loss is, 0 to 1, on a logarithmic scale if all are above 0.
    basins : points of the profile, as SVG has them.
    low, high : the smallest and the largest loss.
    """

    cells: tuple[tuple[float, ...], ...]
    basins: str
    low: float
    high: float


def profile(losses: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return the values of a grid in a row in which each basin is one piece: heights and widths, (k,) each.

    At whatever level the row is cut, its pieces beneath are the connected components of the places beneath, neighbours being
    at most one step away along every axis; pieces lie in each other as the merge tree has it (the topological landscape
    profile of Oesterling et al., Visualizing nD point clouds as topological landscape profiles, IEEE TVCG 2013: height
    is the value, width the volume). Each place is one wide. Where three basins or more meet in one place, a wall of its
    height and no width stands between the others.

    Parameters
    ----------
    losses : (n₁, …, n_D), finite.
    """
    values = losses.ravel()
    places = np.stack(np.unravel_index(np.arange(len(values)), losses.shape), 1)
    basin: dict[int, deque[tuple[int, int]]] = {}  # place → the row of its basin: places, and how wide each is
    for place in np.argsort(values, kind="stable").tolist():
        near = np.flatnonzero(np.abs(places - places[place]).max(1) == 1).tolist()
        row, *others = list({id(basin[other]): basin[other] for other in near if other in basin}.values()) or [deque()]
        for at, other in enumerate(others):
            row = deque([*row, (place, int(at == 0)), *other])
        if not others:
            (row.append if len(row) % 2 else row.appendleft)((place, 1))
        for one, _ in row if others else [(place, 1)]:
            basin[one] = row
    row = basin[0]
    return values[[place for place, _ in row]], np.array([width for _, width in row], dtype=np.int64)


def plane_of(network: nn.Module, loss: Any, train: Data) -> Plane | None:
    """Return the training loss over a plane that the family `topology` looks at, of two random directions, filter-normalized.

    None where it is not finite.
    """
    found: list[Floats] = []

    def look(subject: Subject) -> None:
        directions = topology.random_directions(subject, 2)
        data = subject.train.first(subject.settings.topology_sample)
        found.append(topology.sampled(subject.surface, data, directions, topology.grid(SIDE, 2))[0])

    measure([network], loss, train, families=(), compiled=False, before=look)
    return drawn(found[0].reshape(SIDE, SIDE)) if np.isfinite(found[0]).all() else None


def drawn(losses: Floats) -> Plane:
    """Return the drawing of losses (n, n)."""
    low, high = float(losses.min()), float(losses.max())
    heights = np.log(losses) if low > 0 else losses
    spread = float(np.ptp(heights)) or 1.0
    share = (heights - heights.min()) / spread
    row, widths = profile(share)
    x = LEFT + (RIGHT - LEFT) * np.concatenate([[0], np.cumsum(widths)]) / widths.sum()
    y = BOTTOM - row * (BOTTOM - TOP)
    steps = [f"{at:.1f},{height:.1f}" for place, height in enumerate(y) for at in x[place : place + 2]]
    return Plane(tuple(tuple(line) for line in share.round(3).tolist()), " ".join(steps), low, high)
