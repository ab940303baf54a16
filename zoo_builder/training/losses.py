"""The losses that networks are trained by, on stacks: networks first, examples last.

A loss is a mean: of each example there is a total and a weight, and the loss of a batch is the sum of the totals divided by
that of the weights, as `torch.nn.CrossEntropyLoss` has it where classes have weights or positions are masked.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mdbench.errors import MdbenchError
from zoo_builder.specification import LOSSES, MASKED, Dataset, TrainingSpec, told
from zoo_builder.specification import imported as imported_from
from zoo_builder.training.operators import cross_entropy

#: Examples that somebody's own loss is tried on, and how far two halves may be from the whole.
_TRIED, _ROUNDING = 8, 1e-6


class Loss(Protocol):
    """What networks are trained by. Outputs are (S, K, …, B), targets (S, …, B)."""

    def parts(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each example adds to the loss and what it weighs, (S, B) each."""

    def value_and_slope(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return each network's loss (S,), and its gradient with respect to the outputs, (S, K, …, B)."""


def loss_of(how: TrainingSpec, dataset: Dataset) -> Loss:
    """Return the loss that a network is trained by.

    Raises
    ------
    MdbenchError
        It is somebody's own, and cannot be imported.
    """
    name = how.loss or LOSSES[dataset.kind]
    if name == "mse":
        return _Squares()
    if name in ("cross_entropy", "per_position"):
        plain = name == "cross_entropy" and not how.label_smoothing and not how.class_weights
        return _CrossEntropy(how.label_smoothing, tuple(how.class_weights), plain)
    return _Own(name, imported(name))


def _differentiated(loss: Loss, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        seen = outputs.detach().requires_grad_()
        total, weight = loss.parts(seen, targets)
        means = total.sum(1) / weight.sum(1)
        (slope,) = torch.autograd.grad(means.sum(), seen)
    return means.detach(), slope


@dataclass(frozen=True)
class _CrossEntropy:
    """Cross-entropy in nats, of an example or of each of its positions; masked ones do not count."""

    smoothing: float
    weights: tuple[float, ...]
    plain: bool

    def parts(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        weights = outputs.new_tensor(self.weights) if self.weights else None
        each = functional.cross_entropy(
            outputs, targets, weights, ignore_index=MASKED, reduction="none", label_smoothing=self.smoothing
        )
        counts = (targets != MASKED).to(outputs.dtype)
        if weights is not None:
            counts = counts * weights[targets.clamp(min=0)]
        return (each.flatten(1, -2).sum(1), counts.flatten(1, -2).sum(1)) if each.dim() > 2 else (each, counts)

    def value_and_slope(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self.plain:
            return cross_entropy(outputs, targets)
        return _differentiated(self, outputs, targets)


@dataclass(frozen=True)
class _Squares:
    """Mean squared error, over examples and outputs."""

    def parts(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        each = (outputs - targets).square().mean(1)
        return each, torch.ones_like(each)

    def value_and_slope(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        away = outputs.detach() - targets
        slope = away * (2 / away[0].numel())
        return away.square().mean((1, 2)), slope


@dataclass(frozen=True)
class _Own:
    """Somebody's own loss of outputs (B, K, …) and targets (B, …): a number an example, or their mean."""

    name: str
    function: Callable[[Tensor, Tensor], Any]

    def parts(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        def one(output: Tensor, target: Tensor) -> Tensor:
            mean: Tensor = self.function(output[None], target[None]).mean()
            return mean

        each = self._mapped(torch.func.vmap(one), outputs, targets)
        return each, torch.ones_like(each)

    def value_and_slope(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        def whole(output: Tensor, target: Tensor) -> Tensor:
            mean: Tensor = self.function(output, target).mean()
            return mean

        with torch.enable_grad():
            seen = outputs.detach().requires_grad_()
            means = self._mapped(whole, seen, targets)
            (slope,) = torch.autograd.grad(means.sum(), seen)
        return means.detach(), slope

    def _mapped(self, function: Callable[..., Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
        try:
            return torch.func.vmap(function)(outputs.movedim(-1, 1), targets.movedim(-1, 1))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise MdbenchError(f"loss {self.name} cannot be mapped over networks: {told(error)}") from error
        except (Exception, SystemExit) as error:
            raise MdbenchError(f"loss {self.name} raises {told(error)}") from error

    def _alone(self, outputs: Tensor, targets: Tensor) -> Any:
        try:
            return self.function(outputs, targets)
        except (Exception, SystemExit) as error:
            raise MdbenchError(f"loss {self.name} raises {told(error)}") from error

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Try it on some examples, outputs (B, K, …) and targets (B, …)."""
        outputs, targets = outputs.detach()[:_TRIED].requires_grad_(), targets[:_TRIED]
        half = len(targets) // 2
        found = [self._alone(outputs, targets)]
        if not isinstance(found[0], Tensor) or found[0].shape not in ((), (len(targets),)):
            what = f"shape {tuple(found[0].shape)}" if isinstance(found[0], Tensor) else type(found[0]).__name__
            raise MdbenchError(
                f"loss {self.name} returns {what}; it must return their mean, or a number an example, as a tensor"
            )
        if not found[0].is_floating_point():
            raise MdbenchError(
                f"loss {self.name} returns {str(found[0].dtype).removeprefix('torch.')}, which has no gradient: compute it "
                "from the outputs with PyTorch"
            )
        found += [self._alone(outputs[some], targets[some]) for some in (slice(half), slice(half, None))]
        whole, first, second = (float(one.detach().mean()) for one in found)
        if not all(map(math.isfinite, (whole, first, second))):
            raise MdbenchError(
                f"loss {self.name} is not finite before any training: of {len(targets)} examples it says {whole:.6g}, of "
                f"their halves {first:.6g} and {second:.6g}"
            )
        parts = (half * first + (len(targets) - half) * second) / len(targets)
        if half and not abs(parts - whole) <= _ROUNDING * max(abs(whole), abs(parts), 1e-30):
            raise MdbenchError(
                f"loss {self.name} is not a mean over examples: of {len(targets)} it says {whole:.6g}, of their halves "
                f"{first:.6g} and {second:.6g}; divide its sum by the number of examples"
            )
        mean = found[0].mean()
        if not mean.requires_grad or torch.autograd.grad(mean, outputs, allow_unused=True)[0] is None:
            raise MdbenchError(
                f"loss {self.name} has no gradient with respect to the outputs: compute it from them with PyTorch"
            )


def try_loss(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Make sure that a loss of somebody's own is a mean over examples that can be differentiated and mapped.

    Parameters
    ----------
    loss : any; the losses known here are not tried.
    outputs, targets : of a network on a few examples in double precision, (B, K, …) and (B, …).

    Raises
    ------
    MdbenchError
        It is not, or raises: its own lines are shown.
    """
    if isinstance(loss, _Own):
        loss.check(outputs, targets)
        loss.value_and_slope(outputs.detach().movedim(0, -1)[None], targets.movedim(0, -1)[None])
        loss.parts(outputs.detach().movedim(0, -1)[None], targets.movedim(0, -1)[None])


def imported(path: str) -> Callable[[Tensor, Tensor], Any]:
    """Return somebody's own loss.

    Raises
    ------
    MdbenchError
        It cannot be imported.
    """
    return imported_from(path, "loss", "takes outputs and targets")
