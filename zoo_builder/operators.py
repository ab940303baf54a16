"""Operators on stacks: a leading axis of networks, a last axis of examples.

Activations have shape (S, C, H, W, B) or (S, F, B); parameters (S, …). With the batch last, a convolution is one batched
matrix product without transposed copies, and everything else runs along contiguous memory. On a CPU the inner loops are
those of `zoo_builder.kernels`; on other devices, and where a gradient must itself be differentiated, they are PyTorch's.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from zoo_builder import kernels

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


def on_cpu(values: Tensor) -> bool:
    """Tell whether the compiled loops of `zoo_builder.kernels` can work on a tensor."""
    return values.device.type == "cpu"


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
        size, channels, height, width, batch = x.shape
        high, wide = _positions(x.shape[2:4], kernel, stride, padding)
        taps = kernel[0] * kernel[1]
        out = x.new_empty(size * channels, taps, high, wide, batch)
        if on_cpu(x):
            planes = x.contiguous().view(size * channels, height, width, batch)
            kernels.unfold(planes.numpy(), out.numpy(), kernel, stride, padding)
        else:
            padded = functional.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0]))
            planes = padded.view(size * channels, *padded.shape[2:])
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
        if on_cpu(unfolded):
            out = unfolded.new_empty(size * channels, height, width, batch)
            kernels.fold(seen.numpy(), out.numpy(), kernel, stride, padding)
        else:
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
    if on_cpu(x):
        normalized, mean, variance = _apply(_Normalize, x, weight, bias, epsilon, relu)
        return normalized, mean, variance
    return _normalize(x, weight, bias, epsilon, relu)


def _normalize(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, relu: bool) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.flatten(2)
    variance, mean = torch.var_mean(rows, dim=2, correction=0, keepdim=True)
    scaled = (rows - mean) * (torch.rsqrt(variance + epsilon) * weight[:, :, None]) + bias[:, :, None]
    normalized = (scaled.relu() if relu else scaled).view(x.shape)
    return normalized, mean.detach().squeeze(2), variance.detach().squeeze(2)


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous()
        rows = x.shape[0] * x.shape[1]
        out, statistics = torch.empty_like(x), x.new_empty(2, *x.shape[:2])
        kernels.normalize(
            x.view(rows, -1).numpy(),
            weight.reshape(rows).numpy(),
            bias.reshape(rows).numpy(),
            epsilon,
            relu,
            out.view(rows, -1).numpy(),
            statistics.view(2, rows).numpy(),
        )
        mean, variance = statistics.unbind()
        ctx.save_for_backward(x, weight, bias, statistics)
        ctx.how = (epsilon, relu)
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Any) -> Any:
        x, weight, bias, statistics = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will itself be differentiated
            wanted = [i for i in range(3) if ctx.needs_input_grad[i]]
            out = _normalize(x, weight, bias, *ctx.how)[0]
            slopes = torch.autograd.grad(out, [(x, weight, bias)[i] for i in wanted], slope, create_graph=True)
            by_input: dict[int, Tensor] = dict(zip(wanted, slopes, strict=True))
            return *(by_input.get(i) for i in range(3)), None, None
        rows = x.shape[0] * x.shape[1]
        epsilon, relu = ctx.how
        x_slope, affine_slope = torch.empty_like(x), torch.empty_like(statistics)
        kernels.normalize_backward(
            slope.contiguous().view(rows, -1).numpy(),
            x.view(rows, -1).numpy(),
            weight.reshape(rows).numpy(),
            bias.reshape(rows).numpy(),
            statistics.view(2, rows).numpy(),
            epsilon,
            relu,
            x_slope.view(rows, -1).numpy(),
            affine_slope.view(2, rows).numpy(),
        )
        return x_slope, *affine_slope.unbind(), None, None


def gather(examples: Tensor, chosen: Tensor) -> Tensor:
    """Return each network's batch: examples (n, F…), chosen (S, B) → (S, F…, B)."""
    flat = examples.flatten(1)
    out = flat.new_empty(chosen.shape[0], flat.shape[1], chosen.shape[1])
    if on_cpu(flat):
        kernels.gather(flat.numpy(), chosen.numpy(), out.numpy())
    else:
        out.copy_(flat[chosen].transpose(1, 2))
    return out.view(chosen.shape[0], *examples.shape[1:], chosen.shape[1])


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each network's mean cross-entropy in nats, (S,), and its gradient with respect to the logits, (S, K, B).

    Parameters
    ----------
    logits : (S, K, B).
    labels : class numbers, int64 (S, B).
    """
    if on_cpu(logits):
        loss, slope = logits.new_empty(len(logits)), torch.empty_like(logits, memory_format=torch.contiguous_format)
        kernels.cross_entropy(logits.detach().contiguous().numpy(), labels.numpy(), loss.numpy(), slope.numpy())
        return loss, slope
    with torch.no_grad():
        logarithms = logits.log_softmax(1)
        own = labels[:, None]
        slope = logarithms.exp().scatter_add(1, own, logits.new_full((), -1).expand(own.shape)) / labels.shape[1]
        return -logarithms.gather(1, own).mean((1, 2)), slope


class Descent:
    """Stochastic gradient descent with momentum on a stack, each network with its own learning rate and weight decay.

    ``v ← momentum · v + slope + weight_decay · p``, ``p ← p − learning_rate · v``, as `torch.optim.SGD` does.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        momentum: float,
        weight_decay: Tensor,
        velocities: Iterable[Tensor] | None = None,
    ) -> None:
        """Begin a descent.

        Parameters
        ----------
        parameters : (S, …) each; changed in place.
        momentum : share of the velocity that is kept at a step.
        weight_decay : (S,).
        velocities : like `parameters`; zeros if left out.
        """
        self._parameters = [parameter.detach() for parameter in parameters]
        self.velocities = (
            [torch.zeros_like(parameter) for parameter in self._parameters] if velocities is None else list(velocities)
        )
        self._momentum, self._weight_decay = momentum, weight_decay
        # The arrays that the kernel works on: they stay where they are from step to step.
        self._arrays = [
            (_rows(parameter).numpy(), _rows(velocity).numpy())
            for parameter, velocity in zip(self._parameters, self.velocities, strict=True)
            if on_cpu(parameter)
        ]

    def step(self, slopes: Iterable[Tensor], learning_rate: Tensor) -> None:
        """Take a step: slopes like the parameters, learning_rate (S,)."""
        if self._arrays:
            rates, decays = learning_rate.numpy(), self._weight_decay.numpy()
            for (row, speed), slope in zip(self._arrays, slopes, strict=True):
                kernels.descend(row, speed, _rows(slope).numpy(), rates, self._momentum, decays)
            return
        for at, slope in enumerate(slopes):
            parameter, velocity = self._parameters[at], self.velocities[at]
            each = (-1, *[1] * (parameter.dim() - 1))
            decay, rate = (values.to(parameter.dtype).view(each) for values in (self._weight_decay, learning_rate))
            velocity.mul_(self._momentum).add_(slope).addcmul_(parameter, decay)
            parameter.addcmul_(velocity, rate, value=-1)


def _rows(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)
