"""Diversity of networks that differ by their seed alone, and what their ensemble gains by it. On test data."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape import outputs
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Metric, Subject
from zoo_builder.landscape.missing import ALONE, NO_TEST, NOT_CLASSES, Missing
from zoo_builder.landscape.similarity import disagreements, pair_mean

METRICS: Final = (
    Metric("ensemble_test_error", "configuration", 0, 100),
    Metric("ensemble_gain", "configuration", -100, 100),
    Metric("ensemble_diversity", "configuration", 0, 2),
    Metric("ensemble_variance", "configuration", 0, 1),
    Metric("pairwise_kl", "configuration", 0),
    Metric("shifted_error", "configuration", 0, 100, "1 pass over test data"),
)


def ensemble_error(probabilities: Tensor, labels: Tensor) -> float:
    """Return the error in % of predicting the class whose probability is largest in the mean over networks.

    Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using deep ensembles (NeurIPS 2017).

    Parameters
    ----------
    probabilities : (k, n, K), of k networks.
    labels : int64 (n,).
    """
    return float(100 * (probabilities.mean(0).argmax(1) != labels).double().mean())


def disagreement_error_ratio(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return how often two different networks disagree, divided by how often one errs; NaN where none does.

    Theisen et al., When are ensembles really effective? (NeurIPS 2023): above 1, ensembles gain much. Two networks
    disagree only where one of them errs, so that it is at most 2.

    Parameters
    ----------
    predictions : (k, n), of k networks.
    labels : (n,).
    """
    error = float(100 * (predictions != labels).mean())
    return pair_mean(disagreements(predictions)) / error if error else np.nan


def predictive_variance(probabilities: Tensor) -> float:
    """Return the mean over examples of the variance over networks of the vector of probabilities, 0 to 1.

    The variance is unbiased: it does not depend on how many networks there are.

    Parameters
    ----------
    probabilities : (k, n, K), of k networks, at least 2.
    """
    return float(probabilities.var(0, correction=1).sum(1).mean())


def pairwise_divergence(logits: Tensor) -> float:
    """Return the mean over examples and ordered pairs of networks of KL(p ‖ p') of the probabilities they predict, in nats.

    With z the logarithms of the probabilities it is the mean of Σ p (z − z') (Lu et al., SharpBalance, 2024).

    Parameters
    ----------
    logits : float64 (k, n, K), of k networks, at least 2.
    """
    logarithms = logits.log_softmax(2)
    others = (logarithms.sum(0) - logarithms) / (len(logits) - 1)
    return float((logarithms.exp() * (logarithms - others)).sum(2).mean())


def shifted(data: Data, scale: float) -> Data:
    """Return examples with normal noise of a standard deviation on their inputs, always the same."""
    generator = torch.Generator().manual_seed(0)
    return Data(data.tensor + scale * torch.randn(data.tensor.shape, generator=generator).to(data.tensor), data.targets)


def measure(subject: Subject) -> tuple[dict[str, NDArray[np.float64]], Missing]:
    """Measure all groups of a subject: `METRICS`."""
    columns = [metric.column for metric in METRICS]
    missing = Missing(len(subject.groups))
    missing.because(ALONE, columns, (at for at, rows in enumerate(subject.groups) if len(rows) < 2))
    if not subject.surface.classifies:
        missing.because(NOT_CLASSES, columns)
        return missing.fill({}, columns), missing
    if subject.test is None:
        missing.because(NO_TEST, columns)
        return missing.fill({}, columns), missing
    found = {column: np.full(len(subject.groups), np.nan) for column in columns}
    targets = subject.test.targets.cpu()
    logits, labels = outputs.by_position(subject.test_logits, targets)
    finite = outputs.finite(subject.test_logits).cpu().numpy()
    moved = None
    if subject.test.floating:
        again = subject.surface.logits(shifted(subject.test, subject.settings.shift)).cpu()
        moved, _ = outputs.by_position(again, targets)
    else:
        missing.because("inputs that are no numbers cannot be moved a little", ["shifted_error"])
    for at, rows in enumerate(subject.groups):
        if len(rows) < 2 or not finite[list(rows)].all():
            continue
        some = logits[list(rows)].cpu()
        probabilities, predictions = some.double().softmax(2), some.argmax(2).numpy()
        together = ensemble_error(probabilities, labels)
        error = 100 * (predictions != labels.numpy()).mean()
        found["ensemble_test_error"][at] = together
        found["ensemble_gain"][at] = error - together
        found["ensemble_diversity"][at] = disagreement_error_ratio(predictions, labels.numpy())
        found["ensemble_variance"][at] = predictive_variance(probabilities)
        found["pairwise_kl"][at] = pairwise_divergence(some.double())
        if moved is not None:
            found["shifted_error"][at] = ensemble_error(moved[list(rows)].double().softmax(2), labels)
        if not error:
            missing.because("no network errs on test data", ["ensemble_diversity"], [at])
    return missing.fill(found, columns, "a network's outputs are not finite"), missing
