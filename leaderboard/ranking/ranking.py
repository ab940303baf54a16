"""Ranking: who is ahead over some cases, and who cannot be told apart. Functions of arrays; reads no files.

Means and their intervals are those of `mdbench.scoring.stats`, from the same draws. A p-value that counts 2,000 resamples is
never below 0.001, and Holm's correction for the pairs of eleven methods and more asks for less than that: nobody could be
told apart. So pairs are tested by the variance of these draws and Student's distribution, see `p_values`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from scipy.special import stdtr
from scipy.stats import rankdata

from mdbench.scoring import stats

LEVEL: Final = 0.05
#: Random halves of cells and of cases.
HALVES: Final = 500
#: Groups that letters are given for, see `letters`.
MOST_GROUPS: Final = 26
#: Means nearer than this, in %, are equal but for rounding (of single precision, where there are many).
_EQUAL, _EQUAL_SINGLE = 1e-9, 1e-5


@dataclass(frozen=True, eq=False)
class Tally:
    """How often methods were right on one case.

    Attributes
    ----------
    methods : their names; each occurs once.
    right : right answers in each grid cell of the test zoo; shape (methods, seeds, cells), whole numbers.
    rows : rows in each cell; shape (cells,).
    zoo : name of the test zoo: cases on one test zoo are resampled together.
    """

    methods: tuple[str, ...]
    right: np.ndarray
    rows: np.ndarray
    zoo: str
    _draws: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _halves: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        methods: Sequence[str],
        predicted: np.ndarray,
        truth: np.ndarray,
        cells: np.ndarray,
        cell_count: int,
        zoo: str,
    ) -> "Tally":
        """Count what methods got right.

        Parameters
        ----------
        methods, zoo : see the class.
        predicted : shape (methods, runs, seeds, rows), or without the runs where there was one of each. Of several runs, the
            mean counts.
        truth, cells : true verdict of each row, and its grid cell, numbered over the whole test zoo; shape (rows,).
        cell_count : cells of the whole test zoo.
        """
        # Whole numbers this small are exact in single precision, and so are their sums, in whatever order.
        where = (cells[:, None] == np.arange(cell_count)).astype(np.float32)
        right = (predicted == truth).astype(np.float32) @ where
        right = right.mean(axis=1) if right.ndim > 3 else right
        return cls(tuple(methods), right, np.bincount(cells, minlength=cell_count), zoo)

    @cached_property
    def by_seed(self) -> np.ndarray:
        """Accuracies in %; shape (methods, seeds)."""
        shares: np.ndarray = 100 * self.right.sum(axis=2, dtype=float) / self.rows.sum()
        return shares

    @cached_property
    def accuracies(self) -> np.ndarray:
        """Means of these over seeds; shape (methods,). Methods with as many right answers have the same to the last bit."""
        shares: np.ndarray = 100 * self.right.sum(axis=(1, 2), dtype=float) / (self.rows.sum() * self.right.shape[1])
        return shares

    @property
    def intervals(self) -> list[stats.Interval]:
        """The interval of each accuracy, that of `mdbench.scoring.stats.accuracies`."""
        return intervals(self.draws(0))

    def at(self, methods: tuple[str, ...]) -> np.ndarray | slice:
        """Return where some of the methods stand: an index."""
        if methods == self.methods:
            return slice(None)  # nothing is copied
        place = {method: number for number, method in enumerate(self.methods)}
        return np.array([place[method] for method in methods])

    def draws(self, place: int) -> np.ndarray:
        """Return accuracies in every resample, in %; shape (methods, resamples), single precision.

        Parameters
        ----------
        place : of the test zoo among those that are resampled, see `mdbench.scoring.stats.paired_difference`.
        """
        if place not in self._draws:
            k, seeds, cells = self.right.shape
            held = np.flatnonzero(self.rows)  # the other cells, half of them where noise is what differs, add nothing
            weights, counts = _weights(seeds, cells, place, held.tobytes())
            sums = self.right[:, :, held].reshape(k, -1) @ weights
            with np.errstate(divide="ignore", invalid="ignore"):  # NaN where a resample holds no rows
                self._draws[place] = sums * (100 / (self.rows[held] @ counts)).astype(np.float32)
        return self._draws[place]

    def halves(self, place: int) -> np.ndarray:
        """Return accuracies over random halves of the cells that hold rows, in %; shape (methods, halves).

        `place` is that of `draws`. Cases whose rows stand in the same cells have the same halves.
        """
        if place not in self._halves:
            held = self.rows > 0
            keys = np.random.default_rng([stats.SEED, place]).random((HALVES, len(self.rows)))[:, held]
            chosen = _half(keys).T
            sums = self.right[:, :, held].sum(axis=1) @ chosen.astype(np.float32)
            self._halves[place] = sums * (100 / (self.rows[held] @ chosen * self.right.shape[1])).astype(np.float32)
        return self._halves[place]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Methods over some cases, the best first; equal ones by their average rank, then by their names.

    Attributes
    ----------
    methods : their names.
    accuracies, intervals : mean accuracy over the cases, each with the same weight, in %; shape (methods,).
    average_ranks : mean over the cases of the rank; 1 is best, equal accuracies share the mean rank; shape (methods,).
    alone : p of "no difference" for each pair, which says nothing of others, and of which they say nothing; shape (methods,
        methods), 1 on the diagonal.
    p : the same, corrected by Holm for the number of pairs.
    places : 1 + the number of methods that are better; shape (methods,).
    groups : letters of groups that cannot be told apart, parted by spaces; see `letters`.
    first_over_rows, first_over_cases : share of random halves of the test cells, and of the cases, in which a method is
        first; those that are first together share it; shape (methods,).
    """

    methods: tuple[str, ...]
    accuracies: np.ndarray
    intervals: Sequence[stats.Interval]
    average_ranks: np.ndarray
    alone: np.ndarray
    p: np.ndarray
    places: np.ndarray
    groups: tuple[str, ...]
    first_over_rows: np.ndarray
    first_over_cases: np.ndarray


