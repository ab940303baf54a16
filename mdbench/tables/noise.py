"""Which labels are more than noise: of the seeds that networks were trained with, and of the examples they were tested on.

A label's margin is the difference of two points' mean test errors p₁ and p₂, over k seeds that both have. Its variance has
two parts. Seeds: s²/k, s being the standard deviation of the difference over paired seeds. Test examples, where errors are
shares of n of them: what both points get wrong cancels, but how often that is no table says; in its place stands the variance
of k n examples that are each classified for themselves, (p₁ (1 − p₁) + p₂ (1 − p₂)) / (k n). The margin over the root of the
sum is compared with the quantile of Student's distribution with k − 1 degrees of freedom: five seeds say so little of their
own spread that two standard errors would be exceeded by chance in 12 % of rows, three in 18 %.
"""

from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Final

import numpy as np
import pandas as pd

from mdbench.tables.labels import leading
from mdbench.tables.predicted import Predicted
from mdbench.tables.tasks import Task
from mdbench.tables.zoo import Zoo

#: How sure a label outside noise is, two-sided.
LEVEL: Final = 0.95
#: Test examples that a zoo has at most.
_MOST: Final = 10**7


@lru_cache(maxsize=256)
def decided(zoo: Zoo, task: Task) -> "pd.Series[bool]":
    """Tell which labels are outside noise, by their margins.

    Parameters
    ----------
    zoo : the zoo.
    task : one of its tasks.

    Returns
    -------
    Boolean, indexed like the zoo's configurations; False where the label is unknown or the standard error is: networks are
    not known one by one, or fewer than two seeds have both points.
    """
    from scipy.special import stdtrit

    table = zoo.configurations
    margin_se = f"{task.name}_margin_se"
    if zoo.checkpoints is None or margin_se not in table:
        return pd.Series(False, index=table.index)
    by_seed = zoo.checkpoints.pivot(index="configuration", columns="seed", values="test_error").reindex(table.index)
    first, second = leading(table[zoo.knobs], table["test_error"], zoo.moves, task)
    seeds = np.isfinite(by_seed.to_numpy(dtype=float)[first] - by_seed.to_numpy(dtype=float)[second]).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(table[margin_se] ** 2 + _sampled(zoo, first, second) / seeds)
        bound = stdtrit(seeds - 1, (1 + LEVEL) / 2) * error
    return pd.Series((seeds > 1) & (table[f"{task.name}_margin"] > bound).to_numpy(), index=table.index)


def _sampled(zoo: Zoo, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the variance that the test examples add to a difference of two networks' errors, in points²; shape (n,)."""
    examples = count_examples(zoo)
    if examples is None:
        return np.zeros(len(first))
    error = zoo.configurations["test_error"].to_numpy(dtype=float)
    variance: np.ndarray = error * (100 - error) / examples
    total: np.ndarray = variance[first] + variance[second]
    return total


@lru_cache(maxsize=64)
def count_examples(zoo: Zoo) -> int | None:
    """Return how many examples the test errors of a zoo's networks are shares of.

    The fewest by which they are all whole numbers of wrong examples. None where errors are no shares of examples (pixels and
    tokens of one example are not independent; a relative error is none), networks are not known one by one, or there is no
    such number.
    """
    if zoo.checkpoints is None or zoo.predicted is not Predicted.CLASSES:
        return None
    count = 1
    for error in np.unique(zoo.checkpoints["test_error"].dropna()):
        count = lcm(count, Fraction(error / 100).limit_denominator(_MOST).denominator)
        if count > _MOST:
            return None
    return count
