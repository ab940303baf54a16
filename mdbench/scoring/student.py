"""Student's distribution: intervals of a mean of few numbers."""

import numpy as np

from mdbench.scoring.stats import LEVEL, Interval


def mean_interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the interval of the mean of independent draws, mean ± t · s / √n with n − 1 degrees of freedom.

    Parameters
    ----------
    values : shape (n,), in any unit; a single one has no interval (NaN).
    level : coverage that the interval aims at.
    """
    from scipy.special import stdtrit

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(float("nan"), float("nan"))
    half = float(stdtrit(count - 1, (1 + level) / 2)) * float(np.std(values, ddof=1)) / count**0.5
    return Interval(mean - half, mean + half)