def rank(tallies: Sequence[Tally]) -> Ranking:
    """Rank the methods that answer every one of some cases, of which there is at least one."""
    zoos = sorted({tally.zoo for tally in tallies})
    at_zoo = [zoos.index(tally.zoo) for tally in tallies]
    names = tuple(sorted(set.intersection(*(set(tally.methods) for tally in tallies))))
    at = [tally.at(names) for tally in tallies]
    by_case = np.stack([tally.accuracies[here] for tally, here in zip(tallies, at, strict=True)])
    draws = _mean(tally.draws(zoo)[here] for tally, zoo, here in zip(tallies, at_zoo, at, strict=True))
    over_rows = _mean(tally.halves(zoo)[here] for tally, zoo, here in zip(tallies, at_zoo, at, strict=True))
    means, ranks = by_case.mean(axis=0), rankdata(-by_case, axis=1).mean(axis=0)
    every, (alone, p) = intervals(draws), _pairs(means, draws, tallies, at)
    best = np.lexsort((np.arange(len(names)), ranks.round(9), -means.round(9)))
    apart = (p <= LEVEL)[np.ix_(best, best)]
    behind = means[best] < means[best][:, None] - _EQUAL
    return Ranking(
        tuple(names[one] for one in best),
        means[best],
        [every[one] for one in best],
        ranks[best],
        alone[np.ix_(best, best)],
        p[np.ix_(best, best)],
        1 + behind.sum(axis=0),
        letters(apart),
        _first(over_rows, _EQUAL_SINGLE)[best],
        _first(_over_cases(by_case), _EQUAL)[best],
    )


def intervals(draws: np.ndarray, level: float = stats.LEVEL) -> list[stats.Interval]:
    """Return the percentile interval of each row of `draws` (methods, resamples), as `mdbench.scoring.stats` takes it."""
    known = _known(draws)
    count = known.shape[1] - 1
    at = math.floor(count * (1 - level) / 2), math.ceil(count * (1 + level) / 2)
    ordered = np.sort(known, axis=1)[:, at].astype(float)  # sorting is faster than NumPy's partitions
    return [stats.Interval(low, high) for low, high in ordered.tolist()]


