"""Similarity of networks that differ by their seed alone: of what they compute, and of what they predict."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdbench.errors import MdbenchError
from zoo_builder.landscape import outputs
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import ALONE, NO_TEST, NOT_CLASSES, NOT_FINITE, Missing

METRICS: Final = (
    Metric("output_cka", "configuration", 0, 1),
    Metric("output_cka_debiased", "configuration", -1, 1),
    Metric("penultimate_cka", "configuration", 0, 1, "one pass"),
    Metric("penultimate_cka_debiased", "configuration", -1, 1),
    Metric("mixup_cka", "configuration", 0, 1, "one pass"),
    Metric("train_disagreement", "configuration", 0, 100),
    Metric("test_disagreement", "configuration", 0, 100),
)

#: Fewest examples of a debiased estimate.
_FEWEST: Final = 4
#: Features vary by no more than rounding up to so many times ε of their size: a deep network's are off by one to two ε, which
#: is then more than 2 % of what varies. Those of a MobileNet that varied by 4 ε had an alignment that was 8 % off.
_ROUNDING: Final = 64
#: Of mixup: both parameters of the beta distribution, and examples that share a coefficient. They are published with the
#: taxonomy of Yang et al. (NeurIPS 2021).
ALPHA: Final = 16
MIXED_TOGETHER: Final = 128


def linear_cka(features: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the linear centred kernel alignment of all pairs of networks, and its debiased estimate: float64 (k, k) each.

    The first is ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms, of features X and Y with their means over the examples taken off
    (Kornblith et al., Similarity of neural network representations revisited, ICML 2019, section 3). It does not change
    with rotations of the features, nor with their scale.

    It is too large where examples are few: of independent features that spread over d directions alike it is about
    d / (n + d), and not 0. The debiased one has the unbiased estimate of the Hilbert–Schmidt independence criterion in all
    three places (Song et al., Feature selection via dependence maximization, JMLR 2012, equation 5; Nguyen et al., Do wide
    and deep networks learn the same things?, ICLR 2021). Of centred features it is ‖XᵀY‖² − n / (n − 2) Σ xᵢ² yᵢ² +
    Σ xᵢ² Σ yᵢ² / ((n − 1) (n − 2)), but for a factor, xᵢ and yᵢ the norms of an example's features. It may be below zero.

    NaN where features do not vary by more than rounding; the debiased one also where there are fewer than four examples,
    or no two of them have anything in common.

    Parameters
    ----------
    features : (k, n, …), of k networks on the same n examples.
    """
    features = features.flatten(2)
    count, examples, width = features.shape
    narrow = width <= examples
    kept, lengths, flat = [], [], []
    for one in features:
        values = one.double()
        centred = values - values.mean(0)
        flat.append(bool(centred.norm() <= _ROUNDING * torch.finfo(features.dtype).eps * values.norm()))
        lengths.append(centred.square().sum(1))
        # Whichever is smaller: ‖XᵀY‖² is also the inner product of XXᵀ and YYᵀ.
        kept.append(centred if narrow else centred @ centred.T)
    alike, shared = np.empty((count, count)), np.empty((count, count))
    for i, j in combinations_with_replacement(range(count), 2):
        products = (kept[i].T @ kept[j]).square() if narrow else kept[i] * kept[j]
        alike[i, j] = alike[j, i] = float(products.sum())
        shared[i, j] = shared[j, i] = float(lengths[i] @ lengths[j])
    alike[flat], alike[:, flat] = np.nan, np.nan
    if examples < _FEWEST:
        return _normalized(alike, 0), np.full_like(alike, np.nan)
    sums = np.array([float(squares.sum()) for squares in lengths])
    unbiased = alike - examples / (examples - 2) * shared + np.outer(sums, sums) / ((examples - 1) * (examples - 2))
    rounding = examples * np.finfo(np.float64).eps * alike.diagonal()
    return _normalized(alike, 0), _normalized(unbiased, rounding)


