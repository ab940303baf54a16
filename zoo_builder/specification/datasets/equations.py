"""Differential equations that physics-informed networks solve, and the points that they learn them from.

After Krishnapriyan et al., Characterizing possible failure modes in physics-informed neural networks (NeurIPS 2021), for
convection and reaction; and Wang et al., Understanding and mitigating gradient flow pathologies in physics-informed neural
networks (SIAM Journal on Scientific Computing 2021), for Helmholtz.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo_builder.specification.datasets.raw import Part, Raw

Array: TypeAlias = NDArray[np.float64]
#: A value (n, 1), and first and second derivatives along some coordinates, (along, n, 1) each.
Jet: TypeAlias = tuple[Tensor, Tensor, Tensor]

#: Exponents whose exponential is still a number.
_LARGEST: Final = 700.0

#: What is asked of a network at a point: behind the coordinates of an input stands one of these.
RESIDUAL, KNOWN, PAIR, ASKED = range(4)


@dataclass(frozen=True)
class Terms:
    """How far a network u is from an equation: ``value · u + square · u² + Σ first · u' + Σ second · u'' − source``.

    Attributes
    ----------
    value, square : coefficients.
    first, second : coefficients of the derivatives along some coordinates; of second ones, none where the order is 1.
    source : points (n, 2) → (n, 1); None where there is none.
    """

    value: float
    square: float
    first: tuple[float, ...]
    second: tuple[float, ...] = ()
    source: Callable[[Tensor], Tensor] | None = None

    def __call__(self, points: Tensor, jet: Jet) -> Tensor:
        """Return it at points (n, 2), of a jet there, (n, 1)."""
        u, first, second = jet
        parts: list[Tensor] = [c * one for c, one in zip(self.first, first, strict=True) if c]
        parts += [c * one for c, one in zip(self.second, second, strict=True) if c]
        parts += [self.value * u] if self.value else []
        parts += [self.square * u * u] if self.square else []
        parts += [] if self.source is None else [-self.source(points)]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class Problem:
    """One of the equations.

    Attributes
    ----------
    low, high : corners of the domain, (x, t) or (x, y).
    order : of the highest derivative; of order 1 in t alone where `along` says so.
    along : the coordinates that are differentiated by.
    periodic : length of the period in x; None where the boundary's values are known instead.
    terms : difficulty → what is left of the equation.
    solution : points (n, 2), difficulty → (n,).
    """

    low: tuple[float, float]
    high: tuple[float, float]
    order: Literal[1, 2]
    along: tuple[int, ...]
    periodic: float | None
    terms: Callable[[float], Terms]
    solution: Callable[[Array, float], Array]


def _reacted(points: Array, rho: float) -> Array:
    start = np.exp(-((points[:, 0] - np.pi) ** 2) / (2 * (np.pi / 4) ** 2))
    grown = start * np.exp(np.minimum(rho * points[:, 1], _LARGEST))  # behind that, the solution is 1 in every digit
    return cast("Array", grown / (grown + 1 - start))


def _helmholtz(waves: float) -> Terms:
    def source(points: Tensor) -> Tensor:
        x, y = points[:, :1], points[:, 1:]
        return (1 - math.pi**2 * (1 + waves**2)) * torch.sin(math.pi * x) * torch.sin(waves * math.pi * y)

    return Terms(1, 0, (0, 0), (1, 1), source)


#: Name → the equation, its difficulty being β, ρ, or the number of half waves along y.
PROBLEMS: Final = {
    "convection": Problem(
        (0, 0),
        (2 * math.pi, 1),
        1,
        (0, 1),
        2 * math.pi,
        lambda beta: Terms(0, 0, (beta, 1)),
        lambda points, beta: cast("Array", np.sin(points[:, 0] - beta * points[:, 1])),
    ),
    "reaction": Problem((0, 0), (2 * math.pi, 1), 1, (1,), 2 * math.pi, lambda rho: Terms(-rho, rho, (1,)), _reacted),
    "helmholtz": Problem(
        (-1, -1),
        (1, 1),
        2,
        (0, 1),
        None,
        _helmholtz,
        lambda points, waves: cast("Array", np.sin(np.pi * points[:, 0]) * np.sin(waves * np.pi * points[:, 1])),
    ),
}


@dataclass(frozen=True)
class PosedEquation:
    """An equation with its conditions and its solution.

    An input is two coordinates, and behind them what is asked there: `RESIDUAL`, how far the network is from the equation,
    whose target is 0; `KNOWN`, its value; `PAIR`, how far it is from its value a period further, whose target is 0. These
    three are scaled such that the mean of their squares over all examples is the sum of their own means of squares,
    weighted. `ASKED` is the value as it is.

    Attributes
    ----------
    name, difficulty : which of `PROBLEMS`, with which coefficient.
    scales : of the outputs at points of the first three kinds.
    """

    name: str
    difficulty: float
    scales: tuple[float, float, float]

    @property
    def problem(self) -> Problem:
        """Which equation it is."""
        return PROBLEMS[self.name]

    def informed(self, network: nn.Module) -> nn.Module:
        """Return a module (B, 3) → (B, 1), around a network (B, 2) → (B, 1)."""
        return Informed(network, self)

    def solved(self, inputs: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the points of inputs (n, 3) as `ASKED` ones, and the solution there, (n, 1)."""
        points = inputs[:, :2].astype(np.float64)
        return _asked(points, ASKED), self.problem.solution(points, self.difficulty)[:, None].astype(np.float32)

    def weighed(self, inputs: NDArray[Any]) -> Array:
        """Return what `Informed` does at inputs (n, 3), as numbers that a jet is multiplied by.

        Returns
        -------
        The point, and where the problem is periodic the one a period further, (n, 2) each; weights of the value and of its
        derivatives, the first ones before the second, and where the problem is periodic of the value a period further; the
        weight of the value's square; and what is added.
        """
        problem, terms = self.problem, self.problem.terms(self.difficulty)
        points, kind = inputs[:, :2].astype(np.float64), np.rint(inputs[:, 2]).astype(int)
        derivatives = [*terms.first, *terms.second]
        source = np.zeros((len(points), 1)) if terms.source is None else terms.source(torch.from_numpy(points)).numpy()
        residual, known, pair = self.scales
        # A row for each kind, in their order: value, derivatives, value a period further, square, added.
        weights = np.zeros((Informed.kinds, 1 + len(derivatives) + 3))
        weights[RESIDUAL, :-3] = residual * np.array([terms.value, *derivatives])
        weights[RESIDUAL, -2:] = residual * terms.square, -residual
        weights[KNOWN, 0], weights[ASKED, 0] = known, 1
        weights[PAIR, 0], weights[PAIR, -3] = (pair, -pair) if problem.periodic is not None else (1, 0)
        each = weights[kind]
        each[:, -1:] *= source
        if problem.periodic is None:
            return np.column_stack([points, np.delete(each, -3, 1)])
        return np.column_stack([points, points + np.array([problem.periodic, 0.0]), each])

    def __str__(self) -> str:
        """Say the equation and its coefficients: part of the data's digest."""
        return f"{self.name} {self.difficulty:.12g} {' '.join(f'{scale:.12g}' for scale in self.scales)}"