def p_values(gaps: np.ndarray, variances: np.ndarray, of_samples: np.ndarray, samples: int, cells: int) -> np.ndarray:
    """Return two-sided p-values of differences, by Student's distribution.

    Its degrees of freedom are those of Welch and Satterthwaite, 1 / (u² / (samples − 1) + (1 − u)² / (cells − 1)), where u is
    the share of the variance that comes of the training samples. Each pair stands for itself: what others do says nothing
    about two. That asks for enough samples: with 25 one board in twenty errs, as it may; with five that vary much, one in
    eight.

    Parameters
    ----------
    gaps, variances : the differences, and the variance of each; shape (pairs,).
    of_samples : the part of it that comes of the training samples; shape (pairs,).
    samples, cells : how many training samples and cells there are. One sample counts for no variance; of one cell nothing
        follows for others.

    Returns
    -------
    Shape (pairs,); 1 where there is no difference.
    """
    if cells < 2 or not len(gaps):
        return np.ones(len(gaps))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.nan_to_num(np.minimum(of_samples / variances, 1))
        freedom = 1 / (shares**2 / max(samples - 1, 1) + (1 - shares) ** 2 / (cells - 1))
        p = 2 * stdtr(freedom, -np.abs(gaps) / np.sqrt(variances))
    return np.where(gaps == 0, 1, p)


def letters(apart: np.ndarray) -> tuple[str, ...]:
    """Return for each method the letters of its groups, parted by spaces: a compact letter display.

    Two methods share a letter if and only if they are not told apart. A group is as large as it can be: nobody outside could
    join. Groups are found from the best method down, each for the first two that have no letter in common yet and grown from
    the best down, so that they are stretches of the board where the pairs allow it. All the largest groups, which the
    insert-and-absorb algorithm finds (Piepho, J. Computational and Graphical Statistics, 2004), can be exponentially many;
    these are enough.

    Where they are more than `MOST_GROUPS`, which nobody could read, groups are the longest stretches of the board within
    which no two are told apart. Those who share a letter are not told apart there either, but others may not be as well.

    Parameters
    ----------
    apart : which pairs are told apart, in the order of the board; shape (methods, methods), symmetric.
    """
    groups = _cliques(~apart)
    if groups is None:
        groups = _stretches(apart)
    mine: list[list[str]] = [[] for _ in apart]
    for number, members in enumerate(sorted(groups)):
        letter = _letter(number)
        for member in members:
            mine[member].append(letter)
    return tuple(" ".join(some) for some in mine)


