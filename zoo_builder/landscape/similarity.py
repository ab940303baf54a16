"""Similarity of networks that differ by their seed alone: of what they compute, and of what they predict."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mdbench.errors import MdbenchError
from zoo_builder.landscape import outputs
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import NO_TEST, NOT_CLASSES, NOT_FINITE, Missing

METRICS: Final = (
    Metric("output_cka", "configuration", 0, 1),
    Metric("penultimate_cka", "configuration", 0, 1, "one pass"),
    Metric("train_disagreement", "configuration", 0, 100),
    Metric("test_disagreement", "configuration", 0, 100),
)

ALONE: Final = "there is one network, and no other to compare it with"


def linear_cka(features: Tensor) -> NDArray[np.float64]:
    """Return the linear centred kernel alignment of all pairs of networks, float64 (k, k).

    ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms, of features X and Y with their means over the examples taken off
    (Kornblith et al., Similarity of neural network representations revisited, ICML 2019, section 3). It does not change
    with rotations of the features, nor with their scale. NaN where features do not vary by more than rounding.

    Parameters
    ----------
    features : (k, n, F), of k networks on the same n examples.
    """
    networks, examples, width = features.shape
    values = features.double()
    centred = values - values.mean(1, keepdim=True)
    flat = centred.norm(dim=(1, 2)) <= torch.finfo(features.dtype).eps * values.norm(dim=(1, 2))
    side_by_side = centred.transpose(0, 1).reshape(examples, networks * width)
    products = (side_by_side.T @ side_by_side).view(networks, width, networks, width)
    alike = products.square().sum((1, 3))
    own = torch.where(flat, torch.nan, alike.diagonal()).sqrt()
    return np.asarray((alike / (own[:, None] * own)).cpu().numpy())


def disagreements(predictions: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of examples in % on which two networks' predictions (k, n) differ: float64 (k, k)."""
    return np.array([100 * (one != predictions).mean(1) for one in predictions])


def pair_mean(values: NDArray[np.float64]) -> float:
    """Return the mean over pairs of different networks of something symmetric (k, k); NaN where there is no pair.

    Pairs whose value does not exist, NaN, are left out.
    """
    pairs = values[np.triu_indices(len(values), 1)]
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean()) if len(pairs) else np.nan


def measure(subject: Subject) -> Measured:
    """Measure all groups of a subject: `METRICS`.

    A network that computes the same for all examples has no CKA with others; the mean is over the other pairs.
    """
    columns = [metric.column for metric in METRICS]
    missing = Missing(len(subject.groups))
    missing.because(ALONE, columns, (at for at, rows in enumerate(subject.groups) if len(rows) < 2))
    surface, sample = subject.surface, subject.sample
    seen = {"output_cka": subject.train_logits[:, : len(sample)]}
    try:
        seen["penultimate_cka"] = surface.features(sample)
    except MdbenchError as error:
        missing.because(str(error), ["penultimate_cka"])
    found: dict[str, ArrayLike] = {}
    for column, features in seen.items():
        finite = outputs.finite(features).cpu().numpy()
        found[column] = values = [
            pair_mean(linear_cka(features[list(rows)])) if finite[list(rows)].all() else np.nan
            for rows in subject.groups
        ]
        flat = [at for at, rows in enumerate(subject.groups) if np.isnan(values[at]) and finite[list(rows)].all()]
        missing.because("what a network computes is the same for all examples", [column], flat)

    if not surface.classifies:
        missing.because(NOT_CLASSES, ["train_disagreement", "test_disagreement"])
        return Measured(configurations=missing.fill(found, columns), configuration_reasons=missing.reasons)
    if subject.test is None:
        missing.because(NO_TEST, ["test_disagreement"])
    for part in ("train", "test") if subject.test is not None else ("train",):
        logits = subject.train_logits if part == "train" else subject.test_logits
        found[f"{part}_disagreement"] = _disagreements(logits, subject)
    return Measured(
        configurations=missing.fill(found, columns, f"a network's {NOT_FINITE}"), configuration_reasons=missing.reasons
    )


def _disagreements(logits: Tensor, subject: Subject) -> list[float]:
    predictions, finite = logits.argmax(2).cpu().numpy(), outputs.finite(logits).cpu().numpy()
    return [
        pair_mean(disagreements(predictions[list(rows)])) if finite[list(rows)].all() else np.nan
        for rows in subject.groups
    ]
