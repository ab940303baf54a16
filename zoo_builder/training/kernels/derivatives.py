"""Gradients of one network's loss, and products of its Hessian with directions of the parameters."""

from typing import Any

import numpy as np

from zoo_builder.training.kernels import cross_entropy, per_position
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import gather
from zoo_builder.training.kernels.passes import backward, backward_along, forward, forward_along


@compiled
def differentiate(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    part: np.ndarray,
    examples: np.ndarray,
    chosen: np.ndarray,
    labels: np.ndarray,
    batch: int,
    training: bool,
    gradient: np.ndarray,
) -> float:
    """Return one network's mean cross-entropy in nats, and write its gradient.

    Parameters
    ----------
    values, steps, parameters, buffers, arena, saved, scratch, examples : as in `train`.
    part : (P,), to work in.
    chosen : examples, int64 (m,).
    labels : theirs, int64 (m,), or (m, positions) of which negative ones do not count.
    batch : examples at a time; in training mode m, for they are one batch.
    training : whether normalization uses the batch's statistics; buffers are then changed.
    gradient : (P,), written.
    """
    out = values[steps[len(steps) - 1].target]
    each = np.empty((2, batch), arena.dtype)
    some = np.empty(batch, np.int64)
    nothing = np.empty(0, np.uint64)
    loss = 0.0
    gradient[:] = 0
    whole = _counted(labels)
    for first in range(0, len(chosen), batch):
        for b in range(batch):
            some[b] = chosen[min(first + b, len(chosen) - 1)]
        gather(examples, some, values[0], arena)
        forward(values, steps, parameters, buffers, arena, saved, scratch, batch, training, nothing)
        own = labels[first : first + batch]
        loss += _value_and_slope(out, own, arena, batch, whole, each)
        backward(values, steps, parameters, part, arena, saved, scratch, batch, training, nothing)
        for i in range(len(gradient)):
            gradient[i] += part[i]
    return loss / whole


@compiled
def multiply_hessian(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arenas: np.ndarray,
    along: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    part: np.ndarray,
    examples: np.ndarray,
    labels: np.ndarray,
    batch: int,
    ready: bool,
    directions: np.ndarray,
    products: np.ndarray,
) -> None:
    """Multiply the Hessian of one network's mean cross-entropy, in evaluation mode, by directions.

    Parameters
    ----------
    values, steps : a lasting tape.
    parameters, buffers, saved, scratch, examples : as in `train`.
    arenas : (A, …): A is 1, or the number of batches, whose values and gradients are then kept from call to call.
    along : an arena more.
    part : (P,), to work in.
    labels : of all examples, int64 (n,), or (n, positions) of which negative ones do not count.
    batch : examples at a time.
    ready : whether `arenas` are from an earlier call with the same parameters, buffers and examples.
    directions : (V, P).
    products : (V, P), written.
    """
    out = values[steps[len(steps) - 1].target]
    each = np.empty((2, batch), arenas.dtype)
    some = np.empty(batch, np.int64)
    nothing = np.empty(0, np.uint64)
    products[:] = 0
    whole = _counted(labels)
    for first in range(0, len(examples), batch):
        arena = arenas[(first // batch) % len(arenas)]
        own = labels[first : first + batch]
        if not ready or len(arenas) == 1:
            for b in range(batch):
                some[b] = min(first + b, len(examples) - 1)
            gather(examples, some, values[0], arena)
            forward(values, steps, parameters, buffers, arena, saved, scratch, batch, False, nothing)
            _value_and_slope(out, own, arena, batch, whole, each)
            backward(values, steps, parameters, part, arena, saved, scratch, batch, False, nothing)
        for v in range(len(directions)):
            direction, product = directions[v], products[v]
            forward_along(values, steps, parameters, direction, arena, along, saved, scratch, batch)
            _slope_along(out, own, arena, along, batch, whole, each)
            backward_along(values, steps, parameters, direction, product, arena, along, saved, scratch, batch)


@compiled
def _counted(labels: np.ndarray) -> int:
    """Return how many labels count."""
    if labels.ndim == 1:
        return len(labels)
    many = 0
    for own in labels.flat:
        many += own >= 0
    return many


@compiled
def _value_and_slope(y: Any, labels: np.ndarray, arena: np.ndarray, batch: int, whole: int, each: np.ndarray) -> float:
    """Return the summed cross-entropy of logits, and leave in their slope its gradient, divided by `whole`; `each` (2, B)."""
    if labels.ndim == 1:
        loss = cross_entropy.value_and_slope(y, labels, arena, batch, whole, each)
        cross_entropy.own_from_others(y, labels, arena, batch)
    else:
        loss = per_position.value_and_slope(y, labels, arena, batch, whole, each)
    return loss


@compiled
def _slope_along(
    y: Any, labels: np.ndarray, arena: np.ndarray, along: np.ndarray, batch: int, whole: int, each: np.ndarray
) -> None:
    """Leave in the logits' second slope how the first one changes; `each` (2, B)."""
    if labels.ndim == 1:
        cross_entropy.slope_along(y, labels, arena, along, batch, whole, each[0])
    else:
        per_position.slope_along(y, labels, arena, along, batch, whole, each)
