"""How sure a method is, and whether that is deserved. Vectorised over samples and rows.

Confidence is the probability that a method gives to the verdict that it says. Log loss and Brier score are proper: no
probabilities but the true ones do better on average. The others take them apart: are they as often right as they are sure
(calibration), and are they surer of what they get right (risk–coverage)?

In arrays, an abstention is verdict −1: it is never right, and answered last of all.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from mdbench.cases import CaseRows
from mdbench.methods import Answer
from mdbench.scoring.results import BinRecord, IntervalRecord, ProbabilityRecord
from mdbench.scoring.student import over_rows

#: Confidence is sorted into so many bins of equal width: (0, 0.1], (0.1, 0.2], …, (0.9, 1].
BINS: Final = 10
#: Probabilities below count as this, as in scikit-learn's `log_loss`; no loss is above 36.04 nats.
LEAST: Final = float(np.finfo(float).eps)
#: Accuracy that is wanted of the share of networks that `Sureness.coverage_at` tells.
WANTED: Final = 0.95


def probability_record(answer: Answer, rows: CaseRows) -> ProbabilityRecord | None:
    """Return what the probabilities of an answer are worth; None where there are none."""
    given, truth = answer.probabilities, rows.test.codes
    if given is None:
        return None
    losses = np.stack([log_losses(given, truth), brier_scores(given, truth)])
    means = losses.mean(axis=(1, 2))
    over = over_rows(losses, rows.test.cells, rows.test.cell_count, several=rows.several)
    intervals = [IntervalRecord(**vars(one)) for one in over.intervals(low=0)]
    sure = Sureness(confidences(given, answer.predicted), answer.predicted == truth)
    bins = calibration(sure.confidence, sure.right)
    return ProbabilityRecord(
        log_loss=means[0],
        log_loss_interval=intervals[0],
        brier_score=means[1],
        brier_score_interval=intervals[1],
        calibration_error=100 * calibration_error(bins) if bins else None,
        bins=tuple(
            BinRecord(
                low=100 * one.low,
                high=100 * one.high,
                answers=one.answers,
                confidence=100 * one.confidence,
                accuracy=100 * one.accuracy,
            )
            for one in bins
        ),
        risk_coverage_area=100 * sure.area,
        accuracy_at_half=100 * sure.accuracy_at(0.5),
        coverage_at_95=100 * sure.coverage_at(),
        accuracy_by_coverage=tuple(100 * sure.accuracy_at(step / 20) for step in range(1, 21)),
    )


def log_losses(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return −ln of the probability of each true verdict, in nats.

    Parameters
    ----------
    probabilities : shape (samples, rows, classes).
    truth : places of the true verdicts, shape (rows,).

    Returns
    -------
    Shape (samples, rows).
    """
    given = probabilities[:, np.arange(len(truth)), truth].astype(float)
    losses: np.ndarray = -np.log(np.clip(given, LEAST, 1.0))
    return losses


def brier_scores(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return Σ (p − y)² over the verdicts of each row, y being 1 for the true one and 0 for the others; from 0 to 2.

    (Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review, 1950. Of two verdicts it is
    twice what is often called so.)

    Parameters
    ----------
    probabilities : shape (samples, rows, classes).
    truth : places of the true verdicts, shape (rows,).

    Returns
    -------
    Shape (samples, rows).
    """
    apart = probabilities.astype(float)
    apart[:, np.arange(len(truth)), truth] -= 1
    scores: np.ndarray = (apart**2).sum(axis=2)
    return scores


def confidences(probabilities: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Return the probability of the verdict that is said, −∞ where none is.

    Parameters
    ----------
    probabilities : shape (samples, rows, classes).
    said : places of verdicts, −1 for none, shape (samples, rows).

    Returns
    -------
    Shape (samples, rows).
    """
    own = np.take_along_axis(probabilities, np.maximum(said, 0)[..., None].astype(int), axis=2)[..., 0]
    return np.where(said < 0, -np.inf, own)


@dataclass(frozen=True)
class Bin:
    """Networks of which a method is about as sure.

    Attributes
    ----------
    low, high : confidence is in (low, high].
    answers : how many, over all training samples.
    confidence : their mean confidence.
    accuracy : the share of them that is right.
    """

    low: float
    high: float
    answers: int
    confidence: float
    accuracy: float


def calibration(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Sort answers into bins of equal width of their confidence; those with nothing in them are left out.

    Parameters
    ----------
    confidence, right : any shape, all answers together; −∞ marks an abstention, which is in no bin.
    bins : how many.
    """
    known = np.isfinite(confidence)
    sure, hit = confidence[known].astype(float), right[known].astype(float)
    edges = np.arange(1, bins) / bins
    place = np.searchsorted(edges.astype(confidence.dtype), confidence[known], side="left")
    counts, sums, hits = (np.bincount(place, weights=one, minlength=bins) for one in (np.ones(len(sure)), sure, hit))
    return [
        Bin(one / bins, (one + 1) / bins, int(counts[one]), sums[one] / counts[one], hits[one] / counts[one])
        for one in np.flatnonzero(counts)
    ]


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: |accuracy − confidence| of each bin, weighed by its answers.

    (Guo et al., On calibration of modern neural networks, ICML 2017.) NaN where there is no answer.
    """
    total = sum(one.answers for one in bins)
    return sum(one.answers * abs(one.accuracy - one.confidence) for one in bins) / total if total else float("nan")


@dataclass(frozen=True, eq=False)
class Sureness:
    """Accuracy against the share of networks answered, the surest first (risk–coverage).

    (El-Yaniv and Wiener, On the foundations of noise-free selective classification, JMLR, 2010.) Where several are equally
    sure, any of them may come first: what is told is the expectation over their orders.

    Attributes
    ----------
    confidence, right : shape (samples, rows).
    """

    confidence: np.ndarray
    right: np.ndarray

    @cached_property
    def accuracy(self) -> np.ndarray:
        """Accuracy among the first 1, 2, …, n rows; shape (samples, rows)."""
        return np.stack([_among_first(*one) for one in zip(self.confidence, self.right, strict=True)])

    @property
    def area(self) -> float:
        """The area under the curve of risk (1 − accuracy): its mean over all coverages, and over samples (AURC)."""
        return float(1 - self.accuracy.mean())

    def accuracy_at(self, coverage: float) -> float:
        """Return the accuracy on so large a share of the networks, in (0, 1], rounded up to whole ones; mean over samples."""
        count = self.confidence.shape[1]
        # As a product of floats, 7 % of 100 networks would be eight.
        return float(self.accuracy[:, max(int(np.ceil(coverage * count - 1e-9)), 1) - 1].mean())

    def coverage_at(self, accuracy: float = WANTED) -> float:
        """Return the largest share of networks on which the accuracy is so high, 0 where none is; mean over samples."""
        count = self.confidence.shape[1]
        enough = self.accuracy >= accuracy - 1e-12
        return float(np.where(enough, np.arange(1, count + 1), 0).max(axis=1).mean() / count)


def _among_first(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the expected accuracy among the first k rows, for every k; those equally sure come in random order."""
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
    hits = np.cumsum(right[order].astype(float))[ends - 1]
    places = np.arange(1, len(order) + 1)
    # Within such a group the expected number of right ones grows evenly.
    expected: np.ndarray = np.interp(places, np.append(0, ends), np.append(0.0, hits)) / places
    return expected
