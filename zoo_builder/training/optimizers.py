"""Optimizers on stacks, each network with its own learning rate and weight decay, and what is done to gradients."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, Self

import torch
from torch import Tensor

from zoo_builder.specification import TrainingSpec

#: What ASAM adds to the size of a weight, and both methods' smallest norm (Kwon et al., ICML 2021, and its program).
ETA: Final = 0.01
LEAST_NORM: Final = 1e-16
#: What `torch.nn.utils.clip_grad_norm_` adds to a norm.
CLIP_EPSILON: Final = 1e-6


class Optimizer(Protocol):
    """Moves the parameters of a stack."""

    def step(
        self, slopes: Iterable[Tensor | None], learning_rate: Tensor, factors: Sequence[Tensor] | None = None
    ) -> None:
        """Take a step.

        Parameters
        ----------
        slopes : like the parameters, None where one is left as it is.
        learning_rate : (S,).
        factors : of the learning rate, for each parameter (S,); 1 if left out.
        """

    def part(self, parameters: Iterable[Tensor], rows: Tensor) -> Self:
        """Return the optimizer of some networks, (S',) positions, whose parameters these are."""


def optimizer_of(how: TrainingSpec, parameters: Iterable[Tensor], weight_decay: Tensor) -> Optimizer:
    """Return the optimizer of a training, before its first step; weight decay (S,)."""
    if how.optimizer == "sgd":
        return Descent(parameters, how.momentum, weight_decay, nesterov=how.nesterov, dampening=how.dampening)
    return Adam(parameters, how.betas, how.eps, weight_decay, apart=how.optimizer == "adamw")


class Descent:
    """Stochastic gradient descent with momentum.

    ``v ← momentum · v + (1 − dampening) (slope + weight_decay · p)``, without dampening at the first step;
    ``p ← p − learning_rate · v``, or with Nesterov's momentum
    ``p ← p − learning_rate (slope + weight_decay · p + momentum · v)``, as `torch.optim.SGD` does.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        momentum: float,
        weight_decay: Tensor,
        velocities: Iterable[Tensor] | None = None,
        *,
        nesterov: bool = False,
        dampening: float = 0,
    ) -> None:
        """Begin a descent.

        Parameters
        ----------
        parameters : (S, …) each; changed in place.
        momentum : share of the velocity that is kept at a step.
        weight_decay : (S,).
        velocities : like `parameters`; zeros if left out.
        nesterov, dampening : see above.
        """
        self._parameters = [parameter.detach() for parameter in parameters]
        self._begun = velocities is not None
        self.velocities = (
            [torch.zeros_like(parameter) for parameter in self._parameters] if velocities is None else list(velocities)
        )
        self._momentum, self._weight_decay = momentum, weight_decay
        self._nesterov, self._dampening = nesterov, dampening

    def step(
        self, slopes: Iterable[Tensor | None], learning_rate: Tensor, factors: Sequence[Tensor] | None = None
    ) -> None:
        """See `Optimizer`."""
        kept = 1 - self._dampening if self._begun else 1
        self._begun = True
        for at, slope in enumerate(slopes):
            if slope is None:
                continue
            parameter, velocity = self._parameters[at], self.velocities[at]
            decay = _along(self._weight_decay, parameter)
            rate = _along(_scaled(learning_rate, factors, at), parameter)
            velocity.mul_(self._momentum).add_(slope, alpha=kept).addcmul_(parameter, decay, value=kept)
            if self._nesterov:
                parameter.addcmul_(torch.addcmul(slope, parameter, decay).add_(velocity, alpha=self._momentum), -rate)
            else:
                parameter.addcmul_(velocity, rate, value=-1)

    def part(self, parameters: Iterable[Tensor], rows: Tensor) -> "Descent":
        """See `Optimizer`."""
        velocities = [velocity[rows] for velocity in self.velocities]
        part = Descent(
            parameters,
            self._momentum,
            self._weight_decay[rows],
            velocities,
            nesterov=self._nesterov,
            dampening=self._dampening,
        )
        part._begun = self._begun
        return part


class Adam:
    """Adam (Kingma and Ba, ICLR 2015), or AdamW (Loshchilov and Hutter, ICLR 2019), as `torch.optim.Adam` and `AdamW`.

    ``m ← β₁ m + (1 − β₁) g``, ``v ← β₂ v + (1 − β₂) g²``, ``p ← p − learning_rate · m̂ / (√v̂ + ε)``, where the hats divide by
    ``1 − βᵗ``. Weight decay is part of the gradient g; where it stands apart, ``p ← p − learning_rate · weight_decay · p``
    comes first.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        betas: tuple[float, float],
        epsilon: float,
        weight_decay: Tensor,
        *,
        apart: bool,
    ) -> None:
        """Begin; parameters (S, …) each are changed in place, weight decay (S,)."""
        self._parameters = [parameter.detach() for parameter in parameters]
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._betas, self._epsilon, self._weight_decay, self._apart = betas, epsilon, weight_decay, apart
        self._taken = 0

    def step(
        self, slopes: Iterable[Tensor | None], learning_rate: Tensor, factors: Sequence[Tensor] | None = None
    ) -> None:
        """See `Optimizer`."""
        self._taken += 1
        first, second = self._betas
        corrected, root = 1 - first**self._taken, (1 - second**self._taken) ** 0.5
        for at, slope in enumerate(slopes):
            if slope is None:
                continue
            parameter, mean, square = self._parameters[at], self._means[at], self._squares[at]
            rates = _scaled(learning_rate, factors, at)
            whole = slope
            if self._apart:
                parameter.mul_(_along(1 - rates * self._weight_decay, parameter))
            else:
                whole = torch.addcmul(slope, parameter, _along(self._weight_decay, parameter))
            mean.lerp_(whole, 1 - first)
            square.mul_(second).addcmul_(whole, whole, value=1 - second)
            step = mean / (square.sqrt() / root).add_(self._epsilon)
            parameter.addcmul_(step, _along(rates / corrected, parameter), value=-1)

    def part(self, parameters: Iterable[Tensor], rows: Tensor) -> "Adam":
        """See `Optimizer`."""
        part = Adam(parameters, self._betas, self._epsilon, self._weight_decay[rows], apart=self._apart)
        part._means, part._squares = ([one[rows] for one in some] for some in (self._means, self._squares))
        part._taken = self._taken
        return part