def _normalized(products: NDArray[np.float64], least: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return inner products (k, k) divided by the norms; NaN where a square of a norm is no more than the least."""
    squares = products.diagonal()
    own = np.sqrt(np.where(squares > least, squares, np.nan))
    return np.asarray(products / np.outer(own, own))


def mixed(data: Data, rng: np.random.Generator) -> Data:
    """Return examples mixed with one another: λ x + (1 − λ) x′, x′ another of the same batch.

    λ is drawn from Beta(16, 16), one for each batch of 128, and x′ by a permutation of it (Zhang et al., mixup: beyond
    empirical risk minimization, ICLR 2018; as in the code of Yang et al., Taxonomizing local versus global structure in
    neural network loss landscapes, NeurIPS 2021). Targets stay as they are, and mean nothing.
    """
    inputs = data.tensor.clone()
    for start in range(0, len(inputs), MIXED_TOGETHER):
        batch = inputs[start : start + MIXED_TOGETHER]
        share = rng.beta(ALPHA, ALPHA)
        batch.copy_(share * batch + (1 - share) * batch[torch.from_numpy(rng.permutation(len(batch)))])
    return Data(inputs, data.targets)


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

    A network that computes the same for all examples has no CKA with others; the mean is over the other pairs. What is
    computed of every position of an example (a class of each pixel, say) is one long vector to CKA.
    """
    columns = [metric.column for metric in METRICS]
    missing = Missing(len(subject.groups))
    missing.because(ALONE, columns, (at for at, rows in enumerate(subject.groups) if len(rows) < 2))
    surface, sample = subject.surface, subject.sample
    logits = subject.train_logits[:, : len(sample)] if surface.classifies else surface.logits(sample)
    seen = {"output_cka": logits}
    try:
        seen["penultimate_cka"] = surface.features(sample)
    except MdbenchError as error:
        missing.because(str(error), ["penultimate_cka", "penultimate_cka_debiased"])
    found: dict[str, list[float]] = {}
    for column, features in seen.items():
        debiased = f"{column}_debiased"
        pairs = [_ckas(features[list(rows)]) for rows in subject.groups]
        found[column], found[debiased] = (list(values) for values in zip(*pairs, strict=True))
        _say_why(missing, subject, column, found[column], features)
        few = [at for at, value in enumerate(found[column]) if np.isfinite(value) and np.isnan(found[debiased][at])]
        missing.because(f"{len(sample)} examples are too few for a debiased estimate", [debiased], few)
        _say_why(missing, subject, debiased, found[debiased], features)

    of_classes = ["mixup_cka", "train_disagreement", "test_disagreement"]
    if not surface.classifies:
        missing.because(NOT_CLASSES, of_classes)
        return Measured(configurations=missing.fill(found, columns), configuration_reasons=missing.reasons)
    if sample.floating:
        found["mixup_cka"] = [np.nan if len(rows) < 2 else _mixup_cka(subject, rows) for rows in subject.groups]
        _say_why(missing, subject, "mixup_cka", found["mixup_cka"], logits)
    else:
        missing.because("inputs that are no numbers cannot be mixed", ["mixup_cka"])
    if subject.test is None:
        missing.because(NO_TEST, ["test_disagreement"])
    else:
        found["test_disagreement"] = _disagreements(subject.test_logits, subject.test, subject)
    found["train_disagreement"] = _disagreements(subject.train_logits, subject.train, subject)
    return Measured(
        configurations=missing.fill(found, columns, f"a network's {NOT_FINITE}"), configuration_reasons=missing.reasons
    )


def _ckas(features: Tensor) -> tuple[float, float]:
    """Return the mean over pairs of the alignment of some networks' features (k, n, …), and of its debiased estimate."""
    if len(features) < 2 or not outputs.finite(features).all():
        return np.nan, np.nan
    plain, debiased = linear_cka(features)
    return pair_mean(plain), pair_mean(debiased)


def _mixup_cka(subject: Subject, rows: Sequence[int]) -> float:
    """Return the mean over pairs of the alignment of some networks' probabilities on mixed examples."""
    examples = mixed(subject.sample, subject.pair_rng(rows, "mixup"))
    return _ckas(subject.surface.part(rows).logits(examples).double().softmax(2))[0]


def _say_why(missing: Missing, subject: Subject, column: str, found: Sequence[float], features: Tensor) -> None:
    """Say of which groups an alignment is missing because networks compute the same for all examples."""
    finite = outputs.finite(features).cpu().numpy()
    flat = [at for at, rows in enumerate(subject.groups) if np.isnan(found[at]) and finite[list(rows)].all()]
    missing.because("what a network computes is the same for all examples", [column], flat)


def _disagreements(logits: Tensor, data: Data, subject: Subject) -> list[float]:
    finite = outputs.finite(logits).cpu().numpy()
    predictions = outputs.by_position(logits, data.targets.cpu())[0].argmax(2).cpu().numpy()
    return [
        pair_mean(disagreements(predictions[list(rows)])) if finite[list(rows)].all() else np.nan
        for rows in subject.groups
    ]
