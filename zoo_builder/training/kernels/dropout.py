"""Dropout, by the masks of `zoo_builder.specification.Dropout`: numbers of SplitMix64, which need no others before them."""

from typing import Any, Final

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import row

#: As there; what compiled loops are made of stands in their own room, by whose sources they are kept.
_BITS: Final = 24
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _UPPER = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(64 - _BITS)


@compiled
def forward(x: Any, y: Any, step: Any, arena: np.ndarray, keys: np.ndarray, batch: int) -> None:
    """Write the output; `keys` (D,), one a dropout layer, or none where nothing is dropped."""
    _multiply(x, y, x.at, y.at, step, arena, keys, batch, 1)


@compiled
def backward(x: Any, y: Any, step: Any, arena: np.ndarray, keys: np.ndarray, batch: int) -> None:
    """Write the input's gradient, or what it adds to it."""
    if x.slope >= 0:
        _multiply(y, x, y.slope, x.slope, step, arena, keys, batch, step.opens)


@compiled
def _multiply(
    source: Any,
    target: Any,
    source_at: int,
    target_at: int,
    step: Any,
    arena: np.ndarray,
    keys: np.ndarray,
    batch: int,
    opens: int,
) -> None:
    """Write the source's values times the mask, or add them to the target's."""
    kind = arena.dtype.type
    channels, positions = source.channels, source.height * source.width
    each, n = np.uint64(channels * positions), channels * batch
    drops = len(keys) > 0
    key = keys[step.layer] if drops else np.uint64(0)
    zero, scale = kind(0), kind(1 / (1 - step.rate)) if drops else kind(1)
    least = np.uint64(round(step.rate * 2**_BITS)) if drops else np.uint64(0)
    for h in range(source.height):
        for w in range(source.width):
            seen = row(arena, source_at, source, h, w, 0, n, batch)
            out = row(arena, target_at, target, h, w, 0, n, batch)
            for c in range(channels):
                place = c * step.stride_height + (h * source.width + w) * step.stride_width
                begin = key + _GOLDEN * np.uint64(place + 1)
                some, put = seen[c * batch : (c + 1) * batch], out[c * batch : (c + 1) * batch]
                if opens:
                    for b in range(batch):
                        put[b] = some[b] * (scale if _upper(begin + _GOLDEN * each * np.uint64(b)) >= least else zero)
                else:
                    for b in range(batch):
                        put[b] += some[b] * (scale if _upper(begin + _GOLDEN * each * np.uint64(b)) >= least else zero)


@compiled
def _upper(z: Any) -> Any:
    """Return the bits of a number of the stream that decide."""
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return (z ^ (z >> _31)) >> _UPPER
