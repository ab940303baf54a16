"""What one network puts out, and how good that is."""

import numpy as np

from zoo_builder.training.kernels import per_position
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import gather, row
from zoo_builder.training.kernels.passes import forward


@compiled
def evaluate(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    examples: np.ndarray,
    chosen: np.ndarray,
    labels: np.ndarray,
    batch: int,
) -> tuple[float, int]:
    """Return one network's summed cross-entropy in nats, and how many examples it gets wrong, in evaluation mode.

    Parameters
    ----------
    values, steps, parameters, buffers, arena, saved, scratch, examples : as in `train`; the arena is that of `batch`.
    chosen, labels : examples and their labels, int64 (m,).
    batch : examples at a time.
    """
    out = values[steps[len(steps) - 1].target]
    some = np.empty(batch, np.int64)
    nothing = np.empty(0, np.uint64)
    loss, wrong = 0.0, 0
    for first in range(0, len(chosen), batch):
        for b in range(batch):  # the last batch is filled up with its last example
            some[b] = chosen[min(first + b, len(chosen) - 1)]
        gather(examples, some, values[0], arena)
        forward(values, steps, parameters, buffers, arena, saved, scratch, batch, False, nothing)
        logits = arena[out.at * batch :][: out.channels * batch].reshape(out.channels, batch)
        for b in range(min(batch, len(chosen) - first)):
            best = 0
            for k in range(1, out.channels):
                if logits[k, b] > logits[best, b]:
                    best = k
            mass = 0.0
            for k in range(out.channels):
                mass += np.exp(logits[k, b] - logits[best, b])
            loss += np.log(mass) + (np.float64(logits[best, b]) - np.float64(logits[labels[first + b], b]))
            wrong += best != labels[first + b]
    return loss, wrong


@compiled
def evaluate_positions(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    examples: np.ndarray,
    labels: np.ndarray,
    batch: int,
) -> float:
    """Return one network's cross-entropy in nats, in evaluation mode, summed over all positions that have a class.

    Parameters
    ----------
    values, steps, parameters, buffers, arena, saved, scratch, examples, batch : as in `evaluate`.
    labels : of all examples, int64 (n, positions); negative ones do not count.
    """
    out = values[steps[len(steps) - 1].target]
    some = np.empty(batch, np.int64)
    each = np.empty((2, batch), arena.dtype)
    nothing = np.empty(0, np.uint64)
    loss = 0.0
    for first in range(0, len(examples), batch):
        for b in range(batch):
            some[b] = min(first + b, len(examples) - 1)
        gather(examples, some, values[0], arena)
        forward(values, steps, parameters, buffers, arena, saved, scratch, batch, False, nothing)
        loss += per_position.value(out, labels[first : first + batch], arena, batch, each)
    return loss


@compiled
def logits(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    examples: np.ndarray,
    batch: int,
    shown: int,
    out: np.ndarray,
) -> None:
    """Write a value of one network, in evaluation mode.

    Parameters
    ----------
    values, steps, parameters, buffers, arena, saved, scratch, examples, batch : as in `evaluate`.
    shown : row of the value: the logits, or what the last layer sees.
    out : (n, positions · channels), written.
    """
    value = values[shown]
    some = np.empty(batch, np.int64)
    nothing = np.empty(0, np.uint64)
    for first in range(0, len(examples), batch):
        for b in range(batch):
            some[b] = min(first + b, len(examples) - 1)
        gather(examples, some, values[0], arena)
        forward(values, steps, parameters, buffers, arena, saved, scratch, batch, False, nothing)
        for h in range(value.height):
            for w in range(value.width):
                seen = row(arena, value.at, value, h, w, 0, value.channels * batch, batch)
                to = (h * value.width + w) * value.channels
                for b in range(min(batch, len(examples) - first)):
                    for k in range(value.channels):
                        out[first + b, to + k] = seen[k * batch + b]


@compiled
def statistics(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    examples: np.ndarray,
    batch: int,
    mean: np.ndarray,
) -> None:
    """Take one network's normalization statistics: means over full batches of the batch's own.

    Parameters
    ----------
    values, parameters, arena, saved, scratch, examples, batch : as in `evaluate`, the arena without gradients.
    steps : the tape's, with momentum 1 in every normalization.
    buffers : (Q,), to work in.
    mean : (Q,), written.
    """
    some = np.empty(batch, np.int64)
    nothing = np.empty(0, np.uint64)
    times = len(examples) // batch
    mean[:] = 0
    for t in range(times):
        for b in range(batch):
            some[b] = t * batch + b
        buffers[:] = 0
        gather(examples, some, values[0], arena)
        forward(values, steps, parameters, buffers, arena, saved, scratch, batch, True, nothing)
        for i in range(len(mean)):
            mean[i] += buffers[i]
    for i in range(len(mean)):
        mean[i] /= mean.dtype.type(times)
