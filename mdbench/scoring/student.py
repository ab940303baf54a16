"""Student's distribution: how far means would move if what they are means over were drawn again.

What is drawn is what an interval is about. Of *this grid*, it is training samples: the rows that are asked stay. Where a case
has one training sample alone, or another one would change nothing, it is the grid cells of the test zoo: whole cells, for the
rows of one share width and data and are not independent. Of *other zoos*, it is zoos.

Each draw adds its part to a mean: its own mean less that of all, divided by how many there are. The squared error of a mean
over n draws is n / (n − 1) times the sum of the squares of these parts, which is s² / n, and has n − 1 degrees of freedom.
Where a mean has draws of several kinds, their squares v_k add up, and the degrees are Welch's:
(Σ v_k)² / Σ (v_k² / (n_k − 1)) (The generalization of Student's problem, Biometrika, 1947). A share among cells of unequal
size is a ratio; its parts are those of the linearised one (Cochran, Sampling Techniques, 1977, section 6.4).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

#: Coverage that intervals aim at.
LEVEL: Final = 0.95
#: What is drawn, and which: training samples, cells or zoos. Cases whose draws have one name share them.
Kind = tuple[str, str | int]
#: An error below this, in the unit of the mean, is rounding alone.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of what it is about."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference: the mean of A less that of B, its interval, and the two-sided p-value of "no difference"."""

    estimate: float
    interval: Interval
    p: float


@dataclass(frozen=True, eq=False)
class Draws:
    """What each draw adds to k means.

    Attributes
    ----------
    parts : shape (k, n); each row sums to 0.
    drawn : which of the n there were, bool, shape (n,): a grid has cells that a case does not ask about.
    """

    parts: np.ndarray
    drawn: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Draws":
        """Return the parts of draws of equal weight, from what each of them says of each mean; shape (k, n)."""
        count = values.shape[1]
        return cls((values - values.mean(axis=1, keepdims=True)) / count, np.ones(count, dtype=bool))

    @property
    def count(self) -> int:
        """How many there were."""
        return int(self.drawn.sum())


