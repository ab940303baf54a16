"""Cross-entropy of the logits, in nats."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled


@compiled
def value_and_slope(y: Any, labels: np.ndarray, arena: np.ndarray, batch: int, whole: int, each: np.ndarray) -> float:
    """Return the summed cross-entropy of logits, and leave in their slope its gradient, divided by `whole`.

    Examples without a label, the last ones of a batch, do not count. `each` (2, B).
    """
    kind = arena.dtype.type
    logits = arena[y.at * batch :][: y.channels * batch].reshape(y.channels, batch)
    slope = arena[y.slope * batch :][: y.channels * batch].reshape(y.channels, batch)
    top, mass = each[0], each[1]
    top[:] = logits[0]
    for k in range(1, y.channels):
        for b in range(batch):
            top[b] = max(top[b], logits[k, b])
    mass[:] = 0
    for k in range(y.channels):
        for b in range(batch):
            part = np.exp(logits[k, b] - top[b])
            slope[k, b] = part
            mass[b] += part
    total = 0.0  # in double precision: the logarithm must not drown in the logits' common size
    for b in range(len(labels)):
        total += np.log(np.float64(mass[b])) + (np.float64(top[b]) - np.float64(logits[labels[b], b]))
        mass[b] = kind(1) / (mass[b] * kind(whole))
    mass[len(labels) :] = 0
    for k in range(y.channels):
        for b in range(batch):
            slope[k, b] *= mass[b]
    for b in range(len(labels)):
        slope[labels[b], b] -= kind(1) / kind(whole)
    return total


@compiled
def own_from_others(y: Any, labels: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the slope of each example's own logit anew: what the others have, with the other sign.

    Together they are zero. As p − 1 it is little but rounding where the network is sure of the right class.
    """
    slope = arena[y.slope * batch :][: y.channels * batch].reshape(y.channels, batch)
    for b in range(len(labels)):
        slope[labels[b], b] = 0
    for k in range(y.channels):
        for b in range(len(labels)):
            if labels[b] != k:
                slope[labels[b], b] -= slope[k, b]


@compiled
def slope_along(
    y: Any, labels: np.ndarray, arena: np.ndarray, along: np.ndarray, batch: int, whole: int, mean: np.ndarray
) -> None:
    """Leave in the logits' second slope how the first one changes; `mean` (B,).

    With z the logits' change minus that of the example's own, it is p ∘ (z − p·z) / whole: nothing cancels where the network
    is sure of the right class. The own logit's is taken from the others': compilers may reorder 0 − p·z, with z's two parts
    apart, so that p·z is lost.
    """
    kind = arena.dtype.type
    slope = arena[y.slope * batch :][: y.channels * batch].reshape(y.channels, batch)
    moved = along[y.at * batch :][: y.channels * batch].reshape(y.channels, batch)
    pull = along[y.slope * batch :][: y.channels * batch].reshape(y.channels, batch)
    count = kind(whole)
    mean[:] = 0
    for k in range(y.channels):
        for b in range(len(labels)):
            if labels[b] != k:
                mean[b] += count * slope[k, b] * (moved[k, b] - moved[labels[b], b])
    for k in range(y.channels):
        for b in range(len(labels)):
            pull[k, b] = slope[k, b] * ((moved[k, b] - moved[labels[b], b]) - mean[b])
        pull[k, len(labels) :] = 0
    own_from_others(y, labels, along, batch)
