"""Losses of what a network puts out, and their gradients: cross-entropy with smoothed labels or weights, squared errors."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels import cross_entropy
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.recipe import SQUARES


@compiled
def value_and_slope(
    y: Any,
    recipe: Any,
    labels: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    arena: np.ndarray,
    batch: int,
    each: np.ndarray,
) -> float:
    """Return the mean loss of a batch, and leave its gradient in the slope of what the network puts out.

    Parameters
    ----------
    y : the value that is put out.
    recipe : which loss it is.
    labels, targets : classes (B,), or values (B, K).
    weights : of classes, (K,).
    arena, batch : where values lie, of so many examples.
    each : (2, B), to work in.
    """
    if recipe.loss == SQUARES:
        return _squares(y, targets, arena, batch)
    if recipe.smoothing > 0 or recipe.weighted:
        return _weighted(y, recipe.smoothing, labels, weights, arena, batch)
    total: float = cross_entropy.value_and_slope(y, labels, arena, batch, batch, each)
    return total / batch


@compiled
def _squares(y: Any, targets: np.ndarray, arena: np.ndarray, batch: int) -> float:
    """Return the mean of ``(y − t)²`` over examples and outputs."""
    kind = arena.dtype.type
    out = arena[y.at * batch :][: y.channels * batch].reshape(y.channels, batch)
    slope = arena[y.slope * batch :][: y.channels * batch].reshape(y.channels, batch)
    scale = kind(2 / (y.channels * batch))
    total = 0.0
    for k in range(y.channels):
        for b in range(batch):
            away = out[k, b] - targets[b, k]
            total += np.float64(away) * np.float64(away)
            slope[k, b] = scale * away
    return float(total / (y.channels * batch))


@compiled
def _weighted(
    y: Any,
    smoothing: float,
    labels: np.ndarray,
    weights: np.ndarray,
    arena: np.ndarray,
    batch: int,
) -> float:
    """Return the cross-entropy as `torch.nn.CrossEntropyLoss` has it.

    With w the weights, ℓ = −ln p and s the smoothing, an example of class y adds ``(1 − s) w_y ℓ_y + s / K Σ w ℓ``, and the
    sum is divided by that of the w_y. With ``a = (1 − s) w_y`` and ``c = s / K Σ w`` its gradient
    is ``(a + c) p − s / K w``, and less by a at y.
    """
    kind = arena.dtype.type
    logits = arena[y.at * batch :][: y.channels * batch].reshape(y.channels, batch)
    slope = arena[y.slope * batch :][: y.channels * batch].reshape(y.channels, batch)
    share = smoothing / y.channels
    whole, common = 0.0, 0.0
    for b in range(batch):
        whole += weights[labels[b]]
    for k in range(y.channels):
        common += share * weights[k]
    total = 0.0
    for b in range(batch):
        top = np.float64(logits[0, b])
        for k in range(1, y.channels):
            top = max(top, np.float64(logits[k, b]))
        mass = 0.0
        for k in range(y.channels):
            mass += np.exp(np.float64(logits[k, b]) - top)
        level = np.log(mass)
        own = (1 - smoothing) * weights[labels[b]]
        total += own * (level + (top - np.float64(logits[labels[b], b])))
        for k in range(y.channels):
            minus = level + (top - np.float64(logits[k, b]))
            total += share * weights[k] * minus
            slope[k, b] = kind(((own + common) * np.exp(-minus) - share * weights[k]) / whole)
        slope[labels[b], b] -= kind(own / whole)
    return total / whole