@lru_cache(maxsize=16)
def _weights(seeds: int, cells: int, place: int, held: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each seed's cells are drawn in each resample, whole numbers; and how often cells are, by all seeds.

    Parameters
    ----------
    seeds, cells, place : see `Tally.draws`.
    held : which cells are wanted, as the bytes of their numbers.

    Returns
    -------
    Shapes (seeds · wanted cells, resamples) and (wanted cells, resamples).
    """
    draws = max(seeds - 1, 1)
    samples = np.rint(stats.sample_weights(seeds).T * draws).astype(np.float32)
    drawn = stats.cell_weights(cells, seed=stats.SEED + place).T[np.frombuffer(held, dtype=np.intp)].astype(np.float32)
    both = samples[:, None, :] * drawn
    return both.reshape(-1, both.shape[2]), drawn * np.float32(draws)


def _pairs(
    means: np.ndarray, draws: np.ndarray, tallies: Sequence[Tally], at: Sequence[np.ndarray | slice]
) -> tuple[np.ndarray, np.ndarray]:
    """Return p of each pair, alone and corrected; see `Ranking`."""
    one, other = np.triu_indices(len(means), 1)
    gaps = np.abs(means[one] - means[other])
    gaps[gaps < _EQUAL] = 0
    whole = _variances(_known(draws), one, other)
    # Of that, what comes of the training samples; one draw of them serves all cases that have as many.
    of_samples = np.zeros(len(gaps))
    several = sorted({tally.right.shape[1] for tally in tallies} - {1})
    for seeds in several:
        some = [tally.by_seed[here] for tally, here in zip(tallies, at, strict=True) if tally.right.shape[1] == seeds]
        of_samples += _variances(np.sum(some, axis=0) / len(tallies), one, other) / seeds
    cells = min(int((tally.rows > 0).sum()) for tally in tallies)
    alone, p = np.ones((2, len(means), len(means)))
    alone[one, other] = alone[other, one] = each = p_values(gaps, whole, of_samples, min(several, default=1), cells)
    p[one, other] = p[other, one] = stats.holm(each)
    return alone, p


def _mean(several: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean of arrays of one shape and single precision, without holding all of them."""
    total, count = np.zeros((), np.float32), 0
    for count, one in enumerate(several, 1):
        total = one.copy() if count == 1 else np.add(total, one, out=total)
    return np.divide(total, np.float32(count), out=total)


def _known(draws: np.ndarray) -> np.ndarray:
    """Return `draws` (methods, resamples) without resamples that hold no rows; they hold none for any method."""
    known = np.isfinite(draws[0])
    return draws if known.all() else draws[:, known]


def _variances(values: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the variance of the difference of each pair of rows of `values` (methods, …)."""
    # What all have in common cancels in differences: it would only cost digits, of which near copies need many.
    centred = np.subtract(values, values.mean(axis=0), dtype=float)
    centred -= centred.mean(axis=1, keepdims=True)
    products = centred @ centred.T / (values.shape[1] - 1)
    own = products.diagonal()
    variances: np.ndarray = np.maximum(own[one] + own[other] - 2 * products[one, other], 0)
    return variances


def _half(keys: np.ndarray) -> np.ndarray:
    """Return which half of the columns of `keys` (halves, columns) is chosen in each row; one more where they are odd."""
    chosen: np.ndarray = keys.argsort(axis=1).argsort(axis=1) < (keys.shape[1] + 1) // 2
    return chosen


def _over_cases(by_case: np.ndarray) -> np.ndarray:
    """Return means over random halves of the cases; shape (methods, halves), from (cases, methods)."""
    chosen = _half(np.random.default_rng([stats.SEED, 0]).random((HALVES, len(by_case))))
    means: np.ndarray = by_case.T @ chosen.T / chosen.sum(axis=1)
    return means


def _first(means: np.ndarray, equal: float) -> np.ndarray:
    """Return in which share of the columns of `means` (methods, halves) each method is first; several share one."""
    first = means >= means.max(axis=0) - equal
    share: np.ndarray = (first / first.sum(axis=0)).mean(axis=1)
    return share


def _cliques(alike: np.ndarray) -> list[list[int]] | None:
    """Return groups of methods that are all alike, one for every pair that is; None if these are too many."""
    count, groups = len(alike), []
    # Sets of methods as bits of whole numbers.
    sets = [int.from_bytes(row.tobytes(), "little") for row in np.packbits(alike, axis=1, bitorder="little")]
    without = list(sets)  # with whom each has no group yet
    for one in range(count):
        while without[one]:
            group = 1 << one | 1 << _lowest(without[one] & ~(1 << one) or without[one])
            could_join = sets[one] & sets[group.bit_length() - 1] & ~group
            while could_join:
                joins = _lowest(could_join)
                group |= 1 << joins
                could_join &= sets[joins] & ~group
            members = [member for member in range(count) if group >> member & 1]
            groups.append(members)
            if len(groups) > MOST_GROUPS:
                return None
            for member in members:
                without[member] &= ~group
    return groups


def _lowest(bits: int) -> int:
    """Return the place of the lowest bit."""
    return (bits & -bits).bit_length() - 1


def _stretches(apart: np.ndarray) -> list[list[int]]:
    """Return the longest stretches of methods of which no two are told apart."""
    count = len(apart)
    below = np.triu(apart, 1)
    first = np.where(below.any(axis=1), below.argmax(axis=1), count)  # whom each is told apart from first
    ends = np.minimum.accumulate(first[::-1])[::-1].tolist()
    return [list(range(one, end)) for one, end in enumerate(ends) if one == 0 or end > ends[one - 1]]


def _letter(number: int) -> str:
    """Return a, b, …, z, aa, ab and so on."""
    text = ""
    while number >= 0:
        number, sign = divmod(number, 26)
        text, number = chr(ord("a") + sign) + text, number - 1
    return text
