"""Student's distribution: intervals of a mean of few numbers."""

from collections.abc import Sequence

import numpy as np

from mdbench.scoring.stats import LEVEL, Difference, Interval


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


def mean_difference(differences: np.ndarray, level: float = LEVEL) -> Difference:
    """Return the mean of independent differences with Student's interval and two-sided p of "none", n − 1 degrees of freedom.

    Parameters
    ----------
    differences : shape (n,), at least two. Where all are the same, the interval has no length, and p is 1 of 0, else 0.
    level : coverage that the interval aims at.
    """
    from scipy.special import stdtr

    estimate, count = float(np.mean(differences)), len(differences)
    error = float(np.std(differences, ddof=1)) / count**0.5
    p = 2 * float(stdtr(count - 1, -abs(estimate) / error)) if error else float(estimate == 0)
    return Difference(estimate, mean_interval(differences, level), p)


def paired_mean(gains: Sequence[np.ndarray], level: float = LEVEL) -> tuple[Difference, float] | None:
    """Return a mean of paired differences with Student's interval and p, and the degrees of freedom.

    Differences are averaged over cases sample by sample where these have as many, for one seed draws alike in all of them:
    n − 1 degrees. Averages of different lengths n_k are independent, and the degrees are Welch's: with v_k = s_k² / n_k,
    (Σ v_k)² / Σ (v_k² / (n_k − 1)) (Welch, The generalization of Student's problem, Biometrika, 1947).

    Parameters
    ----------
    gains : for each case, A − B after each training sample, in points; shape (n,). Each case has the same weight.
    level : coverage that the interval aims at.

    Returns
    -------
    None where a case has fewer than two samples, or nothing varies.
    """
    from scipy.special import stdtr, stdtrit

    lengths = {len(one) for one in gains}
    if min(lengths) < 2:
        return None
    averages = [np.sum([one for one in gains if len(one) == length], axis=0) / len(gains) for length in lengths]
    shares = np.array([np.var(one, ddof=1) / len(one) for one in averages])
    error = float(np.sqrt(shares.sum()))
    if error < 1e-9:  # points: rounding alone
        return None
    degrees = float(shares.sum() ** 2 / np.sum(shares**2 / [len(one) - 1 for one in averages]))
    estimate = float(np.mean([one.mean() for one in gains]))
    half = float(stdtrit(degrees, (1 + level) / 2)) * error
    p = min(1.0, 2 * float(stdtr(degrees, -abs(estimate) / error)))
    return Difference(estimate, Interval(estimate - half, estimate + half), p), degrees
