"""Performance: errors and losses, how sure networks are, and whether they are right as often as they are sure."""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from zoo_builder.landscape import outputs
from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import NO_TEST, NOT_CLASSES, Missing
from zoo_builder.landscape.objective import CrossEntropy

#: Bins of confidence, as in Guo et al., On calibration of modern neural networks (ICML 2017), table 1.
BINS: Final = 15

#: What a zoo's networks are asked right after their training too; there, what was found then stands.
AFTER_TRAINING: Final = (
    Metric("train_error", "checkpoint", 0, 100),
    Metric("train_loss", "checkpoint", 0),
    Metric("test_error", "checkpoint", 0, 100),
    Metric("test_loss", "checkpoint", 0),
    Metric("generalization_gap", "checkpoint", -100, 100),
)

METRICS: Final = (
    *AFTER_TRAINING,
    Metric("train_ece", "checkpoint", 0, 100),
    Metric("train_confidence", "checkpoint", 0, 100),
    Metric("train_margin", "checkpoint"),
    Metric("train_margin_p10", "checkpoint"),
    Metric("test_ece", "checkpoint", 0, 100),
    Metric("test_confidence", "checkpoint", 0, 100),
)


def calibration_errors(confidences: NDArray[Any], right: NDArray[Any], bins: int = BINS) -> NDArray[np.float64]:
    """Return expected calibration errors in %, float64 (S,).

    Confidences are sorted into equally wide bins, ((b − 1) / bins, b / bins]; the error is the mean over examples of
    |accuracy − mean confidence| of their bins (Guo et al., ICML 2017, section 2).

    Parameters
    ----------
    confidences : (S, n), probabilities of the predicted class, 0 to 1.
    right : bool (S, n), whether it is the label.
    bins : how many.
    """
    size, examples = confidences.shape
    place = np.clip(np.ceil(np.nan_to_num(confidences) * bins).astype(np.int64) - 1, 0, bins - 1)
    place += bins * np.arange(size)[:, None]
    gaps = np.bincount(place.ravel(), (right - confidences).ravel(), minlength=size * bins)
    return np.asarray(100 * np.abs(gaps.reshape(size, bins)).sum(1) / examples)


def measure(subject: Subject) -> Measured:
    """Measure all networks of a subject."""
    missing = Missing(len(subject.surface), subject.known)
    columns = [metric.column for metric in METRICS]
    found: dict[str, ArrayLike] = {}
    for part, data in (("train", subject.train), ("test", subject.test)):
        if data is None:
            missing.because(NO_TEST, ["generalization_gap", *(name for name in columns if name.startswith(part))])
        elif subject.surface.classifies:
            found |= _of_classifiers(subject, part, data)
        else:
            found[f"{part}_loss"] = subject.surface.scores(data, subject.surface.points[:, None])[0][:, 0].numpy()
            missing.because(NOT_CLASSES, (name for name in columns if name not in ("train_loss", "test_loss")))
    if "test_error" in found:
        found["generalization_gap"] = np.subtract(found["test_error"], found["train_error"])
    return Measured(networks=missing.fill(found, columns), network_reasons=missing.reasons)


def _losses(subject: Subject, logits: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """Return the losses (S,) of outputs (S, n, K), in float64."""
    objective = subject.surface.objective
    if isinstance(objective, CrossEntropy) and objective.plain:
        return np.asarray(outputs.cross_entropies(logits, targets).mean(1).cpu().numpy())
    totals = [float(objective.total(own, targets)) for own in logits.double()]
    return np.array(totals) / objective.normalizer(targets)


def _of_classifiers(subject: Subject, part: str, data: Data) -> dict[str, ArrayLike]:
    logits = subject.train_logits if part == "train" else subject.test_logits
    right = (logits.argmax(2).cpu() == data.targets.cpu()).numpy()
    sure = outputs.confidences(logits).cpu().numpy()
    found: dict[str, NDArray[np.float64]] = {
        f"{part}_error": 100 * (~right).mean(1),
        f"{part}_loss": _losses(subject, logits, data.targets),
        f"{part}_ece": calibration_errors(sure, right),
        f"{part}_confidence": 100 * sure.mean(1),
    }
    if part == "train":
        margins = outputs.margins(logits, data.targets).cpu().numpy()
        found |= {"train_margin": margins.mean(1), "train_margin_p10": np.quantile(margins, 0.1, axis=1)}
    finite = outputs.finite(logits).cpu().numpy()
    return {column: np.where(finite, values, np.nan) for column, values in found.items()}
