"""How sure is sure: probabilities made true on answers whose verdicts are known, and from which one on to answer.

Written here, for libraries disagree on what a temperature is (some multiply logits where others divide), and some count a
bin of one answer as no error. Weights let every group of zoos count the same, however many networks it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import minimize_scalar

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Share of right answers from which on a method is believed.
WANTED: Final = 0.95
#: Answers that a threshold rests on, at least.
FEWEST: Final = 20
#: No probability is taken to be smaller: a vote of 300 trees knows no smaller one.
FLOOR: Final = 1e-3
#: Temperatures that are looked at.
_TEMPERATURES: Final = (0.1, 20.0)
#: Student's and Wilson's intervals are of this level, two-sided; the normal distribution's quantile of it.
LEVEL: Final = 0.95


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Return probabilities at a temperature T: proportional to p^(1 / T), which is softmax(ln p / T).

    (Guo et al., On calibration of modern neural networks, ICML 2017, where logits are divided by T.)

    Parameters
    ----------
    probabilities : (n, K), each row a distribution; what is below `FLOOR` counts as that.
    temperature : above 1 makes less sure, below 1 surer.
    """
    logits = np.log(np.maximum(probabilities, FLOOR)) / temperature
    found: Floats = special.softmax(logits, axis=1)
    return found


def temperature_of(probabilities: Floats, right: NDArray[np.int64], weights: Floats | None = None) -> float:
    """Return the temperature that makes the right verdicts most likely: least weighted mean of −ln p.

    Parameters
    ----------
    probabilities : (n, K), of a method that did not learn from these networks.
    right : (n,), places of the right verdicts.
    weights : (n,), of the networks; all the same if left out.
    """
    weights = np.ones(len(right)) if weights is None else weights
    rows = np.arange(len(right))

    def loss(logarithm: float) -> float:
        own = tempered(probabilities, float(np.exp(logarithm)))[rows, right]
        return float(-(weights * np.log(own)).sum())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4}).x))


def threshold_of(
    sure: Floats, right: Flags, weights: Floats | None = None, *, wanted: float = WANTED, fewest: int = FEWEST
) -> float:
    """Return the smallest probability from which on answers were right as often as is wanted; ∞ where there is none.

    Parameters
    ----------
    sure : (n,), the probability of what was answered.
    right : (n,), whether that was right.
    weights : (n,), of the networks; all the same if left out.
    wanted : share of right answers.
    fewest : answers that it must rest on.
    """
    weights = np.ones(len(sure)) if weights is None else weights
    order = np.argsort(-sure, kind="stable")
    shares = np.cumsum((weights * right)[order]) / np.cumsum(weights[order])
    falling = sure[order]
    last = np.append(falling[1:] < falling[:-1], True)  # equals are answered together, or not at all
    good = last & (np.arange(1, len(sure) + 1) >= fewest) & (shares >= wanted)
    return float(falling[np.flatnonzero(good)[-1]]) if good.any() else float("inf")


@dataclass(frozen=True)
class Bin:
    """Answers with about the same probability.

    Attributes
    ----------
    count : how many.
    said : mean of the probabilities that were said.
    right : share of right ones.
    low, high : its 95 % interval.
    """

    count: int
    said: float
    right: float
    low: float
    high: float


def reliability(sure: Floats, right: Flags, edges: Sequence[float]) -> list[Bin]:
    """Return how often answers were right, by how sure they were; empty bins are left out, bins of one answer are not."""
    at = np.digitize(sure, edges)
    found = []
    for place in np.unique(at):
        there = at == place
        count, hits = int(there.sum()), int(right[there].sum())
        found.append(Bin(count, float(sure[there].mean()), hits / count, *wilson(hits, count)))
    return found


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, Journal of the American Statistical Association, 1927).

    Parameters
    ----------
    hits, count : so many of so many; of none, the interval is all of 0 to 1.
    """
    if not count:
        return 0.0, 1.0
    z = float(special.ndtri((1 + LEVEL) / 2))
    share, square = hits / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * float(np.sqrt(share * (1 - share) / count + square / (4 * count)))
    return max(0.0, middle - half), min(1.0, middle + half)


def over_zoos(shares: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of some zoos' shares, and Student's 95 % interval over zoos, within 0 and 1.

    Parameters
    ----------
    shares : of two zoos at least.
    """
    values = np.asarray(shares, dtype=float)
    half = float(special.stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * values.std(ddof=1) / np.sqrt(len(values))
    middle = float(values.mean())
    return middle, max(0.0, middle - half), min(1.0, middle + half)


def ratio_over_zoos(some: Sequence[float], of: Sequence[float]) -> tuple[float, float, float]:
    """Return a ratio of zoos' sums with its 95 % interval over zoos: of what was answered, what was right.

    A zoo counts by how much of it was answered. The interval is Student's, of the ratio's linearization (Cochran, Sampling
    techniques, 1977, section 6.3), within 0 and 1; where one zoo alone has answers, it is all of 0 to 1.

    Parameters
    ----------
    some, of : a zoo's share of right answers, and of answers; one zoo at least has an answer.
    """
    right, answered = np.asarray(some, dtype=float), np.asarray(of, dtype=float)
    count, ratio = len(right), float(right.sum() / answered.sum())
    if np.count_nonzero(answered) == 1:
        return ratio, 0.0, 1.0
    spread = float(np.sqrt(((right - ratio * answered) ** 2).sum() / (count - 1) / count) / answered.mean())
    half = float(special.stdtrit(count - 1, (1 + LEVEL) / 2)) * spread
    return ratio, max(0.0, ratio - half), min(1.0, ratio + half)
