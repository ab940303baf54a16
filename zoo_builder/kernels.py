"""The inner loops of stacked training on a CPU, compiled by Numba.

PyTorch's own operators for these steps go over memory several times where once is enough, and its batch statistics are not
vectorised.
Every array is C-contiguous; the batch is the last axis, so that the innermost loops are long and contiguous. One thread.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

#: Sums may be taken in any order, which lets them be vectorised. NaN and infinity keep their meaning: divergence must show.
_REASSOCIATED = {"reassoc", "contract", "arcp", "nsz"}


def _compiled(function: F) -> F:
    compiled: Any = njit(cache=True, error_model="numpy", fastmath=_REASSOCIATED)(function)
    return cast(F, compiled)


def _memcpy(typing_context: Any, to: Any, start: Any, source: Any, at: Any, count: Any) -> Any:
    """``to[start:start+count] = source[at:at+count]`` of two flat arrays as one memcpy, which a loop does not become."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        into, first, out_of, offset, items = arguments
        target = context.make_array(signature.args[0])(context, builder, into)
        origin = context.make_array(signature.args[2])(context, builder, out_of)
        to_pointer, from_pointer = builder.gep(target.data, [first]), builder.gep(origin.data, [offset])
        cgutils.raw_memcpy(builder, to_pointer, from_pointer, items, target.itemsize)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(to, types.intp, source, types.intp, types.intp), emit


_copy: Any = intrinsic(_memcpy)


@_compiled
def gather(examples: np.ndarray, chosen: np.ndarray, out: np.ndarray) -> None:
    """``out[s, f, b] = examples[chosen[s, b], f]``: each network's batch, shapes (n, F), (S, B), (S, F, B)."""
    for s in range(chosen.shape[0]):
        for b in range(chosen.shape[1]):
            row = examples[chosen[s, b]]
            for f in range(row.shape[0]):
                out[s, f, b] = row[f]


@_compiled
def unfold(
    x: np.ndarray, out: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """Copy what each kernel tap sees: (R, H, W, B) → (R, taps, H', W', B), zeros beyond the edges."""
    rows, height, width, batch = x.shape
    high, wide = out.shape[2], out.shape[3]
    source, target = x.reshape(-1), out.reshape(-1)
    at = 0
    for r in range(rows):
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                for h in range(high):
                    y = h * stride[0] + i - padding[0]
                    for w in range(wide):
                        z = w * stride[1] + j - padding[1]
                        if 0 <= y < height and 0 <= z < width:
                            _copy(target, at, source, ((r * height + y) * width + z) * batch, batch)
                        else:
                            target[at : at + batch] = 0
                        at += batch


@_compiled
def fold(
    unfolded: np.ndarray, out: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """Add up what the kernel taps saw, where they saw it: the adjoint of `unfold`."""
    rows, height, width, batch = out.shape
    high, wide = unfolded.shape[2], unfolded.shape[3]
    for r in range(rows):
        out[r] = 0
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                seen = unfolded[r, i * kernel[1] + j]
                for h in range(high):
                    y = h * stride[0] + i - padding[0]
                    if 0 <= y < height:
                        for w in range(wide):
                            z = w * stride[1] + j - padding[1]
                            if 0 <= z < width:
                                for b in range(batch):
                                    out[r, y, z, b] += seen[h, w, b]


@_compiled
def normalize(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    epsilon: float,
    relu: bool,
    out: np.ndarray,
    statistics: np.ndarray,
) -> None:
    """Batch normalization of rows, and a ReLU behind it if wanted: x and out (R, n), weight and bias (R,), statistics (2, R).

    Row by row, so that a row's two passes for its statistics and the third find it in the nearest cache.
    """
    rows, n = x.shape
    kind = x.dtype.type
    for r in range(rows):
        total = kind(0)
        for i in range(n):
            total += x[r, i]
        center = kind(total / n)
        spread = kind(0)
        for i in range(n):
            distance = x[r, i] - center
            spread += distance * distance
        variance = kind(spread / n)
        statistics[0, r], statistics[1, r] = center, variance
        scale = kind(weight[r] / np.sqrt(variance + epsilon))
        shift = kind(bias[r] - center * scale)
        if relu:
            for i in range(n):
                value = x[r, i] * scale + shift
                out[r, i] = kind(0) if value <= 0 else value  # NaN is not ≤ 0, and stays
        else:
            for i in range(n):
                out[r, i] = x[r, i] * scale + shift


@_compiled
def normalize_backward(
    slope: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    statistics: np.ndarray,
    epsilon: float,
    relu: bool,
    x_slope: np.ndarray,
    affine_slope: np.ndarray,
) -> None:
    """Gradients of `normalize`, given that of its output: slope and x_slope (R, n), affine_slope (2, R): weight, bias."""
    rows, n = x.shape
    kind = x.dtype.type
    for r in range(rows):
        center = statistics[0, r]
        inverse = kind(1 / np.sqrt(statistics[1, r] + epsilon))
        scale = kind(weight[r] * inverse)
        shift = kind(bias[r] - center * scale)
        plain, weighted = kind(0), kind(0)
        for i in range(n):
            passed = slope[r, i]
            if relu and x[r, i] * scale + shift <= 0:
                passed = kind(0)
            x_slope[r, i] = passed
            plain += passed
            weighted += passed * (x[r, i] - center)
        affine_slope[0, r], affine_slope[1, r] = weighted * inverse, plain
        level, tilt = kind(plain / n), kind(weighted * inverse * inverse / n)
        for i in range(n):
            x_slope[r, i] = scale * (x_slope[r, i] - level - (x[r, i] - center) * tilt)


@_compiled
def cross_entropy(logits: np.ndarray, labels: np.ndarray, loss: np.ndarray, slope: np.ndarray) -> None:
    """Mean cross-entropy of each network and its gradient: logits and slope (S, K, B), labels (S, B), loss (S,)."""
    networks, classes, batch = logits.shape
    kind = logits.dtype.type
    for s in range(networks):
        total = kind(0)
        for b in range(batch):
            top = logits[s, 0, b]
            for k in range(1, classes):
                top = max(top, logits[s, k, b])
            mass = kind(0)
            for k in range(classes):
                part = np.exp(logits[s, k, b] - top)
                slope[s, k, b] = part
                mass += part
            for k in range(classes):
                slope[s, k, b] /= mass * kind(batch)
            own = labels[s, b]
            total += np.log(mass) + top - logits[s, own, b]
            slope[s, own, b] -= kind(1) / kind(batch)
        loss[s] = total / kind(batch)


@_compiled
def descend(
    parameters: np.ndarray,
    velocity: np.ndarray,
    slope: np.ndarray,
    learning_rate: np.ndarray,
    momentum: float,
    weight_decay: np.ndarray,
) -> None:
    """One step of SGD with momentum: (S, n) in place, each network with its own learning rate and weight decay, (S,)."""
    kind = parameters.dtype.type
    keep = kind(momentum)
    for s in range(parameters.shape[0]):
        rate, decay = kind(learning_rate[s]), kind(weight_decay[s])
        for i in range(parameters.shape[1]):
            speed = keep * velocity[s, i] + (slope[s, i] + decay * parameters[s, i])
            velocity[s, i] = speed
            parameters[s, i] -= rate * speed
