"""Embedding: the rows of a table (vocabulary, channels) that token ids name.

The input holds ids, one a position; the output has its positions along its width.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row


@compiled
def forward(x: Any, y: Any, step: Any, parameters: np.ndarray, ids: np.ndarray, arena: np.ndarray, batch: int) -> None:
    """Write the output into an arena, of ids in another or the same; along a direction, that takes the table's place."""
    for t in range(y.width):
        named = ids[(x.at + t) * batch :][:batch]
        out = row(arena, y.at, y, 0, t, 0, y.channels * batch, batch)
        for c in range(y.channels):
            put = out[c * batch : (c + 1) * batch]
            for b in range(batch):
                put[b] = parameters[step.weight + np.int64(named[b]) * y.channels + c]


@compiled
def backward(x: Any, y: Any, step: Any, gradient: np.ndarray, ids: np.ndarray, slopes: np.ndarray, batch: int) -> None:
    """Add the output's gradient, in an arena `slopes`, to the rows that ids name."""
    for t in range(y.width):
        named = ids[(x.at + t) * batch :][:batch]
        slope = row(slopes, y.slope, y, 0, t, 0, y.channels * batch, batch)
        for c in range(y.channels):
            some = slope[c * batch : (c + 1) * batch]
            for b in range(batch):
                gradient[step.weight + np.int64(named[b]) * y.channels + c] += some[b]
