"""Memorization: wrong labels that were learned, training examples that can be told from others, and hard examples.

What is counted is what testbeds of memorization plant and look for again (TinyMem: Sakarvadia et al., Mitigating
memorization in language models, ICLR 2025): here, labels that were replaced by wrong ones on purpose.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo_builder.landscape import outputs
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import NO_TEST, NOT_CLASSES, NOT_KNOWN_WRONG, Missing

#: Share of the examples that are the tail of the losses.
TAIL: Final = 0.01

METRICS: Final = (
    Metric("memorized_share", "checkpoint", 0, 100),
    Metric("corrected_share", "checkpoint", 0, 100),
    Metric("memorization_gap", "checkpoint", -100, 100),
    Metric("membership_auc", "checkpoint", 0, 1),
    Metric("membership_auc_clean", "checkpoint", 0, 1),
    Metric("train_loss_p99", "checkpoint", 0),
    Metric("train_loss_tail_share", "checkpoint", 0, 100),
)

_OF_WRONG = ["memorized_share", "corrected_share", "memorization_gap"]
_OF_TEST = ["membership_auc", "membership_auc_clean"]


def membership_auc(train_losses: NDArray[np.float64], test_losses: NDArray[np.float64]) -> float:
    """Return the probability that a training example has a smaller loss than a test example; a tie counts half.

    That is the area under the ROC curve of guessing from the loss whether an example was trained on (Yeom et al., Privacy
    risk in machine learning, CSF 2018), the statistic of Mann and Whitney.

    Parameters
    ----------
    train_losses : (n,).
    test_losses : (m,).
    """
    train, test = np.sort(train_losses), np.sort(test_losses)
    not_above = np.searchsorted(test, train, "left").sum() + np.searchsorted(test, train, "right").sum()
    return float(1 - not_above / (2 * len(train) * len(test)))


def tail_share(losses: NDArray[Any], tail: float = TAIL) -> NDArray[np.float64]:
    """Return which share of the sum of losses (S, n), in %, its largest ⌈tail · n⌉ carry: float64 (S,); NaN of nothing."""
    examples = losses.shape[1]
    first = examples - int(np.ceil(tail * examples))
    worst = np.partition(losses, first, axis=1)[:, first:].sum(1)
    total = losses.sum(1)
    return np.asarray(100 * worst / np.where(total > 0, total, np.nan))


def measure(subject: Subject) -> Measured:
    """Measure all networks of a subject: `METRICS`."""
    columns = [metric.column for metric in METRICS]
    missing = Missing(len(subject.surface))
    if not subject.surface.classifies:
        missing.because(NOT_CLASSES, columns)
        return Measured(networks=missing.fill({}, columns), network_reasons=missing.reasons)
    finite = outputs.finite(subject.train_logits).cpu().numpy()
    losses = outputs.cross_entropies(subject.train_logits, subject.train.targets).cpu().numpy()
    found: dict[str, NDArray[np.float64]] = {
        "train_loss_p99": np.quantile(losses, 0.99, axis=1),
        "train_loss_tail_share": tail_share(losses),
        **_of_wrong_labels(subject, missing),
        **_of_test_data(subject, losses, missing),
    }
    missing.because("all losses are zero", ["train_loss_tail_share"], np.flatnonzero(finite & ~losses.any(1)))
    values: dict[str, ArrayLike] = {column: np.where(finite, numbers, np.nan) for column, numbers in found.items()}
    return Measured(networks=missing.fill(values, columns), network_reasons=missing.reasons)


def _of_wrong_labels(subject: Subject, missing: Missing) -> dict[str, NDArray[np.float64]]:
    wrong = subject.wrong
    if wrong is None:
        missing.because(NOT_KNOWN_WRONG, _OF_WRONG)
        return {}
    if not wrong.any():
        missing.because("no label was corrupted", _OF_WRONG)
        return {}
    predictions = subject.train_logits.argmax(2).cpu().numpy()
    reproduced = predictions == subject.train.targets.cpu().numpy()
    memorized = 100 * reproduced[:, wrong].mean(1)
    found = {"memorized_share": memorized}
    if wrong.all():
        missing.because("all labels were corrupted", ["memorization_gap"])
    else:
        found["memorization_gap"] = 100 * reproduced[:, ~wrong].mean(1) - memorized
    if subject.truth is None:
        missing.because("nobody knows the right labels", ["corrected_share"])
    else:
        found["corrected_share"] = 100 * (predictions == subject.truth)[:, wrong].mean(1)
    return found


def _of_test_data(subject: Subject, losses: NDArray[np.float64], missing: Missing) -> dict[str, NDArray[np.float64]]:
    if subject.test is None:
        missing.because(NO_TEST, _OF_TEST)
        return {}
    others = outputs.cross_entropies(subject.test_logits, subject.test.targets).cpu().numpy()
    finite = outputs.finite(subject.test_logits).cpu().numpy()

    def areas(train_losses: NDArray[np.float64]) -> NDArray[np.float64]:
        found = [membership_auc(mine, theirs) for mine, theirs in zip(train_losses, others, strict=True)]
        return np.where(finite, found, np.nan)

    found = {"membership_auc": areas(losses)}
    if subject.wrong is None:
        missing.because(NOT_KNOWN_WRONG, ["membership_auc_clean"])
    elif subject.wrong.all():
        missing.because("all labels were corrupted", ["membership_auc_clean"])
    else:
        found["membership_auc_clean"] = (
            areas(losses[:, ~subject.wrong]) if subject.wrong.any() else found["membership_auc"]
        )
    return found
