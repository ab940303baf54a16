"""Cross-entropy of a class a position, in nats: of every token or pixel that has one.

Labels are int64 (m, positions), of the first m examples of a batch, positions row by row; negative ones do not count. As in
`zoo_builder.training.kernels.cross_entropy`, what belongs to a position's own class is taken from the others': nothing
cancels where the network is sure.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.functions import exponential
from zoo_builder.training.kernels.layout import row


@compiled
def value(y: Any, labels: np.ndarray, arena: np.ndarray, batch: int, each: np.ndarray) -> float:
    """Return the summed cross-entropy; `each` (2, B), to work in."""
    own, top, mass = np.empty(batch, np.int32), each[0], each[1]
    total = 0.0
    for h in range(y.height):
        for w in range(y.width):
            logits = _channels(arena, y.at, y, h, w, batch)
            _own(labels, h * y.width + w, own)
            _tops(logits, top)
            mass[:] = 0
            for k in range(y.channels):
                some = logits[k]
                for b in range(batch):
                    mass[b] += exponential(some[b] - top[b])
            total += _summed(logits, own, top, mass)
    return total


@compiled
def value_and_slope(y: Any, labels: np.ndarray, arena: np.ndarray, batch: int, whole: int, each: np.ndarray) -> float:
    """Return the summed cross-entropy, and leave its gradient, divided by `whole`, in the logits' slope; `each` (2, B)."""
    kind = arena.dtype.type
    own, top, mass = np.empty(batch, np.int32), each[0], each[1]
    total = 0.0
    for h in range(y.height):
        for w in range(y.width):
            logits, slope = _channels(arena, y.at, y, h, w, batch), _channels(arena, y.slope, y, h, w, batch)
            _own(labels, h * y.width + w, own)
            _tops(logits, top)
            mass[:] = 0
            for k in range(y.channels):
                some, out = logits[k], slope[k]
                for b in range(batch):
                    part = exponential(some[b] - top[b])
                    out[b] = part
                    mass[b] += part
            total += _summed(logits, own, top, mass)
            for b in range(batch):
                mass[b] = kind(0) if own[b] < 0 else kind(1) / (mass[b] * kind(whole))
            for k in range(y.channels):
                out = slope[k]
                for b in range(batch):
                    out[b] *= mass[b]
            _own_from_others(slope, own, mass)
    return total


@compiled
def slope_along(
    y: Any, labels: np.ndarray, arena: np.ndarray, along: np.ndarray, batch: int, whole: int, each: np.ndarray
) -> None:
    """Leave in the logits' second slope how the first one changes; `each` (2, B).

    With z the logits' change minus that of the position's own, it is p ∘ (z − p·z) / whole.
    """
    kind = arena.dtype.type
    own, shift, mean = np.empty(batch, np.int32), each[0], each[1]
    count, none = kind(whole), kind(0)
    for h in range(y.height):
        for w in range(y.width):
            slope, pull = _channels(arena, y.slope, y, h, w, batch), _channels(along, y.slope, y, h, w, batch)
            moved = _channels(along, y.at, y, h, w, batch)
            _own(labels, h * y.width + w, own)
            for b in range(batch):
                shift[b] = moved[max(own[b], 0), b]
            mean[:] = 0
            for k in range(y.channels):
                some, change = slope[k], moved[k]
                for b in range(batch):
                    mean[b] += none if own[b] == k else count * some[b] * (change[b] - shift[b])
            for k in range(y.channels):
                some, change, out = slope[k], moved[k], pull[k]
                for b in range(batch):
                    out[b] = some[b] * ((change[b] - shift[b]) - mean[b])
            _own_from_others(pull, own, mean)


@compiled
def _channels(arena: np.ndarray, start: int, value: Any, h: int, w: int, batch: int) -> np.ndarray:
    """Return what is at a position, (channels, B)."""
    return row(arena, start, value, h, w, 0, value.channels * batch, batch).reshape(value.channels, batch)


@compiled
def _own(labels: np.ndarray, position: int, own: np.ndarray) -> None:
    """Write each example's class at a position, (B,); −1 where it has none."""
    own[:] = -1
    for b in range(len(labels)):
        own[b] = labels[b, position]


@compiled
def _tops(logits: np.ndarray, top: np.ndarray) -> None:
    """Write each example's largest logit."""
    top[:] = logits[0]
    for k in range(1, len(logits)):
        some = logits[k]
        for b in range(len(top)):
            top[b] = max(top[b], some[b])


@compiled
def _summed(logits: np.ndarray, own: np.ndarray, top: np.ndarray, mass: np.ndarray) -> float:
    """Return the sum of −ln p of the own classes, in double precision."""
    total = 0.0
    for b in range(len(own)):
        if own[b] >= 0:
            total += np.log(np.float64(mass[b])) + (np.float64(top[b]) - np.float64(logits[own[b], b]))
    return total


@compiled
def _own_from_others(slope: np.ndarray, own: np.ndarray, rest: np.ndarray) -> None:
    """Write the slope of each example's own class anew: what the others have, with the other sign; `rest` (B,)."""
    none = slope.dtype.type(0)
    rest[:] = 0
    for k in range(len(slope)):
        some = slope[k]
        for b in range(len(rest)):
            rest[b] += none if own[b] == k else some[b]
    for b in range(len(rest)):
        if own[b] >= 0:
            slope[own[b], b] = -rest[b]
