"""Losses of what a network puts out, and their gradients: cross-entropy of examples or their positions, squared errors."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels import cross_entropy
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.functions import exponential
from zoo_builder.training.kernels.layout import row
from zoo_builder.training.kernels.recipe import PER_POSITION, SQUARES


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
    labels, targets : classes (B,), or of every position (positions · B,), −1 where none counts; or values (B, K).
    weights : of classes, (K,).
    arena, batch : where values lie, of so many examples.
    each : (2, B), to work in.
    """
    if recipe.loss == SQUARES:
        return _squares(y, targets, arena, batch)
    if recipe.loss == PER_POSITION:
        return _per_position(y, recipe.smoothing, labels, weights, arena, batch, each)
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


@compiled
def _per_position(
    y: Any,
    smoothing: float,
    labels: np.ndarray,
    weights: np.ndarray,
    arena: np.ndarray,
    batch: int,
    each: np.ndarray,
) -> float:
    """Return the same over all positions of all examples that have a class."""
    kind = arena.dtype.type
    n, share = y.channels * batch, smoothing / y.channels
    whole, common = 0.0, share * weights.sum()
    for label in labels:
        if label >= 0:
            whole += weights[label]
    top, scale = each[0], each[1]
    total = 0.0
    for h in range(y.height):
        for w in range(y.width):
            logits = row(arena, y.at, y, h, w, 0, n, batch).reshape(y.channels, batch)
            slope = row(arena, y.slope, y, h, w, 0, n, batch).reshape(y.channels, batch)
            own = labels[(h * y.width + w) * batch :][:batch]
            top[:] = logits[0]
            for k in range(1, y.channels):
                for b in range(batch):
                    top[b] = max(top[b], logits[k, b])
            scale[:] = 0
            for k in range(y.channels):
                for b in range(batch):
                    part = exponential(logits[k, b] - top[b])
                    slope[k, b] = part
                    scale[b] += part
            for b in range(batch):
                if own[b] < 0:
                    scale[b] = 0
                    continue
                level = np.log(np.float64(scale[b])) + np.float64(top[b])
                weight = (1 - smoothing) * weights[own[b]]
                total += weight * (level - np.float64(logits[own[b], b]))
                if smoothing > 0:
                    for k in range(y.channels):
                        total += share * weights[k] * (level - np.float64(logits[k, b]))
                scale[b] = kind((weight + common) / (np.float64(scale[b]) * whole))
            for k in range(y.channels):
                less = kind(share * weights[k] / whole)
                for b in range(batch):
                    slope[k, b] = slope[k, b] * scale[b] - (less if scale[b] > 0 else kind(0))
            for b in range(batch):
                if own[b] >= 0:
                    slope[own[b], b] -= kind((1 - smoothing) * weights[own[b]] / whole)
    return float(total / whole)
