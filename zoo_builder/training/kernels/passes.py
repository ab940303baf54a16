"""The inner loops of training and measuring on a CPU, compiled by Numba: a network's whole training is a call or two.

They read a tape (see `tape`), forwards for logits and backwards for gradients. Everything a network puts out lies in
one flat array, the arena, as (height, width, channels, examples): what a convolution sees from one position is then one
contiguous block, so that it is one small matrix product a position and a row of its kernel, and nothing is ever unfolded.
One network at a time: what a small one needs in a step stays in the nearer caches. One thread.

All of it is one file; the next commit parts it.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba.extending import overload

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.internals import BLAS, ensure_blas, get_blas_kind

#: A value of a tape. `at`, `slope`: where it and its gradient begin in the arena (−1: it needs none), in numbers an example.
#: `above`, `beside`: rows and columns of zeros around it, which are what padded convolutions see.
VALUE: Final = np.dtype(
    [(name, np.int64) for name in ("at", "slope", "height", "width", "channels", "above", "beside")]
)
#: A step of a tape, from `source` (and `other`, of an addition) to `target`. `kind`: one of those below; kernel, stride and
#: padding: of a convolution; `relu`: whether one follows a normalization. `weight`, `bias`: where parameters begin (−1: there
#: are none); `mean`, `variance`: where buffers do; `saved`: where a normalization keeps its batch's statistics; `opens`,
#: `opens_other`: whether its gradient is the first that reaches the source.
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
            "opens",
            "opens_other",
        )
    ]
    + [("epsilon", np.float64), ("momentum", np.float64)]
)
CONVOLUTION, NORMALIZATION, RELU, ADDITION, MEAN = range(5)

#: Up to so many multiply–adds OpenBLAS multiplies without copying its operands first.
_SMALL: Final = 1_000_000
#: Fewer examples than this are not worth a product of their own.
_FEWEST: Final = 32
#: Columns of a matrix product whose operands the nearest cache holds.
_COLUMNS: Final = 64
#: Numbers that normalization works on at once: their coefficients stay in the nearest cache.
_STRIP: Final = 2048


def _multiply(
    m: int,
    n: int,
    k: int,
    a: Any,
    lda: int,
    turned_a: bool,
    b: Any,
    ldb: int,
    turned_b: bool,
    c: Any,
    ldc: int,
    keep: bool,
) -> None:
    """``c = a b``, or ``c += a b`` if `keep`: row-major (m, n) = (m, k)(k, n), transposed in memory where turned."""
    raise NotImplementedError


@overload(_multiply)
def _multiply_by_blas(
    m: Any,
    n: Any,
    k: Any,
    a: Any,
    lda: Any,
    turned_a: Any,
    b: Any,
    ldb: Any,
    turned_b: Any,
    c: Any,
    ldc: Any,
    keep: Any,
) -> Callable[..., None]:
    """Call the BLAS that SciPy brings, as Numba's own linear algebra does."""
    ensure_blas()
    gemm = BLAS().numba_xxgemm(a.dtype)
    kind = ord(get_blas_kind(a.dtype, "multiply"))
    nothing, one = np.zeros(1, str(a.dtype)), np.ones(1, str(a.dtype))
    plain, turned = ord("n"), ord("t")

    def multiply(
        m: Any,
        n: Any,
        k: Any,
        a: Any,
        lda: Any,
        turned_a: Any,
        b: Any,
        ldb: Any,
        turned_b: Any,
        c: Any,
        ldc: Any,
        keep: Any,
    ) -> None:
        # BLAS reads what is row-major as transposed: cᵀ = bᵀ aᵀ.
        first, second = turned if turned_b else plain, turned if turned_a else plain
        before = one if keep else nothing
        gemm(kind, first, second, n, m, k, one.ctypes, b.ctypes, ldb, a.ctypes, lda, before.ctypes, c.ctypes, ldc)

    return multiply


@compiled
def _portion(size: int, batch: int, most: int) -> int:
    """Return how many examples to multiply at once: a few from the nearest cache, or all where no product is small."""
    small = _SMALL // size
    return batch if small < _FEWEST else min(small, most, batch)


