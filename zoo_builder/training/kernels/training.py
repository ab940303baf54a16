"""Training: a network from batch to batch."""

import numpy as np

from zoo_builder.training.kernels import cross_entropy, sgd
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import gather
from zoo_builder.training.kernels.passes import backward, forward


@compiled
def train(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    velocity: np.ndarray,
    gradient: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    examples: np.ndarray,
    chosen: np.ndarray,
    labels: np.ndarray,
    rates: np.ndarray,
    momentum: float,
    weight_decay: float,
    losses: np.ndarray,
) -> None:
    """Train one network for some steps of SGD with momentum, as `torch.optim.SGD` takes them.

    Parameters
    ----------
    values, steps : the tape: the input is its first value, the logits are the target of its last step.
    parameters, velocity, gradient : (P,); the first two are changed.
    buffers : (Q,), changed.
    arena, saved, scratch : memory to work in, see `zoo_builder.training.Memory`.
    examples : (n, height · width · channels).
    chosen, labels : examples and their labels, int64 (steps, B).
    rates : learning rates (steps,).
    momentum, weight_decay : of the optimizer.
    losses : (steps,), written: mean cross-entropies in nats.
    """
    batch = chosen.shape[1]
    each = np.empty((2, batch), arena.dtype)
    out = values[steps[len(steps) - 1].target]
    for t in range(len(chosen)):
        gather(examples, chosen[t], values[0], arena)
        forward(values, steps, parameters, buffers, arena, saved, scratch, batch, True)
        losses[t] = cross_entropy.value_and_slope(out, labels[t], arena, batch, batch, each) / batch
        backward(values, steps, parameters, gradient, arena, saved, scratch, batch, True)
        sgd.step(parameters, velocity, gradient, rates[t], momentum, weight_decay)
