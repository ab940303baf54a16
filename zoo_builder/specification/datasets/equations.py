"""Differential equations that physics-informed networks solve."""

from typing import Any, Protocol

from numpy.typing import NDArray
from torch import nn


class Equation(Protocol):
    """A differential equation with its conditions and its solution.

    An input is coordinates, and behind them a kind: 0, an interior point, whose output is the equation's residual and whose
    target is 0; 1, a point whose value is known, whose output is the solution; 2, one of a pair of points that must agree,
    whose output is their difference and whose target is 0.
    """

    def informed(self, network: nn.Module) -> nn.Module:
        """Return a module (B, coordinates + 1) → (B, values), around a network (B, coordinates) → (B, values)."""

    def solved(self, inputs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the points of inputs (n, coordinates + 1) as points of known value, and these values, (n, values)."""

    def __str__(self) -> str:
        """Say the equation and its coefficients: part of the data's digest."""