class Informed(nn.Module):
    """A network that is asked about an equation: see `PosedEquation`.

    Attributes
    ----------
    network, equation : which network, about which equation.
    kinds : how many kinds of questions there are; an input ends with the number of one.
    """

    kinds: Final = 4

    def __init__(self, network: nn.Module, equation: PosedEquation) -> None:
        super().__init__()
        self.network, self.equation = network, equation
        self._problem, self._terms = equation.problem, equation.problem.terms(equation.difficulty)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3) to (B, 1)."""
        problem, (residual, known, pair) = self._problem, self.equation.scales
        points, kind = x[:, :2], x[:, 2:]
        jet = self._derived(points)
        u = jet[0]
        out = torch.where(
            kind == RESIDUAL,
            residual * self._terms(points, jet),
            torch.where(kind == KNOWN, known * u, u),
        )
        if problem.periodic is None:
            return out
        shift = torch.tensor([problem.periodic, 0.0], dtype=x.dtype, device=x.device)
        return torch.where(kind == PAIR, pair * (u - self.network(points + shift)), out)

    def _derived(self, points: Tensor) -> Jet:
        """Return the value (B, 1) and its first and second derivatives along the problem's coordinates, (n, B, 1) each."""
        problem = self._problem
        if hasattr(self.network, "jet"):
            return self.network.jet(points, problem.along, problem.order)  # type: ignore[no-any-return, operator]
        unit = torch.eye(2, dtype=points.dtype, device=points.device)
        slopes = [partial(_slope, self.network, unit[at].expand_as(points)) for at in problem.along]
        u, first = self.network(points), torch.stack([slope(points) for slope in slopes])
        if problem.order == 1:
            return u, first, first[:0]
        along = zip(slopes, problem.along, strict=True)
        return u, first, torch.stack([_slope(slope, unit[at].expand_as(points), points) for slope, at in along])


