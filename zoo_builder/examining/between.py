"""The loss on the ways from one seed to another, drawn: along the trained curve, and along straight lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from zoo_builder.examining.drawing import BOTTOM, LEFT, RIGHT, TOP
from zoo_builder.landscape import Data, Subject, connectivity, measure

#: Points of each way.
PLACES: Final = 25

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ways:
    """Losses between two networks, drawn.

    Attributes
    ----------
    lines : a way, and its points, as SVG has them; on a logarithmic scale if all losses are above 0.
    low, high : the smallest and the largest loss.
    """

    lines: tuple[tuple[str, str], ...]
    low: float
    high: float


def ways_of(networks: Sequence[nn.Module], loss: Any, train: Data) -> Ways | None:
    """Return the training loss between the first two networks; the curve is trained as it is for measuring.

    None where there is one network, or a loss is not finite.
    """
    if len(networks) < 2:
        return None
    found: list[Mapping[str, Floats]] = []

    def follow(subject: Subject) -> None:
        found.append(connectivity.followed(subject, PLACES)[1])

    measure(list(networks[:2]), loss, train, families=(), compiled=False, before=follow)
    losses = found[0]
    return drawn(losses) if all(np.isfinite(values).all() for values in losses.values()) else None


def drawn(losses: Mapping[str, Floats]) -> Ways:
    """Return the drawing of losses, by way (n,)."""
    every = np.concatenate(list(losses.values()))
    low, high = float(every.min()), float(every.max())
    scale = np.log if low > 0 else np.asarray
    bottom, spread = float(scale(low)), float(scale(high) - scale(low)) or 1.0
    lines = []
    for way, values in losses.items():
        x = np.linspace(LEFT, RIGHT, len(values))
        y = BOTTOM - (scale(values) - bottom) / spread * (BOTTOM - TOP)
        lines.append((way, " ".join(f"{at:.1f},{height:.1f}" for at, height in zip(x, y, strict=True))))
    return Ways(tuple(lines), low, high)