def climb(
    names: Sequence[str], parameters: Sequence[Tensor], slopes: Sequence[Tensor | None], rho: float, *, adaptive: bool
) -> None:
    """Move parameters to where the loss is about the largest within a distance, in place.

    ``p ← p + ρ g / ‖g‖``, the norm over all parameters of a network (Foret et al., ICLR 2021). The adaptive one is
    ``p ← p + ρ T² g / ‖T g‖`` (Kwon et al., ICML 2021), T = |p| + `ETA` for weights, and 1 for what has no ``weight`` in its
    name, as in its authors' program.

    Parameters
    ----------
    names : of the parameters.
    parameters, slopes : (S, …) each; what has no slope stays.
    rho : the distance.
    adaptive : see above.
    """
    sizes = [
        parameter.detach().abs().add_(ETA) if adaptive and "weight" in name else None
        for name, parameter in zip(names, parameters, strict=True)
    ]
    scaled = [
        slope if slope is None or size is None else slope * size for slope, size in zip(slopes, sizes, strict=True)
    ]
    share = rho / (norms(scaled) + LEAST_NORM)
    for parameter, slope, size in zip(parameters, scaled, sizes, strict=True):
        if slope is not None:
            way = slope if size is None else slope * size
            parameter.detach().addcmul_(way, _along(share, parameter))


def clipped(slopes: Sequence[Tensor | None], most: float) -> list[Tensor | None]:
    """Return gradients (S, …) of which none is longer than `most`, as `torch.nn.utils.clip_grad_norm_` does."""
    share = (most / (norms(slopes) + CLIP_EPSILON)).clamp(max=1)
    return [None if slope is None else slope * _along(share, slope) for slope in slopes]


def norms(slopes: Sequence[Tensor | None]) -> Tensor:
    """Return the Euclidean norms of networks' gradients, over all parameters, (S,)."""
    every = torch.stack([slope.reshape(len(slope), -1).norm(dim=1) for slope in slopes if slope is not None])
    return every.square().sum(0).sqrt()


def _scaled(learning_rate: Tensor, factors: Sequence[Tensor] | None, at: int) -> Tensor:
    return learning_rate if factors is None else learning_rate * factors[at]


def _along(values: Tensor, parameter: Tensor) -> Tensor:
    """Return numbers of networks (S,) in the precision and for the axes of a parameter (S, …)."""
    return values.to(parameter.dtype).view(-1, *[1] * (parameter.dim() - 1))