def _slope(function: Callable[[Tensor], Tensor], direction: Tensor, at: Tensor) -> Tensor:
    """Return a function's derivative along a direction."""
    pushed: tuple[Tensor, Tensor] = torch.func.jvp(function, (at,), (direction,))[:2]
    return pushed[1]


def pose(
    name: str, train: int, *, difficulty: float, known: int = 200, pairs: int = 100, weight: float = 1.0
) -> PosedEquation:
    """Return an equation as `make_equation` poses it, without its points."""
    pairs = 0 if PROBLEMS[name].periodic is None else pairs
    whole = train + known + pairs
    shares = [1.0 / train, weight / known, weight / pairs if pairs else 0.0]
    residual, value, pair = (math.sqrt(share * whole) for share in shares)
    return PosedEquation(name, difficulty, (residual, value, pair))


def make_equation(
    name: str,
    train: int,
    test: int,
    seed: int,
    *,
    difficulty: float,
    known: int = 200,
    pairs: int = 100,
    weight: float = 1.0,
) -> Raw:
    """Return the points of a physics-informed data set.

    Parameters
    ----------
    name : of the problem.
    train : points inside, uniform in the domain, where the residual is asked.
    test : points of a regular grid over the domain, a square number.
    seed : of the points.
    difficulty : the equation's coefficient.
    known : points of known value: at t = 0, or on the boundary.
    pairs : points at x = 0 whose value must be that a period further; nothing without a period.
    weight : of the mean squares of known points and of pairs, that of the residual being 1.
    """
    problem, rng = PROBLEMS[name], np.random.default_rng([seed, 3])
    low, high = np.array(problem.low), np.array(problem.high)
    inside = rng.uniform(low, high, (train, 2))
    edge = rng.uniform(low, high, (known, 2))
    if problem.periodic is None:
        side = rng.integers(4, size=known)
        edge[side < 2, 0], edge[side >= 2, 1] = (
            np.array([-1.0, 1.0])[side[side < 2]],
            np.array([-1.0, 1.0])[side[side >= 2] - 2],
        )
        pairs = 0
    else:
        edge[:, 1] = 0
    twins = np.column_stack([np.zeros(pairs), rng.uniform(low[1], high[1], pairs)])
    equation = pose(name, train, difficulty=difficulty, known=known, pairs=pairs, weight=weight)
    targets = np.concatenate(
        [np.zeros(train), equation.scales[1] * problem.solution(edge, difficulty), np.zeros(pairs)]
    )
    inputs = np.concatenate([_asked(inside, RESIDUAL), _asked(edge, KNOWN), _asked(twins, PAIR)])
    side_length = math.isqrt(test)
    axes = [np.linspace(begin, end, side_length) for begin, end in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    solved = equation.solved(_asked(grid, ASKED))
    return Raw(
        Part(inputs, targets[:, None].astype(np.float32)),
        Part(*solved),
        1,
        kind="values",
        standardise=False,
        baseline="zero",
        equation=equation,
    )


def _asked(points: Array, kind: int) -> NDArray[np.float32]:
    return np.column_stack([points, np.full(len(points), kind)]).astype(np.float32)
