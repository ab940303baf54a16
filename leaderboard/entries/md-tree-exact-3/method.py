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
    """The places where a column can be cut.

    Parameters
    ----------
    values : the column, shape (n,).
    labels : the true verdicts, shape (n,); neighbouring values that all carry one verdict are not cut apart. None keeps
        every cut.

    Attributes
    ----------
    rank : the block of values that each model belongs to, from 0, shape (n,). Cut c has the first c blocks below it.
    cuts : how many cuts there are.
    """

    def __init__(self, values: np.ndarray, labels: np.ndarray | None = None) -> None:
        self._distinct, place = np.unique(values, return_inverse=True)
        starts = np.ones(len(self._distinct), dtype=bool)
        if labels is not None:
            order = np.lexsort((labels, place))
            first = order[np.searchsorted(place[order], np.arange(len(starts)))]
            last = order[np.searchsorted(place[order], np.arange(len(starts)), side="right") - 1]
            pure = labels[first] == labels[last]
            starts[1:] = ~(pure[1:] & pure[:-1] & (labels[first[1:]] == labels[first[:-1]]))
        self._starts = np.flatnonzero(starts)
        self.rank = np.cumsum(starts)[place] - 1
        self.cuts = len(self._starts) + 1

    def threshold(self, cut: int) -> float:
        """Return a threshold with exactly the first `cut` blocks at or below it: halfway to the next one."""
        if cut == 0:
            return -np.inf
        if cut == self.cuts - 1:
            return np.inf
        low, high = self._distinct[self._starts[cut] - 1], self._distinct[self._starts[cut]]
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
    models = list(zip(outer[arrival].tolist(), (places + inner[arrival]).tolist(), gain[arrival].tolist(), strict=True))
    start = 0
    for cut, end in enumerate(ends.tolist(), start=1):
        for block, node, gained in models[start:end]:
            # The outer cuts that have this model below them; then from its leaf up to the root.
            sums, best_sums = total[:, block + 1 :], prefix[:, block + 1 :]
            sums[node] += gained
            np.maximum(sums[node], 0, out=best_sums[node])
            above = node
            while above > 1:
                above >>= 1
                left, right = 2 * above, 2 * above + 1
                np.add(sums[left], sums[right], out=sums[above])
                np.maximum(best_sums[left], sums[left] + best_sums[right], out=best_sums[above])
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
        self.said = {verdict: np.array(verdict, dtype=object) for verdict in task.classes}
        self.values = columns_as_arrays(self.tree, models)
        self.right: dict[str, np.ndarray] = {verdict: labels.to_numpy() == verdict for verdict in task.classes}
        self.labels = np.unique(labels.to_numpy(), return_inverse=True)[1]
        self.thresholds = [np.inf] * len(self.tree)
        root = self.tree[0]
        outer = self._cuts(root)
        everything = np.ones(len(labels), dtype=bool)
        low = self._rights_below(root.low, outer.rank, outer.cuts)
        # Above a cut is below it with the order turned round.
        high = self._rights_below(root.high, outer.cuts - 2 - outer.rank, outer.cuts)[::-1]
        cut = int(np.argmax(low + high))
        self.thresholds[0] = outer.threshold(cut)
        self._settle(root.low, everything & (outer.rank < cut))
        self._settle(root.high, everything & (outer.rank >= cut))
        del self.values, self.right, self.labels

    def _cuts(self, step: Question) -> Ranked:
        """Return the cuts of a question that can be best.

        Where a branch is a verdict, or both branches ask one question with the same verdicts, whatever their thresholds,
        moving a model across the cut helps or harms according to its true verdict alone. The best cut then never
        separates neighbours of one verdict.
        """
        branches = [self.tree[branch] for branch in (step.low, step.high) if not isinstance(branch, str)]
        ends = {(branch.column, branch.low, branch.high) for branch in branches}
        by_verdict = len(branches) < 2 or (len(ends) == 1 and all(isinstance(end, str) for end in next(iter(ends))))
        return Ranked(self.values[step.column], self.labels if by_verdict else None)

    def _rights_below(self, branch: int | str, outer: np.ndarray, outer_cuts: int) -> np.ndarray:
        """Return how many models a branch sets right at best, of those below each outer cut; shape (outer cuts,)."""
        if isinstance(branch, str):
            return np.concatenate([[0], np.cumsum(np.bincount(outer, self.right[branch], outer_cuts - 1))])
        best: np.ndarray = self._pair_rights(self.tree[branch], outer, outer_cuts).max(axis=1)
        return best

    def _pair_rights(self, step: Question, outer: np.ndarray, outer_cuts: int) -> np.ndarray:
        """Return how many models a question and what hangs below it set right, at each pair of outer and own cut."""
        middle = self._cuts(step)
        shape = outer_cuts, middle.cuts
        low = self._region_rights(step.low, outer, middle.rank, shape)
        high = self._region_rights(step.high, outer, middle.cuts - 2 - middle.rank, shape)
        rights: np.ndarray = low + high[:, ::-1]
        return rights

    def _region_rights(
        self, branch: int | str, outer: np.ndarray, middle: np.ndarray, shape: tuple[int, int]
    ) -> np.ndarray:
        if isinstance(branch, str):
            return counts(self.right[branch], outer, middle, shape)
        step = self.tree[branch]
        if not isinstance(step.low, str) or not isinstance(step.high, str):
            raise ValueError("the exact search is for trees of at most three questions in a row")
        right_if_low, right_if_high = self.right[step.low], self.right[step.high]
        gain = right_if_low.astype(np.int16) - right_if_high
        inner = self._cuts(step).rank
        gained = largest_prefix_sums(gain, outer, middle, inner, shape)
        rights: np.ndarray = counts(right_if_high, outer, middle, shape) + gained
        return rights

    def _settle(self, branch: int | str, asked: np.ndarray) -> None:
        """Set the thresholds of a branch, given the models that reach it, (n,) bool."""
        if isinstance(branch, str):
            return
        step = self.tree[branch]
        own = self._cuts(step)
        # One outer cut, with the models that reach this question below it: the search of `fit` in one dimension less.
        outer = np.where(asked, 0, 1)
        cut = int(np.argmax(self._pair_rights(step, outer, 3)[1]))
        self.thresholds[branch] = own.threshold(cut)
        self._settle(step.low, asked & (own.rank < cut))
        self._settle(step.high, asked & (own.rank >= cut))


method = MDTreeExact
