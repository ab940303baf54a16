"""What the outputs of classifiers say about examples. Everything is computed in float64, whatever the outputs are in."""

import torch
from torch import Tensor


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ln(p / (1 − p)) of the labelled class: its logit minus the log-sum-exp of the others, float64 (S, n).

    It tells examples apart that are so certain that p is rounded to 1 (Carlini et al., Membership inference attacks from
    first principles, IEEE S&P 2022, section V).

    Parameters
    ----------
    logits : (S, n, K).
    labels : int64 (n,).
    """
    own, others = _parted(logits, labels)
    return own - others.logsumexp(2)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the labelled class's logit minus the largest other, float64 (S, n); negative where the prediction is wrong.

    Parameters
    ----------
    logits : (S, n, K).
    labels : int64 (n,).
    """
    own, others = _parted(logits, labels)
    return own - others.amax(2)


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −ln p of the labelled class in nats, float64 (S, n): ln(1 + exp(−log-odds)), exact also near zero.

    Parameters
    ----------
    logits : (S, n, K).
    labels : int64 (n,).
    """
    odds = log_odds(logits, labels)
    return torch.logaddexp(torch.zeros_like(odds), -odds)


def confidences(logits: Tensor) -> Tensor:
    """Return the probability of the most probable class, float64 (S, n), of logits (S, n, K)."""
    values = logits.double()
    return (values.amax(2) - values.logsumexp(2)).exp()


def finite(logits: Tensor) -> Tensor:
    """Return whether all outputs (S, n, K) of a network are finite: bool (S,)."""
    return torch.isfinite(logits).flatten(1).all(1)


def by_position(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs (S, N, K) and labels (N,) of all that is classified: examples, or every position of every example.

    Positions whose label is below zero, and so no class, are left out.

    Parameters
    ----------
    logits : (S, n, K, …).
    labels : int64 (n, …).
    """
    known = labels.flatten().to(logits.device) >= 0
    values = logits.movedim(2, -1).flatten(1, -2)
    return (values, labels.flatten()) if known.all() else (values[:, known], labels.flatten()[known.to(labels.device)])


def _parted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of the labels (S, n), and all of them (S, n, K) with −∞ in the labels' places."""
    values = logits.double()
    where = labels.to(values.device)[None, :, None].expand(len(values), -1, 1)
    return values.gather(2, where)[..., 0], values.scatter(2, where, -torch.inf)
