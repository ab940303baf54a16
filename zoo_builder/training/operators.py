"""Operators on stacks: a leading axis of networks, a last axis of examples.

Activations have shape (S, C, H, W, B) or (S, F, B); parameters (S, …). With the batch last, a convolution is one batched
matrix product without transposed copies, and everything else runs along contiguous memory. Everything here is PyTorch's, on
any device, and can be differentiated any number of times.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Pair = tuple[int, int]


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    """Convolve each network's input with its own kernels.

    Parameters
    ----------
    x : (S, C, H, W, B), or (1, C, H, W, B) where all networks see the same.
    weight : (S, O, C, kh, kw).
    bias : (S, O), or None.
    stride, padding : along height and width.

    Returns
    -------
    (S, O, H', W', B), H' = (H + 2 padding − kh) // stride + 1.
    """
    size, out, _, *kernel = weight.shape
    high, wide = _positions(x.shape[2:4], (kernel[0], kernel[1]), stride, padding)
    seen = unfold(x, (kernel[0], kernel[1]), stride, padding).expand(size, -1, -1)
    product = torch.bmm(weight.flatten(2), seen)
    if bias is not None:
        product = product + bias[:, :, None]
    return product.view(size, out, high, wide, x.shape[-1])


def unfold(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """Lay out what each kernel position sees: (S, C, H, W, B) → (S, C·kh·kw, H'·W'·B). Differentiable any number of times."""
    unfolded: Tensor = _apply(_Unfold, x, kernel, stride, padding)
    return unfolded


def _positions(size: torch.Size, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    high, wide = ((size[i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
    return high, wide


def _apply(function: Any, *arguments: Any) -> Any:
    return function.apply(*arguments)


class _Unfold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        ctx.how = (tuple(x.shape), kernel, stride, padding)
        size, channels, batch = *x.shape[:2], x.shape[4]
        high, wide = _positions(x.shape[2:4], kernel, stride, padding)
        taps = kernel[0] * kernel[1]
        out = x.new_empty(size * channels, taps, high, wide, batch)
        padded = functional.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0]))
        planes = padded.reshape(size * channels, *padded.shape[2:])
        for tap, (rows, columns) in enumerate(_windows(kernel, stride, (high, wide))):
            out[:, tap] = planes[:, rows, columns]
        return out.view(size, channels * taps, high * wide * batch)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        return _apply(_Fold, slope, *ctx.how), None, None, None


class _Fold(torch.autograd.Function):
    """The adjoint of `_Unfold`, and it of this: derivatives of any order are a matter of going back and forth."""

    @staticmethod
    def forward(
        ctx: Any, unfolded: Tensor, shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair
    ) -> Tensor:
        ctx.how = (kernel, stride, padding)
        size, channels, height, width, batch = shape
        high, wide = _positions(torch.Size(shape[2:4]), kernel, stride, padding)
        seen = unfolded.reshape(size * channels, kernel[0] * kernel[1], high, wide, batch)
        padded = unfolded.new_zeros(size * channels, height + 2 * padding[0], width + 2 * padding[1], batch)
        for tap, (rows, columns) in enumerate(_windows(kernel, stride, (high, wide))):
            padded[:, rows, columns] += seen[:, tap]
        out = padded[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width]
        return out.reshape(shape)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        return _apply(_Unfold, slope, *ctx.how), None, None, None, None


def _windows(kernel: Pair, stride: Pair, positions: Pair) -> list[tuple[slice, slice]]:
    """For each tap, the rows and columns of a padded plane that it sees."""
    return [
        (
            slice(i, i + stride[0] * (positions[0] - 1) + 1, stride[0]),
            slice(j, j + stride[1] * (positions[1] - 1) + 1, stride[1]),
        )
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]


def normalize(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, *, relu: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize each channel over its batch (Ioffe and Szegedy, ICML 2015), with a ReLU behind it if wanted.

    Parameters
    ----------
    x : (S, C, …, B).
    weight, bias : (S, C).
    epsilon : added to the variance.
    relu : whether max(0, ·) is applied to the result.

    Returns
    -------
    normalized : (S, C, …, B).
    mean, variance : statistics of the batch, the variance divided by n, (S, C), detached.
    """
    rows = x.flatten(2)
    variance, mean = torch.var_mean(rows, dim=2, correction=0, keepdim=True)
    scaled = (rows - mean) * (torch.rsqrt(variance + epsilon) * weight[:, :, None]) + bias[:, :, None]
    normalized = (scaled.relu() if relu else scaled).view(x.shape)
    return normalized, mean.detach().squeeze(2), variance.detach().squeeze(2)


def gather(examples: Tensor, chosen: Tensor) -> Tensor:
    """Return each network's batch: examples (n, F…), chosen (S, B) → (S, F…, B)."""
    return examples[chosen].movedim(1, -1).contiguous()


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each network's mean cross-entropy in nats, (S,), and its gradient with respect to the logits, (S, K, B).

    Parameters
    ----------
    logits : (S, K, B).
    labels : class numbers, int64 (S, B).
    """
    with torch.no_grad():
        logarithms = logits.log_softmax(1)
        own = labels[:, None]
        slope = logarithms.exp().scatter_add(1, own, logits.new_full((), -1).expand(own.shape)) / labels.shape[1]
        return -logarithms.gather(1, own).mean((1, 2)), slope