@compiled
def strip(batch: int) -> int:
    """Return how many channels normalization works on at once."""
    return max(1, _STRIP // batch)


@compiled
def _place(value: Any, row: int, column: int) -> int:
    """Return where a position's channels begin, counted from the value's own begin, in numbers an example."""
    wide = value.width + 2 * value.beside
    return ((row + value.above) * wide + column + value.beside) * value.channels  # type: ignore[no-any-return]


@compiled
def _convolve(x: Any, y: Any, step: Any, parameters: np.ndarray, arena: np.ndarray, batch: int) -> None:
    out, span = y.channels, step.kernel_width * x.channels
    columns = _portion(out * span, batch, _COLUMNS)
    for h in range(y.height):
        for w in range(y.width):
            target = (y.at + _place(y, h, w)) * batch
            if step.bias >= 0:
                _repeat(parameters[step.bias :], batch, arena[target : target + out * batch])
            for i in range(step.kernel_height):
                row, column = (
                    h * step.stride_height + i - step.padding_height,
                    w * step.stride_width - step.padding_width,
                )
                source = (x.at + _place(x, row, column)) * batch
                weight = parameters[step.weight + i * out * span :]
                keep = i > 0 or step.bias >= 0
                for b in range(0, batch, columns):
                    n = min(columns, batch - b)
                    seen, put = arena[source + b :], arena[target + b :]
                    _multiply(out, n, span, weight, span, False, seen, batch, False, put, batch, keep)


@compiled
def _convolve_backward(
    x: Any, y: Any, step: Any, parameters: np.ndarray, gradient: np.ndarray, arena: np.ndarray, batch: int
) -> None:
    out, span = y.channels, step.kernel_width * x.channels
    columns, deep = _portion(out * span, batch, _COLUMNS), _portion(out * span, batch, batch)
    if x.slope >= 0 and step.opens:
        size = (x.height + 2 * x.above) * (x.width + 2 * x.beside) * x.channels
        arena[x.slope * batch : (x.slope + size) * batch] = 0
    if step.bias >= 0:
        gradient[step.bias : step.bias + out] = 0
    for h in range(y.height):
        for w in range(y.width):
            target = (y.slope + _place(y, h, w)) * batch
            if step.bias >= 0:
                for o in range(out):
                    gradient[step.bias + o] += arena[target + o * batch : target + (o + 1) * batch].sum()
            for i in range(step.kernel_height):
                row, column = (
                    h * step.stride_height + i - step.padding_height,
                    w * step.stride_width - step.padding_width,
                )
                place, at = _place(x, row, column), step.weight + i * out * span
                source = (x.at + place) * batch
                for b in range(0, batch, deep):
                    n, keep = min(deep, batch - b), h + w + b > 0
                    slope, seen = arena[target + b :], arena[source + b :]
                    _multiply(out, span, n, slope, batch, False, seen, batch, True, gradient[at:], span, keep)
                if x.slope < 0:
                    continue
                source = (x.slope + place) * batch
                for b in range(0, batch, columns):
                    n = min(columns, batch - b)
                    slope, back = arena[target + b :], arena[source + b :]
                    _multiply(span, n, out, parameters[at:], span, True, slope, batch, False, back, batch, True)


@compiled
def _row(arena: np.ndarray, start: int, value: Any, h: int, w: int, first: int, n: int, batch: int) -> np.ndarray:
    """Return n numbers at a position, from channel `first` on: of a value, or of its gradient, as `start` says."""
    at = (start + _place(value, h, w) + first) * batch
    return arena[at : at + n]


# Rows are sliced out before anything loops over them: the compiler then knows that no index is negative, and vectorises.


@compiled
def _add_to(x: np.ndarray, sums: np.ndarray) -> None:
    for j in range(len(x)):
        sums[j] += x[j]


@compiled
def _add_squares_to(x: np.ndarray, center: np.ndarray, sums: np.ndarray) -> None:
    for j in range(len(x)):
        distance = x[j] - center[j]
        sums[j] += distance * distance


@compiled
def _scale(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    for j in range(len(x)):
        out[j] = x[j] * scale[j] + shift[j]


@compiled
def _rectify(x: np.ndarray, out: np.ndarray) -> None:
    zero = out.dtype.type(0)
    for j in range(len(x)):
        value = x[j]
        out[j] = zero if value <= 0 else value  # NaN is not ≤ 0, and stays


@compiled
def _stop_where_rectified(out: np.ndarray, slope: np.ndarray) -> None:
    zero = slope.dtype.type(0)
    for j in range(len(out)):
        passed = slope[j]
        slope[j] = zero if out[j] <= 0 else passed


@compiled
def _weigh(slope: np.ndarray, x: np.ndarray, center: np.ndarray, plain: np.ndarray, weighted: np.ndarray) -> None:
    for j in range(len(x)):
        passed = slope[j]
        plain[j] += passed
        weighted[j] += passed * (x[j] - center[j])


@compiled
def _pull(
    slope: np.ndarray,
    x: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    level: np.ndarray,
    tilt: np.ndarray,
    out: np.ndarray,
    opens: int,
) -> None:
    if opens:
        for j in range(len(x)):
            out[j] = scale[j] * slope[j] - level[j] - (x[j] - center[j]) * tilt[j]
    else:
        for j in range(len(x)):
            out[j] += scale[j] * slope[j] - level[j] - (x[j] - center[j]) * tilt[j]


@compiled
def _pass_on(slope: np.ndarray, share: float, out: np.ndarray, opens: int) -> None:
    part = out.dtype.type(share)
    if opens:
        for j in range(len(out)):
            out[j] = slope[j] * part
    else:
        for j in range(len(out)):
            out[j] += slope[j] * part


@compiled
def _channel_sums(sums: np.ndarray, batch: int, out: np.ndarray) -> None:
    for c in range(len(sums) // batch):
        out[c] = sums[c * batch : (c + 1) * batch].sum()


@compiled
def _repeat(values: np.ndarray, batch: int, out: np.ndarray) -> None:
    for c in range(len(out) // batch):
        out[c * batch : (c + 1) * batch] = values[c]


@compiled
def _normalize(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
    training: bool,
) -> None:
    """Batch normalization (Ioffe and Szegedy, ICML 2015), strips of channels at a time, with the ReLU behind it if wanted."""
    kind = arena.dtype.type
    count = x.height * x.width * batch
    wide = strip(batch)
    each = np.empty((4, wide), arena.dtype)
    for first in range(0, x.channels, wide):
        channels = min(wide, x.channels - first)
        n = channels * batch
        sums, center, scale, shift = scratch[0, :n], scratch[1, :n], scratch[2, :n], scratch[3, :n]
        if training:
            sums[:] = 0
            for h in range(x.height):
                for w in range(x.width):
                    _add_to(_row(arena, x.at, x, h, w, first, n, batch), sums)
            _channel_sums(sums, batch, each[0])
            for c in range(channels):
                each[0, c] /= kind(count)
            _repeat(each[0], batch, center)
            sums[:] = 0
            for h in range(x.height):
                for w in range(x.width):
                    _add_squares_to(_row(arena, x.at, x, h, w, first, n, batch), center, sums)
            _channel_sums(sums, batch, each[1])
            for c in range(channels):
                each[1, c] /= kind(count)
                new = kind(step.momentum)
                mean, variance = step.mean + first + c, step.variance + first + c
                buffers[mean] += new * (each[0, c] - buffers[mean])
                buffers[variance] += new * (each[1, c] * kind(count / (count - 1)) - buffers[variance])
        else:
            each[0, :channels] = buffers[step.mean + first : step.mean + first + channels]
            each[1, :channels] = buffers[step.variance + first : step.variance + first + channels]
        for c in range(channels):
            inverse = kind(1 / np.sqrt(each[1, c] + step.epsilon))
            saved[step.saved + first + c] = each[0, c]
            saved[step.saved + x.channels + first + c] = inverse
            each[2, c] = parameters[step.weight + first + c] * inverse
            each[3, c] = parameters[step.bias + first + c] - each[0, c] * each[2, c]
        _repeat(each[2], batch, scale)
        _repeat(each[3], batch, shift)
        for h in range(x.height):
            for w in range(x.width):
                out = _row(arena, y.at, y, h, w, first, n, batch)
                _scale(_row(arena, x.at, x, h, w, first, n, batch), scale, shift, out)
                if step.relu:
                    _rectify(out, out)


@compiled
def _normalize_backward(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    gradient: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
    training: bool,
) -> None:
    kind = arena.dtype.type
    count = kind(x.height * x.width * batch)
    wide = strip(batch)
    each = np.empty((5, wide), arena.dtype)
    for first in range(0, x.channels, wide):
        channels = min(wide, x.channels - first)
        n = channels * batch
        plain, weighted, center, scale = scratch[0, :n], scratch[1, :n], scratch[2, :n], scratch[3, :n]
        level, tilt = scratch[4, :n], scratch[5, :n]
        for c in range(channels):
            each[0, c] = saved[step.saved + first + c]
            each[1, c] = saved[step.saved + x.channels + first + c]
            each[2, c] = parameters[step.weight + first + c] * each[1, c]
        _repeat(each[0], batch, center)
        _repeat(each[2], batch, scale)
        plain[:] = 0
        weighted[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                slope = _row(arena, y.slope, y, h, w, first, n, batch)
                if step.relu:
                    _stop_where_rectified(_row(arena, y.at, y, h, w, first, n, batch), slope)
                _weigh(slope, _row(arena, x.at, x, h, w, first, n, batch), center, plain, weighted)
        _channel_sums(plain, batch, each[3])
        _channel_sums(weighted, batch, each[4])
        for c in range(channels):
            gradient[step.bias + first + c] = each[3, c]
            gradient[step.weight + first + c] = each[4, c] * each[1, c]
            # In evaluation mode the statistics do not depend on the batch.
            each[3, c] *= each[2, c] / count if training else kind(0)
            each[4, c] *= each[2, c] * each[1, c] * each[1, c] / count if training else kind(0)
        if x.slope < 0:
            continue
        _repeat(each[3], batch, level)
        _repeat(each[4], batch, tilt)
        for h in range(x.height):
            for w in range(x.width):
                slope = _row(arena, y.slope, y, h, w, first, n, batch)
                seen = _row(arena, x.at, x, h, w, first, n, batch)
                _pull(
                    slope, seen, center, scale, level, tilt, _row(arena, x.slope, x, h, w, first, n, batch), step.opens
                )


@compiled
def _forward_elsewhere(x: Any, other: Any, y: Any, step: Any, arena: np.ndarray, batch: int) -> None:
    """ReLU, addition, and the mean over positions."""
    n = x.channels * batch
    if step.kind == MEAN:
        arena[(y.at + _place(y, 0, 0)) * batch :][:n] = 0
    share = 1 / (x.height * x.width)
    for h in range(x.height):
        for w in range(x.width):
            seen = _row(arena, x.at, x, h, w, 0, n, batch)
            if step.kind == MEAN:
                _pass_on(seen, share, _row(arena, y.at, y, 0, 0, 0, n, batch), 0)
                continue
            out = _row(arena, y.at, y, h, w, 0, n, batch)
            if step.kind == RELU:
                _rectify(seen, out)
            else:
                _pass_on(seen, 1, out, 1)
                _pass_on(_row(arena, other.at, other, h, w, 0, n, batch), 1, out, 0)


@compiled
def _backward_elsewhere(x: Any, y: Any, step: Any, opens: int, arena: np.ndarray, batch: int) -> None:
    """Pass a gradient back through ReLU, addition, and the mean over positions, to one source."""
    n = x.channels * batch
    share = 1 / (x.height * x.width)
    for h in range(x.height):
        for w in range(x.width):
            out = _row(arena, x.slope, x, h, w, 0, n, batch)
            if step.kind == MEAN:
                _pass_on(_row(arena, y.slope, y, 0, 0, 0, n, batch), share, out, opens)
                continue
            slope = _row(arena, y.slope, y, h, w, 0, n, batch)
            if step.kind == RELU:
                _stop_where_rectified(_row(arena, y.at, y, h, w, 0, n, batch), slope)
            _pass_on(slope, 1, out, opens)


@compiled
def _gather(examples: np.ndarray, chosen: np.ndarray, x: Any, arena: np.ndarray) -> None:
    """Lay out a batch: examples (n, height · width · channels), chosen (B,)."""
    batch, long = len(chosen), x.width * x.channels
    for first in range(0, batch, 16):  # as many examples as one line of the cache holds, column by column
        for h in range(x.height):
            to = (x.at + _place(x, h, 0)) * batch
            some = chosen[first : first + 16]
            for j in range(long):
                column = arena[to + j * batch + first :][: len(some)]
                for b in range(len(some)):
                    column[b] = examples[some[b], h * long + j]


@compiled
def _forward(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
    training: bool,
) -> None:
    for i in range(len(steps)):
        step = steps[i]
        x, y = values[step.source], values[step.target]
        if step.kind == CONVOLUTION:
            _convolve(x, y, step, parameters, arena, batch)
        elif step.kind == NORMALIZATION:
            _normalize(x, y, step, parameters, buffers, arena, saved, scratch, batch, training)
        else:
            _forward_elsewhere(x, values[step.other], y, step, arena, batch)


@compiled
def _backward(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    gradient: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
    training: bool,
) -> None:
    for i in range(len(steps) - 1, -1, -1):
        step = steps[i]
        x, y = values[step.source], values[step.target]
        if step.kind == CONVOLUTION:
            _convolve_backward(x, y, step, parameters, gradient, arena, batch)
        elif step.kind == NORMALIZATION:
            _normalize_backward(x, y, step, parameters, gradient, arena, saved, scratch, batch, training)
        else:
            if x.slope >= 0:
                _backward_elsewhere(x, y, step, step.opens, arena, batch)
            if step.kind == ADDITION and values[step.other].slope >= 0:
                _backward_elsewhere(values[step.other], y, step, step.opens_other, arena, batch)


@compiled
def _cross_entropy(y: Any, labels: np.ndarray, arena: np.ndarray, batch: int, whole: int, each: np.ndarray) -> float:
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
def _own_from_others(y: Any, labels: np.ndarray, arena: np.ndarray, batch: int) -> None:
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
    kind = arena.dtype.type
    keep, decay, batch = kind(momentum), kind(weight_decay), chosen.shape[1]
    each = np.empty((2, batch), arena.dtype)
    out = values[steps[len(steps) - 1].target]
    for t in range(len(chosen)):
        _gather(examples, chosen[t], values[0], arena)
        _forward(values, steps, parameters, buffers, arena, saved, scratch, batch, True)
        losses[t] = _cross_entropy(out, labels[t], arena, batch, batch, each) / batch
        _backward(values, steps, parameters, gradient, arena, saved, scratch, batch, True)
        rate = kind(rates[t])
        for i in range(len(parameters)):
            speed = keep * velocity[i] + (gradient[i] + decay * parameters[i])
            velocity[i] = speed
            parameters[i] -= rate * speed


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
    loss, wrong = 0.0, 0
    for first in range(0, len(chosen), batch):
        for b in range(batch):  # the last batch is filled up with its last example
            some[b] = chosen[min(first + b, len(chosen) - 1)]
        _gather(examples, some, values[0], arena)
        _forward(values, steps, parameters, buffers, arena, saved, scratch, batch, False)
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
    shown : row of the value, one without positions: the logits, or what the last layer sees.
    out : (n, channels), written.
    """
    value = values[shown]
    some = np.empty(batch, np.int64)
    for first in range(0, len(examples), batch):
        for b in range(batch):
            some[b] = min(first + b, len(examples) - 1)
        _gather(examples, some, values[0], arena)
        _forward(values, steps, parameters, buffers, arena, saved, scratch, batch, False)
        seen = arena[value.at * batch :][: value.channels * batch].reshape(value.channels, batch)
        for b in range(min(batch, len(examples) - first)):
            for k in range(value.channels):
                out[first + b, k] = seen[k, b]


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
    times = len(examples) // batch
    mean[:] = 0
    for t in range(times):
        for b in range(batch):
            some[b] = t * batch + b
        buffers[:] = 0
        _gather(examples, some, values[0], arena)
        _forward(values, steps, parameters, buffers, arena, saved, scratch, batch, True)
        for i in range(len(mean)):
            mean[i] += buffers[i]
    for i in range(len(mean)):
        mean[i] /= mean.dtype.type(times)


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
    chosen, labels : examples and their labels, int64 (m,).
    batch : examples at a time; in training mode m, for they are one batch.
    training : whether normalization uses the batch's statistics; buffers are then changed.
    gradient : (P,), written.
    """
    out = values[steps[len(steps) - 1].target]
    each = np.empty((2, batch), arena.dtype)
    some = np.empty(batch, np.int64)
    loss = 0.0
    gradient[:] = 0
    for first in range(0, len(chosen), batch):
        for b in range(batch):
            some[b] = chosen[min(first + b, len(chosen) - 1)]
        _gather(examples, some, values[0], arena)
        _forward(values, steps, parameters, buffers, arena, saved, scratch, batch, training)
        own = labels[first : first + batch]
        loss += _cross_entropy(out, own, arena, batch, len(chosen), each)
        _own_from_others(out, own, arena, batch)
        _backward(values, steps, parameters, part, arena, saved, scratch, batch, training)
        for i in range(len(gradient)):
            gradient[i] += part[i]
    return loss / len(chosen)


# Hessian–vector products: the derivative of the two loops above along a direction of the parameters (Pearlmutter, Fast exact
# multiplication by the Hessian, Neural Computation 1994), in evaluation mode. A second arena, of the same places, holds the
# derivatives of what the first one holds. Values that do not depend on parameters have none: their `slope` is −1.


@compiled
def _convolve_along(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    batch: int,
) -> None:
    out, span = y.channels, step.kernel_width * x.channels
    columns = _portion(out * span, batch, _COLUMNS)
    for h in range(y.height):
        for w in range(y.width):
            target = (y.at + _place(y, h, w)) * batch
            if step.bias >= 0:
                _repeat(direction[step.bias :], batch, along[target : target + out * batch])
            for i in range(step.kernel_height):
                row, column = (
                    h * step.stride_height + i - step.padding_height,
                    w * step.stride_width - step.padding_width,
                )
                source, at = (x.at + _place(x, row, column)) * batch, step.weight + i * out * span
                keep = i > 0 or step.bias >= 0
                for b in range(0, batch, columns):
                    n = min(columns, batch - b)
                    put = along[target + b :]
                    _multiply(
                        out, n, span, direction[at:], span, False, arena[source + b :], batch, False, put, batch, keep
                    )
                    if x.slope >= 0:
                        seen = along[source + b :]
                        _multiply(out, n, span, parameters[at:], span, False, seen, batch, False, put, batch, True)


@compiled
def _convolve_backward_along(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    product: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    batch: int,
) -> None:
    out, span = y.channels, step.kernel_width * x.channels
    columns, deep = _portion(out * span, batch, _COLUMNS), _portion(out * span, batch, batch)
    if x.slope >= 0 and step.opens:
        size = (x.height + 2 * x.above) * (x.width + 2 * x.beside) * x.channels
        along[x.slope * batch : (x.slope + size) * batch] = 0
    for h in range(y.height):
        for w in range(y.width):
            target = (y.slope + _place(y, h, w)) * batch
            if step.bias >= 0:
                for o in range(out):
                    product[step.bias + o] += along[target + o * batch : target + (o + 1) * batch].sum()
            for i in range(step.kernel_height):
                row, column = (
                    h * step.stride_height + i - step.padding_height,
                    w * step.stride_width - step.padding_width,
                )
                place, at = _place(x, row, column), step.weight + i * out * span
                source, weight = (x.at + place) * batch, product[at:]
                for b in range(0, batch, deep):
                    n = min(deep, batch - b)
                    pull, seen = along[target + b :], arena[source + b :]
                    _multiply(out, span, n, pull, batch, False, seen, batch, True, weight, span, True)
                    if x.slope >= 0:
                        slope, moved = arena[target + b :], along[source + b :]
                        _multiply(out, span, n, slope, batch, False, moved, batch, True, weight, span, True)
                if x.slope < 0:
                    continue
                source = (x.slope + place) * batch
                for b in range(0, batch, columns):
                    n = min(columns, batch - b)
                    slope, pull, back = arena[target + b :], along[target + b :], along[source + b :]
                    _multiply(span, n, out, parameters[at:], span, True, pull, batch, False, back, batch, True)
                    _multiply(span, n, out, direction[at:], span, True, slope, batch, False, back, batch, True)


@compiled
def _move(
    x: np.ndarray,
    moved: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    tilt: np.ndarray,
    level: np.ndarray,
    out: np.ndarray,
) -> None:
    for j in range(len(x)):
        out[j] = scale[j] * moved[j] + (x[j] - center[j]) * tilt[j] + level[j]


@compiled
def _weigh_along(
    pull: np.ndarray,
    slope: np.ndarray,
    x: np.ndarray,
    moved: np.ndarray,
    center: np.ndarray,
    plain: np.ndarray,
    weighted: np.ndarray,
) -> None:
    for j in range(len(x)):
        plain[j] += pull[j]
        weighted[j] += pull[j] * (x[j] - center[j]) + slope[j] * moved[j]


@compiled
def _pull_along(
    pull: np.ndarray, slope: np.ndarray, scale: np.ndarray, tilt: np.ndarray, out: np.ndarray, opens: int
) -> None:
    if opens:
        for j in range(len(pull)):
            out[j] = scale[j] * pull[j] + tilt[j] * slope[j]
    else:
        for j in range(len(pull)):
            out[j] += scale[j] * pull[j] + tilt[j] * slope[j]


@compiled
def _normalize_along(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
) -> None:
    wide = strip(batch)
    each = np.empty((4, wide), arena.dtype)
    for first in range(0, x.channels, wide):
        channels = min(wide, x.channels - first)
        n = channels * batch
        center, scale, tilt, level = scratch[0, :n], scratch[1, :n], scratch[2, :n], scratch[3, :n]
        for c in range(channels):
            inverse = saved[step.saved + x.channels + first + c]
            each[0, c] = saved[step.saved + first + c]
            each[1, c] = parameters[step.weight + first + c] * inverse
            each[2, c] = direction[step.weight + first + c] * inverse
            each[3, c] = direction[step.bias + first + c]
        _repeat(each[0], batch, center)
        _repeat(each[1], batch, scale)
        _repeat(each[2], batch, tilt)
        _repeat(each[3], batch, level)
        for h in range(x.height):
            for w in range(x.width):
                seen = _row(arena, x.at, x, h, w, first, n, batch)
                out = _row(along, y.at, y, h, w, first, n, batch)
                _move(seen, _row(along, x.at, x, h, w, first, n, batch), center, scale, tilt, level, out)
                if step.relu:
                    _stop_where_rectified(_row(arena, y.at, y, h, w, first, n, batch), out)


@compiled
def _normalize_backward_along(
    x: Any,
    y: Any,
    step: Any,
    parameters: np.ndarray,
    direction: np.ndarray,
    product: np.ndarray,
    arena: np.ndarray,
    along: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    batch: int,
) -> None:
    wide = strip(batch)
    each = np.empty((5, wide), arena.dtype)
    for first in range(0, x.channels, wide):
        channels = min(wide, x.channels - first)
        n = channels * batch
        plain, weighted, center = scratch[0, :n], scratch[1, :n], scratch[2, :n]
        scale, tilt = scratch[3, :n], scratch[4, :n]
        for c in range(channels):
            inverse = saved[step.saved + x.channels + first + c]
            each[0, c] = saved[step.saved + first + c]
            each[1, c] = parameters[step.weight + first + c] * inverse
            each[2, c] = direction[step.weight + first + c] * inverse
        _repeat(each[0], batch, center)
        _repeat(each[1], batch, scale)
        _repeat(each[2], batch, tilt)
        plain[:] = 0
        weighted[:] = 0
        for h in range(x.height):
            for w in range(x.width):
                slope = _row(arena, y.slope, y, h, w, first, n, batch)
                pull = _row(along, y.slope, y, h, w, first, n, batch)
                if step.relu:
                    _stop_where_rectified(_row(arena, y.at, y, h, w, first, n, batch), pull)
                seen, moved = _row(arena, x.at, x, h, w, first, n, batch), _row(along, x.at, x, h, w, first, n, batch)
                _weigh_along(pull, slope, seen, moved, center, plain, weighted)
                if x.slope >= 0:
                    _pull_along(pull, slope, scale, tilt, _row(along, x.slope, x, h, w, first, n, batch), step.opens)
        _channel_sums(plain, batch, each[3])
        _channel_sums(weighted, batch, each[4])
        for c in range(channels):
            product[step.bias + first + c] += each[3, c]
            product[step.weight + first + c] += each[4, c] * saved[step.saved + x.channels + first + c]


@compiled
def _rectify_along(
    x: Any, y: Any, opens: int, backward: bool, arena: np.ndarray, along: np.ndarray, batch: int
) -> None:
    n = x.channels * batch
    for h in range(x.height):
        for w in range(x.width):
            after = _row(arena, y.at, y, h, w, 0, n, batch)
            if backward:
                pull = _row(along, y.slope, y, h, w, 0, n, batch)
                _stop_where_rectified(after, pull)
                _pass_on(pull, 1, _row(along, x.slope, x, h, w, 0, n, batch), opens)
            else:
                moved = _row(along, y.at, y, h, w, 0, n, batch)
                _pass_on(_row(along, x.at, x, h, w, 0, n, batch), 1, moved, 1)
                _stop_where_rectified(after, moved)


@compiled
def _cross_entropy_along(
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
    _own_from_others(y, labels, along, batch)


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
    labels : int64 (n,), of all examples.
    batch : examples at a time.
    ready : whether `arenas` are from an earlier call with the same parameters, buffers and examples.
    directions : (V, P).
    products : (V, P), written.
    """
    out = values[steps[len(steps) - 1].target]
    each = np.empty((2, batch), arenas.dtype)
    some = np.empty(batch, np.int64)
    products[:] = 0
    for first in range(0, len(examples), batch):
        arena = arenas[(first // batch) % len(arenas)]
        own = labels[first : first + batch]
        if not ready or len(arenas) == 1:
            for b in range(batch):
                some[b] = min(first + b, len(examples) - 1)
            _gather(examples, some, values[0], arena)
            _forward(values, steps, parameters, buffers, arena, saved, scratch, batch, False)
            _cross_entropy(out, own, arena, batch, len(examples), each)
            _own_from_others(out, own, arena, batch)
            _backward(values, steps, parameters, part, arena, saved, scratch, batch, False)
        for v in range(len(directions)):
            direction, product = directions[v], products[v]
            for i in range(len(steps)):
                step = steps[i]
                x, y = values[step.source], values[step.target]
                if step.kind == CONVOLUTION:
                    _convolve_along(x, y, step, parameters, direction, arena, along, batch)
                elif step.kind == NORMALIZATION:
                    _normalize_along(x, y, step, parameters, direction, arena, along, saved, scratch, batch)
                elif step.kind == RELU:
                    _rectify_along(x, y, 1, False, arena, along, batch)
                else:
                    _forward_elsewhere(x, values[step.other], y, step, along, batch)
            _cross_entropy_along(out, own, arena, along, batch, len(examples), each[0])
            for i in range(len(steps) - 1, -1, -1):
                step = steps[i]
                x, y = values[step.source], values[step.target]
                if step.kind == CONVOLUTION:
                    _convolve_backward_along(x, y, step, parameters, direction, product, arena, along, batch)
                elif step.kind == NORMALIZATION:
                    _normalize_backward_along(
                        x, y, step, parameters, direction, product, arena, along, saved, scratch, batch
                    )
                elif step.kind == RELU:
                    if x.slope >= 0:
                        _rectify_along(x, y, step.opens, True, arena, along, batch)
                else:
                    if x.slope >= 0:
                        _backward_elsewhere(x, y, step, step.opens, along, batch)
                    if step.kind == ADDITION and values[step.other].slope >= 0:
                        _backward_elsewhere(values[step.other], y, step, step.opens_other, along, batch)
