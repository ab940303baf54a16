"""Which examples of a data set a grid point uses, and which of their labels are wrong."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mdbench.errors import MdbenchError

Percent: TypeAlias = float | Fraction


@dataclass(frozen=True, eq=False)
class Subsets:
    """Which examples a data fraction uses and which labels a noise level corrupts; a function of the labels and one seed.

    Percentages are taken at their word: 0.1 is a thousandth, not the binary fraction next to it.

    Attributes
    ----------
    order : int32 (n,), a permutation: a fraction f of the data is ``order[:round(f n)]``, so that smaller subsets lie
        inside larger ones.
    wrong_labels : int64 (n,): for every example a label other than its own, uniform over the others. None are there, (0,),
        where an example has no label.
    """

    order: NDArray[np.int32]
    wrong_labels: NDArray[np.int64]

    def amount(self, fraction_percent: Percent) -> int:
        """Return how many examples a fraction (in %, above 0 and up to 100) of the data is; a half is rounded to even.

        Raises
        ------
        MdbenchError
            The fraction is outside that range, or less than one example.
        """
        amount = round(len(self.order) * _share(fraction_percent, "data fraction"))
        if amount == 0:
            raise MdbenchError(
                f"data fraction {fraction_percent} % of {len(self.order)} examples is none of them; use more"
            )
        return amount

    def examples(self, fraction_percent: Percent) -> NDArray[np.int32]:
        """Return the indices of the examples that a fraction (in %) of the data is: int32 (amount,)."""
        return self.order[: self.amount(fraction_percent)]

    def corrupted(self, fraction_percent: Percent, noise_percent: Percent) -> NDArray[np.int32]:
        """Return the indices of those of a fraction's examples whose label is wrong: int32 (⌊amount · p⌋,).

        With p the noise level, the label at position j of the order is wrong if and only if ⌊(j + 1) p⌋ > ⌊j p⌋: 10 % is
        every tenth. So every fraction has the same share of wrong labels, and an example's label is wrong in
        all fractions that it is in, or in none.

        Raises
        ------
        MdbenchError
            A percentage is outside its range: above 0 and up to 100 for the data, 0 to 100 for the noise.
        """
        amount, p = self.amount(fraction_percent), _share(noise_percent, "noise")
        # ⌊(j + 1) p⌋ reaches k = 1, 2, … at position j = ⌈k / p⌉ − 1.
        positions = [math.ceil(k / p) - 1 for k in range(1, math.floor(amount * p) + 1)]
        return self.order[np.array(positions, dtype=np.int64)]

    def labels(self, labels: NDArray[np.int64], noise_percent: Percent) -> NDArray[np.int64]:
        """Return the training labels, int64 (n,), with those that a noise level (in %) corrupts replaced.

        Raises
        ------
        MdbenchError
            The noise level is outside 0 to 100, or the labels are not those that the wrong ones were drawn for.
        """
        if not len(self.wrong_labels) and len(labels) == len(self.order) and not noise_percent:
            return labels
        if labels.shape != self.wrong_labels.shape or (labels == self.wrong_labels).any():
            raise MdbenchError("these are not the labels that wrong ones were drawn for; draw subsets for them")
        noisy = labels.copy()
        wrong = self.corrupted(100, noise_percent)
        noisy[wrong] = self.wrong_labels[wrong]
        return noisy


def draw_order(examples: int, seed: int) -> Subsets:
    """Draw the order in which examples are used that have no label which could be wrong; see `draw_subsets`."""
    for_order, _ = _generators(seed)
    return Subsets(for_order.permutation(examples).astype(np.int32), np.empty(0, np.int64))


def draw_subsets(labels: NDArray[np.int64], classes: int, seed: int) -> Subsets:
    """Draw the order in which examples are used, and a wrong label for each.

    Parameters
    ----------
    labels : int64 (n,), the training labels, from 0 to classes − 1.
    classes : how many classes there are, at least 2.
    seed : at least 0; the order depends on it and on n alone.

    Raises
    ------
    MdbenchError
        There are fewer than two classes, no labels, or one that is not a class.
    """
    if classes < 2:
        raise MdbenchError(f"there are {classes} classes; a label can be wrong where there are two or more")
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        raise MdbenchError(f"labels are {labels.dtype} of shape {labels.shape}; they must be integers, one an example")
    if labels.min() < 0 or labels.max() >= classes:
        raise MdbenchError(
            f"labels are {labels.min()} to {labels.max()}; of {classes} classes, they are 0 to {classes - 1}"
        )
    for_order, for_labels = _generators(seed)
    order = for_order.permutation(len(labels)).astype(np.int32)
    steps = for_labels.integers(1, classes, len(labels))
    return Subsets(order, (labels.astype(np.int64) + steps) % classes)


def _generators(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    one, other = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
    return one, other


def _share(percent: Percent, what: str) -> Fraction:
    """Return a percentage as the exact share that its decimal digits say."""
    try:
        share = Fraction(str(percent)) / 100
    except ValueError as error:
        raise MdbenchError(f"{what} {percent} is not a number of percent") from error
    if not 0 <= share <= 1:
        raise MdbenchError(f"{what} {percent} % is not between 0 and 100 %")
    return share
