"""MD tree's questions with thresholds that are jointly optimal: no other cuts make fewer training errors.

The published procedure sets one threshold after the other and can stop short of the joint optimum. Here all cuts between
neighbouring values are compared together. The trees are three questions deep, so the number of models that a pair of outer
cuts sets right is a table, `rights[i, j]`, over the i first models by the outer column and the j first by the middle
one. Where a verdict hangs below, the table is a two-dimensional running count. Where an inner question hangs below, its
best cut is the largest prefix sum of right-or-wrong along the inner column; a binary tree of prefix sums, kept for all
outer cuts at once while models arrive in the order of the middle column, gives it in n² log n steps in place of n³.
"""

import numpy as np
import pandas as pd

from baselines.md_tree import MDTree, Question, columns_as_arrays
from mdbench.tasks import Task


class Ranked:
    """Models by the place of their values: `rank` (n,) numbers the distinct values, and a cut lies before each place."""

    def __init__(self, values: np.ndarray) -> None:
        self.distinct, self.rank = np.unique(values, return_inverse=True)
        self.cuts = len(self.distinct) + 1

    def threshold(self, cut: int) -> float:
        """Return a threshold with exactly the first `cut` values at or below it: halfway to the next one."""
        if cut == 0:
            return -np.inf
        if cut == len(self.distinct):
            return np.inf
        low, high = self.distinct[cut - 1 : cut + 1]
        middle = low + (high - low) / 2
        return float(middle if middle < high else low)


def counts(chosen: np.ndarray, outer: np.ndarray, middle: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return how many of the `chosen` models rank below each pair of cuts; shape (outer cuts, middle cuts)."""
    table = np.zeros(shape, dtype=np.int32)
    np.add.at(table[1:, 1:], (outer[chosen], middle[chosen]), 1)
    return table.cumsum(axis=0).cumsum(axis=1)


def largest_prefix_sums(
    gain: np.ndarray, outer: np.ndarray, middle: np.ndarray, inner: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return the largest sum of `gain` over inner cuts, for each pair of outer and middle cuts.

    Parameters
    ----------
    gain : what a model adds where it is below the inner cut, +1, 0 or −1; shape (n,).
    outer, middle, inner : ranks, shape (n,).
    shape : outer cuts, middle cuts.

    Returns
    -------
    ``best[i, j]``: over models with outer rank < i and middle rank < j, the largest sum over those with inner rank < c,
    for any c; never below 0, the sum over none. Shape (outer cuts, middle cuts).
    """
    places = 1 << int(inner.max()).bit_length()
    kind = np.int16 if len(gain) < np.iinfo(np.int16).max else np.int32
    # Node 1 is the root, nodes 2k and 2k+1 the halves of node k; each holds a value for every outer cut.
    total = np.zeros((2 * places, shape[0]), dtype=kind)
    prefix = np.zeros_like(total)
    best = np.zeros(shape, dtype=np.int32)
    arrival = np.argsort(middle, kind="stable")
    ends = np.searchsorted(middle[arrival], np.arange(shape[1] - 1), side="right")
    start = 0
    for cut, end in enumerate(ends, start=1):
        for model in arrival[start:end]:
            cuts = slice(outer[model] + 1, None)  # the outer cuts that have this model below them
            node = places + inner[model]
            total[node, cuts] += gain[model]
            np.maximum(total[node, cuts], 0, out=prefix[node, cuts])
            while node > 1:
                node //= 2
                left, right = total[2 * node, cuts], total[2 * node + 1, cuts]
                np.add(left, right, out=total[node, cuts])
                np.maximum(prefix[2 * node, cuts], left + prefix[2 * node + 1, cuts], out=prefix[node, cuts])
        best[:, cut] = prefix[1]
        start = end
    return best


class MDTreeExact(MDTree):
    """MD tree with jointly optimal thresholds."""

    name = "md_tree_exact"

    def fit(self, models: pd.DataFrame, labels: pd.Series, task: Task) -> None:
        """Set the thresholds.

        Raises
        ------
        ValueError
            The tree is more than three questions deep.
        """
        self.tree = self.trees[task.name]
        self.values = columns_as_arrays(self.tree, models)
        self.truth = labels.to_numpy()
        self.thresholds = [np.inf] * len(self.tree)
        root = self.tree[0]
        outer = Ranked(self.values[root.column])
        everything = np.ones(len(self.truth), dtype=bool)
        low = self._rights_below(root.low, outer.rank, outer.cuts)
        # Above a cut is below it with the order turned round.
        high = self._rights_below(root.high, outer.cuts - 2 - outer.rank, outer.cuts)[::-1]
        cut = int(np.argmax(low + high))
        self.thresholds[0] = outer.threshold(cut)
        self._settle(root.low, everything & (outer.rank < cut))
        self._settle(root.high, everything & (outer.rank >= cut))
        del self.values, self.truth

    def _rights_below(self, branch: int | str, outer: np.ndarray, outer_cuts: int) -> np.ndarray:
        """Return how many models a branch sets right at best, of those below each outer cut; shape (outer cuts,)."""
        if isinstance(branch, str):
            return np.concatenate([[0], np.cumsum(np.bincount(outer, self.truth == branch, outer_cuts - 1))])
        return self._pair_rights(self.tree[branch], outer, outer_cuts).max(axis=1)

    def _pair_rights(self, step: Question, outer: np.ndarray, outer_cuts: int) -> np.ndarray:
        """Return how many models a question and what hangs below it set right, at each pair of outer and own cut."""
        middle = Ranked(self.values[step.column])
        shape = outer_cuts, middle.cuts
        low = self._region_rights(step.low, outer, middle.rank, shape)
        return low + self._region_rights(step.high, outer, middle.cuts - 2 - middle.rank, shape)[:, ::-1]

    def _region_rights(self, branch: int | str, outer: np.ndarray, middle: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        if isinstance(branch, str):
            return counts(self.truth == branch, outer, middle, shape)
        step = self.tree[branch]
        if not isinstance(step.low, str) or not isinstance(step.high, str):
            raise ValueError("the exact search is for trees of at most three questions in a row")
        right_if_low, right_if_high = self.truth == step.low, self.truth == step.high
        gain = right_if_low.astype(np.int16) - right_if_high
        inner = Ranked(self.values[step.column]).rank
        return counts(right_if_high, outer, middle, shape) + largest_prefix_sums(gain, outer, middle, inner, shape)

    def _settle(self, branch: int | str, asked: np.ndarray) -> None:
        """Set the thresholds of a branch, given the models that reach it, (n,) bool."""
        if isinstance(branch, str):
            return
        step = self.tree[branch]
        own = Ranked(self.values[step.column])
        # One outer cut, with the models that reach this question below it: the search of `fit` in one dimension less.
        outer = np.where(asked, 0, 1)
        cut = int(np.argmax(self._pair_rights(step, outer, 3)[1]))
        self.thresholds[branch] = own.threshold(cut)
        self._settle(step.low, asked & (own.rank < cut))
        self._settle(step.high, asked & (own.rank >= cut))


method = MDTreeExact
