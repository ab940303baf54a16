"""Ranking: who is ahead over some cases, and who cannot be told apart. Functions of arrays; reads no files.

Means, their intervals and the tests of pairs are those of `mdbench.scoring.student`. Where all cases ask about zoos
that nobody trained on, each zoo has the same weight, and intervals are about other zoos. Otherwise each case has, and they
are about these grids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.stats import rankdata

from mdbench.scoring import Interval, Means, mean_of, over_zoos, stats

LEVEL: Final = 0.05
#: Random halves of cells and of cases.
HALVES: Final = 500
#: What the halves are drawn with.
SEED: Final = 20240721
#: Groups that letters are given for, see `letters`.
MOST_GROUPS: Final = 26
#: Means nearer than this, in %, are equal but for rounding (of single precision, where there are many).
_EQUAL, _EQUAL_SINGLE = 1e-9, 1e-5


@dataclass(frozen=True, eq=False)
class Tally:
    """What methods have above chance on one case.

    Attributes
    ----------
    methods : their names; each occurs once.
    means : what each has above chance, in %.
    right : mean over training samples of the right answers in each cell of the test zoo, by true verdict; shape (methods,
        verdicts, cells).
    rows : rows of these verdicts in each cell; shape (verdicts, cells).
    zoo : name of the test zoo.
    unseen : whether nobody trained on it.
    """

    methods: tuple[str, ...]
    means: Means
    right: np.ndarray
    rows: np.ndarray
    zoo: str
    unseen: bool = False
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
        *,
        several: bool = True,
        unseen: bool = False,
    ) -> "Tally | None":
        """Count what methods got right.

        Parameters
        ----------
        methods, zoo, unseen : see the class.
        predicted : shape (methods, runs, seeds, rows), or without the runs where there was one of each. Of several runs, the
            mean counts.
        truth, cells : true verdict of each row, and its grid cell, numbered over the whole test zoo; shape (rows,).
        cell_count : cells of the whole test zoo.
        several : whether training samples differ.

        Returns
        -------
        None where all rows but a few have one verdict: nobody is above chance there.
        """
        share = np.asarray(predicted == truth, dtype=float)
        share = share.mean(axis=1) if share.ndim > 3 else share
        means = stats.means_above_chance(share, truth, cells, cell_count, zoo=zoo, several=several)
        if means is None:
            return None
        where = (cells[:, None] == np.arange(cell_count)).astype(np.float32)
        each = [truth == verdict for verdict in stats.counted(truth)]
        seeds = share.mean(axis=1, dtype=np.float32)
        right = np.stack([seeds[:, one] @ where[one] for one in each], axis=1)
        return cls(tuple(methods), means, right, np.stack([where[one].sum(axis=0) for one in each]), zoo, unseen)

    def at(self, methods: tuple[str, ...]) -> np.ndarray | slice:
        """Return where some of the methods stand: an index."""
        if methods == self.methods:
            return slice(None)  # nothing is copied
        place = {method: number for number, method in enumerate(self.methods)}
        return np.array([place[method] for method in methods])

    def halves(self, place: int) -> np.ndarray:
        """Return what methods have above chance over random halves of the cells that hold rows, in %.

        Cases whose rows stand in the same cells have the same halves. `place` is that of the test zoo among those whose
        halves are drawn.

        Returns
        -------
        Shape (methods, halves); NaN where a half holds no rows of a verdict.
        """
        if place not in self._halves:
            held = self.rows.any(axis=0)
            keys = np.random.default_rng([SEED, place]).random((HALVES, self.rows.shape[1]))[:, held]
            chosen = _half(keys).T.astype(np.float32)
            with np.errstate(divide="ignore", invalid="ignore"):
                recalls = (self.right[:, :, held] @ chosen) / (self.rows[:, held] @ chosen)
            nothing, all_right = (stats.above_chance(share, len(self.rows)) for share in (0, 100))
            self._halves[place] = nothing + (all_right - nothing) * recalls.mean(axis=1)
        return self._halves[place]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Methods over some cases, the best first; equal ones by their average rank, then by their names.

    Attributes
    ----------
    methods : their names.
    scores, intervals : mean of what they have above chance, in %; shape (methods,).
    average_ranks : mean over the cases of the rank; 1 is best, equal scores share the mean rank; shape (methods,).
    alone : p of "no difference" for each pair, which says nothing of others, and of which they say nothing; shape (methods,
        methods), 1 on the diagonal.
    p : the same, corrected by Holm for the number of pairs.
    places : 1 + the number of methods that are better; shape (methods,).
    groups : letters of groups that cannot be told apart, parted by spaces; see `letters`.
    first_over_rows, first_over_cases : share of random halves of the test cells, and of the cases, in which a method is
        first; those that are first together share it; shape (methods,).
    """

    methods: tuple[str, ...]
    scores: np.ndarray
    intervals: Sequence[Interval]
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
    names = tuple(sorted(set.intersection(*(set(tally.methods) for tally in tallies))))
    at = [tally.at(names) for tally in tallies]
    of_case = [tally.means.of(here) for tally, here in zip(tallies, at, strict=True)]
    whole = _whole(tallies, of_case)
    by_case = np.stack([one.values for one in of_case])
    over_rows = _mean(tally.halves(zoos.index(tally.zoo))[here] for tally, here in zip(tallies, at, strict=True))
    means, ranks = whole.values, rankdata(-by_case.round(9), axis=1).mean(axis=0)
    every, alone = whole.intervals(high=100), whole.p_of_pairs()
    one, other = np.triu_indices(len(names), 1)
    p = np.ones_like(alone)
    p[one, other] = p[other, one] = stats.holm(alone[one, other])
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
        _first(_known(over_rows), _EQUAL_SINGLE)[best],
        _first(_over_cases(by_case), _EQUAL)[best],
    )


def _whole(tallies: Sequence[Tally], of_case: Sequence[Means]) -> Means:
    """Return the means over all cases; see the module."""
    if not all(tally.unseen for tally in tallies):
        return mean_of(of_case)
    by_zoo: dict[str, list[Means]] = {}
    for tally, one in zip(tallies, of_case, strict=True):
        by_zoo.setdefault(tally.zoo, []).append(one)
    return over_zoos([mean_of(some) for some in by_zoo.values()])


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


def _mean(several: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean of arrays of one shape and single precision, without holding all of them."""
    total, count = np.zeros((), np.float32), 0
    for count, one in enumerate(several, 1):
        total = one.copy() if count == 1 else np.add(total, one, out=total)
    return np.divide(total, np.float32(count), out=total)


def _known(halves: np.ndarray) -> np.ndarray:
    """Return `halves` (methods, halves) without those that lack rows of a verdict; they lack them for every method."""
    known = np.isfinite(halves[0])
    return halves if known.all() else halves[:, known]


def _half(keys: np.ndarray) -> np.ndarray:
    """Return which half of the columns of `keys` (halves, columns) is chosen in each row; one more where they are odd."""
    chosen: np.ndarray = keys.argsort(axis=1).argsort(axis=1) < (keys.shape[1] + 1) // 2
    return chosen


def _over_cases(by_case: np.ndarray) -> np.ndarray:
    """Return means over random halves of the cases; shape (methods, halves), from (cases, methods)."""
    chosen = _half(np.random.default_rng([SEED, 0]).random((HALVES, len(by_case))))
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
