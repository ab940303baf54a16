"""How a network lies in memory: the tables of its tape, and the arena that holds everything it puts out.

The arena is one flat array, (height, width, channels, examples): what a convolution sees from one position is one contiguous
block, so that nothing is ever unfolded.
"""

from typing import Any, Final

import numpy as np

from zoo_builder.training.kernels.compilation import compiled

#: A value of a tape. `at`, `slope`: where it and its gradient begin in the arena (−1: it needs none), in numbers an example.
#: `above`, `beside`: rows and columns of zeros around it, which are what padded convolutions see.
VALUE: Final = np.dtype(
    [(name, np.int64) for name in ("at", "slope", "height", "width", "channels", "above", "beside")]
)
#: A step of a tape, from `source` (and `other`, of an addition or concatenation) to `target`. `kind`: one of those below;
#: `function`: which activation or pooling; kernel, stride and padding: of a convolution or pooling; `relu`: whether one
#: follows a normalization. `weight`, `bias`: where parameters begin (−1: there are none); `mean`, `variance`: where buffers
#: do; `saved`: where a normalization keeps its batch's statistics; `groups`: of channels that are normalized together, whose
#: statistics are the value `other`, or how many Fourier features there are, or heads of attention, whose weights are the
#: value `other`; `causal`: whether no query sees later keys; `layer`, `rate`: of dropout, its place among the network's and
#: what share is dropped, its strides being how far apart channels (height) and positions (width) are in its mask; `rows`: of
#: an embedding, and whether its table is `shared` with a later step; `along`, `order`: of a jet, whose derivatives up to an
#: order are along coordinate i where bit i is set; `opens`, `opens_other`: whether its gradient is the first that reaches the
#: source.
STEP: Final = np.dtype(
    [
        (name, np.int64)
        for name in (
            "kind",
            "source",
            "other",
            "target",
            "weight",
            "bias",
            "kernel_height",
            "kernel_width",
            "stride_height",
            "stride_width",
            "padding_height",
            "padding_width",
            "mean",
            "variance",
            "saved",
            "relu",
            "function",
            "groups",
            "layer",
            "along",
            "order",
            "opens",
            "opens_other",
            "causal",
            "rows",
            "shared",
        )
    ]
    + [("epsilon", np.float64), ("momentum", np.float64), ("rate", np.float64)]
)
CONVOLUTION, NORMALIZATION, RELU, ADDITION, MEAN, ACTIVATION, GROUPS, DROPOUT, POOLING, TRANSPOSED, CONCATENATION = (
    range(11)
)
#: Of equations, whose tapes have no second derivatives.
COORDINATES, JET, EQUATION = range(11, 14)
#: Of tokens.
EMBEDDING, FEATURES, POSITIONS, LAYER, ATTENTION = range(14, 19)
#: Activations, poolings.
GELU, GELU_BY_TANH, TANH, SILU, SOFTPLUS, SIGMOID = range(6)
LARGEST, AVERAGE = range(2)


@compiled
def place(value: Any, h: int, w: int) -> int:
    """Return where a position's channels begin, counted from the value's own begin, in numbers an example."""
    wide = value.width + 2 * value.beside
    return ((h + value.above) * wide + w + value.beside) * value.channels  # type: ignore[no-any-return]


@compiled
def place_seen(x: Any, step: Any, h: int, w: int, i: int) -> int:
    """Return where what a position of a convolution's output sees by row i of the kernel begins; see `place`."""
    return place(x, h * step.stride_height + i - step.padding_height, w * step.stride_width - step.padding_width)


@compiled
def row(arena: np.ndarray, start: int, value: Any, h: int, w: int, first: int, n: int, batch: int) -> np.ndarray:
    """Return n numbers at a position, from channel `first` on: of a value, or of its gradient, as `start` says."""
    at = (start + place(value, h, w) + first) * batch
    return arena[at : at + n]


@compiled
def gather(examples: np.ndarray, chosen: np.ndarray, x: Any, arena: np.ndarray) -> None:
    """Lay out a batch: examples (n, height · width · channels), chosen (B,)."""
    batch, long = len(chosen), x.width * x.channels
    for first in range(0, batch, 16):  # as many examples as one line of the cache holds, column by column
        for h in range(x.height):
            to = (x.at + place(x, h, 0)) * batch
            some = chosen[first : first + 16]
            for j in range(long):
                column = arena[to + j * batch + first :][: len(some)]
                for b in range(len(some)):
                    column[b] = examples[some[b], h * long + j]