@dataclass(frozen=True, eq=False)
class Means:
    """The means of k methods, or one.

    Attributes
    ----------
    values : shape (k,), in any unit.
    draws : what they are means over.
    otherwise : what they are means over as well, which counts where the first changes nothing.
    """

    values: np.ndarray
    draws: Mapping[Kind, Draws]
    otherwise: Mapping[Kind, Draws]

    def of(self, which: np.ndarray | slice) -> "Means":
        """Return those of some methods, by their places."""
        some = ({kind: Draws(one.parts[which], one.drawn) for kind, one in draws.items()} for draws in self._both)
        return Means(self.values[which], *some)

    def scaled(self, factor: float, origin: float) -> "Means":
        """Return ``factor · (mean − origin)``."""
        some = ({kind: Draws(factor * one.parts, one.drawn) for kind, one in draws.items()} for draws in self._both)
        return Means(factor * (self.values - origin), *some)

    def less(self) -> "Means":
        """Return the first of two means less the second, paired over what is drawn."""
        some = (
            {kind: Draws(one.parts[:1] - one.parts[1:], one.drawn) for kind, one in draws.items()}
            for draws in self._both
        )
        return Means(self.values[:1] - self.values[1:], *some)

    @property
    def _both(self) -> tuple[Mapping[Kind, Draws], Mapping[Kind, Draws]]:
        return self.draws, self.otherwise

    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the standard error of each mean and its degrees of freedom, shapes (k,); see the module."""
        return _spread(self._both, lambda parts: (parts**2).sum(axis=1))

    def intervals(self, low: float = -np.inf, high: float = np.inf, level: float = LEVEL) -> list[Interval]:
        """Return Student's interval of each mean.

        Parameters
        ----------
        low, high : what a mean can be at least and at most.
        level : coverage that the interval aims at.
        """
        from scipy.special import stdtrit

        error, degrees = self.spread()
        half = np.where(error > 0, stdtrit(np.maximum(degrees, 1e-9), (1 + level) / 2) * error, 0.0)
        ends = np.clip([self.values - half, self.values + half], low, high)
        return [Interval(*map(float, both)) for both in ends.T]

    def p_of_pairs(self) -> np.ndarray:
        """Return two-sided p of "no difference" for each pair of means; shape (k, k), 1 on the diagonal.

        Each pair stands for itself: what others do says nothing about two.
        """
        one, other = np.triu_indices(len(self.values), 1)

        def squares(parts: np.ndarray) -> np.ndarray:
            # What all have in common cancels in differences: it would only cost digits, of which near copies need many.
            centred = parts - parts.mean(axis=0)
            products = centred @ centred.T
            own = products.diagonal()
            between: np.ndarray = np.maximum(own[one] + own[other] - 2 * products[one, other], 0)
            return between

        p = np.ones((len(self.values),) * 2)
        gaps = np.abs(self.values[one] - self.values[other])
        p[one, other] = p[other, one] = _p(gaps, *_spread(self._both, squares))
        return p

    def difference(
        self, level: float = LEVEL, *, low: float = -np.inf, high: float = np.inf
    ) -> tuple[Difference, float]:
        """Return the one mean there is, with its interval, which ends at `low` and `high`, p and degrees of freedom."""
        error, degrees = self.spread()
        (interval,) = self.intervals(level=level, low=low, high=high)
        (p,) = _p(np.abs(self.values), error, degrees)
        return Difference(float(self.values[0]), interval, float(p)), float(degrees[0])


def over_rows(
    values: np.ndarray,
    cells: np.ndarray,
    cell_count: int,
    *,
    zoo: str = "",
    several: bool = True,
    strata: np.ndarray | None = None,
) -> Means:
    """Return means over the rows of a case.

    Parameters
    ----------
    values : a number a method, training sample and row; shape (k, samples, rows).
    cells : the grid cell of each row, numbered over the whole test zoo; shape (rows,).
    cell_count : cells of the whole test zoo.
    zoo : its name: cases on one zoo share its cells, and cases with as many training samples share these.
    several : whether there are several training samples, not one several times.
    strata : the mean is the mean over strata of their own means; the stratum of each row, −1 for rows that do not count;
        shape (rows,). Without it, every row has the same weight.
    """
    strata = np.zeros(len(cells), dtype=int) if strata is None else strata
    values, cells, strata = values[..., strata >= 0], cells[strata >= 0], strata[strata >= 0]
    _, place, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    where = (place[:, None] == np.arange(len(sizes))).astype(float)
    # Sums of whole numbers are exact in any order: methods that are as often right have the same mean to the last bit.
    by_sample = ((values @ where) / sizes).mean(axis=2)
    rows = values.mean(axis=1)
    own = (rows @ where) / sizes
    held = np.zeros((len(cells), cell_count))
    held[np.arange(len(cells)), cells] = 1 / (sizes * len(sizes))[place]
    drawn: dict[Kind, Draws] = {("cells", zoo): Draws((rows - own[:, place]) @ held, held.any(axis=0).astype(bool))}
    count = by_sample.shape[1]
    samples: dict[Kind, Draws] = {("samples", count): Draws.of(by_sample)} if several and count > 1 else drawn
    return Means(by_sample.mean(axis=1), samples, drawn)


def mean_of(several: Sequence[Means]) -> Means:
    """Return the means over cases of the same methods, each case with the same weight."""

    def together(all_of_them: Sequence[Mapping[Kind, Draws]]) -> dict[Kind, Draws]:
        kinds = dict.fromkeys(kind for draws in all_of_them for kind in draws)
        alike = {kind: [draws[kind] for draws in all_of_them if kind in draws] for kind in kinds}
        return {
            kind: Draws(
                np.sum([one.parts for one in some], axis=0) / len(several),
                np.logical_or.reduce([one.drawn for one in some]),
            )
            for kind, some in alike.items()
        }

    values = np.mean([one.values for one in several], axis=0)
    return Means(values, together([one.draws for one in several]), together([one.otherwise for one in several]))


def over_zoos(by_zoo: Sequence[Means]) -> Means:
    """Return the means over zoos, whose intervals are about other zoos; of one zoo they stay about its grid."""
    here = mean_of(by_zoo)
    if len(by_zoo) < 2:
        return here
    drawn = Draws.of(np.stack([one.values for one in by_zoo], axis=1))
    return Means(here.values, {("zoos", len(by_zoo)): drawn}, here.draws)


def mean_interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the interval of the mean of independent draws, mean ± t · s / √n with n − 1 degrees of freedom.

    Parameters
    ----------
    values : shape (n,), in any unit; a single one has no interval (NaN).
    level : coverage that the interval aims at.
    """
    if len(values) < 2:
        return Interval(float("nan"), float("nan"))
    return mean_of_draws(values).intervals(level=level)[0]


def mean_of_draws(values: np.ndarray) -> Means:
    """Return the mean of independent draws, shape (n,)."""
    drawn: dict[Kind, Draws] = {("samples", len(values)): Draws.of(np.asarray(values, dtype=float)[None])}
    return Means(np.array([np.mean(values)]), drawn, drawn)


def _spread(
    both: Sequence[Mapping[Kind, Draws]], squares: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors and degrees of freedom, from functions of parts that give sums of squares.

    Where draws change nothing, the second ones count. One draw tells nothing: its error is NaN.
    """
    error, degrees = _welch(both[0], squares)
    still = error < _ROUNDING
    if still.any():
        other, freedom = _welch(both[1], squares)
        error, degrees = np.where(still, other, error), np.where(still, freedom, degrees)
    return np.where(error < _ROUNDING, 0.0, error), degrees


def _welch(draws: Mapping[Kind, Draws], squares: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([one.count for one in draws.values()])
    sums = np.stack([squares(one.parts) for one in draws.values()])
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = sums * (counts / (counts - 1))[:, None]
        degrees = shares.sum(axis=0) ** 2 / (shares**2 / (counts - 1)[:, None]).sum(axis=0)
    return np.sqrt(shares.sum(axis=0)), degrees


def _p(gaps: np.ndarray, error: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Return two-sided p; 1 where there is no gap, or nothing can be told, 0 where a gap cannot vary."""
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(degrees, -gaps / error)
    p = np.where(error > 0, np.minimum(p, 1), np.where(np.isnan(error), 1.0, 0.0))
    return np.where(gaps < _ROUNDING, 1.0, p)
