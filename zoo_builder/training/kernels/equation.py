"""What an equation asks of a jet: a weighted sum of its parts and of the value's square.

Each example has weights of its own. They stand behind the points in the input, see
`zoo_builder.specification.datasets.equations.PosedEquation.weighed`. The bias of the last linear layer stands here, for
derivatives have none.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.coordinates import directions
from zoo_builder.training.kernels.layout import row


@compiled
def forward(x: Any, asked: Any, y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write what is asked, and add the bias to the value, also to that a period further."""
    partner, bias = 1 + step.order * directions(step.along), parameters[step.bias]
    out, value = row(arena, y.at, y, 0, 0, 0, batch, batch), row(arena, x.at, x, 0, 0, 0, batch, batch)
    _shift(value, bias)
    if partner < x.width:
        _shift(row(arena, x.at, x, 0, partner, 0, batch, batch), bias)
    square, added = _weights(asked, arena, x.width, x.width, batch), _weights(asked, arena, x.width + 1, x.width, batch)
    for b in range(batch):
        out[b] = square[b] * value[b] * value[b] + added[b]
    for i in range(x.width):
        weight, part = _weights(asked, arena, i, x.width, batch), row(arena, x.at, x, 0, i, 0, batch, batch)
        for b in range(batch):
            out[b] += weight[b] * part[b]


@compiled
def backward(x: Any, asked: Any, y: Any, step: Any, gradient: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the bias's gradient and the jet's, which nothing else uses."""
    partner = 1 + step.order * directions(step.along)
    pull, value = row(arena, y.slope, y, 0, 0, 0, batch, batch), row(arena, x.at, x, 0, 0, 0, batch, batch)
    square, two = _weights(asked, arena, x.width, x.width, batch), arena.dtype.type(2)
    for i in range(x.width):
        weight, out = _weights(asked, arena, i, x.width, batch), row(arena, x.slope, x, 0, i, 0, batch, batch)
        for b in range(batch):
            out[b] = weight[b] * pull[b]
        if i == 0:
            for b in range(batch):
                out[b] += two * square[b] * value[b] * pull[b]
            gradient[step.bias] = out.sum()
        elif i == partner:
            gradient[step.bias] += out.sum()


@compiled
def _weights(asked: Any, arena: np.ndarray, which: int, parts: int, batch: int) -> np.ndarray:
    """Return the weights of a part of the jet, (B,); behind those of its parts, of the square, and what is added."""
    return row(arena, asked.at, asked, 0, 0, asked.channels - parts - 2 + which, batch, batch)


@compiled
def _shift(x: np.ndarray, bias: float) -> None:
    for b in range(len(x)):
        x[b] += bias
