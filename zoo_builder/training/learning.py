"""What the compiled loops are told of a training, and what they remember of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo_builder.specification import TrainingSpec
from zoo_builder.training import kernels
from zoo_builder.training.tape import Tape


def recipe_of(how: TrainingSpec, loss: str, weight_decay: float) -> np.ndarray:
    """Return a training as the loops read it, `kernels.RECIPE` (1,)."""
    recipe = np.zeros(1, kernels.RECIPE)
    optimizers = {"sgd": kernels.SGD, "adam": kernels.ADAM, "adamw": kernels.ADAMW}
    losses = {"cross_entropy": kernels.CROSS_ENTROPY, "mse": kernels.SQUARES, "per_position": kernels.PER_POSITION}
    of_sgd = how.optimizer == "sgd" and not how.nesterov and not how.dampening
    said: dict[str, Any] = {
        "optimizer": optimizers[how.optimizer],
        "loss": losses[loss],
        "plain": of_sgd and how.layerwise is None,
        "nesterov": how.nesterov,
        "adaptive": how.sharpness is not None and how.sharpness.adaptive,
        "weighted": bool(how.class_weights),
        "momentum": how.momentum,
        "dampening": how.dampening,
        "first": how.betas[0],
        "second": how.betas[1],
        "epsilon": how.eps,
        "weight_decay": weight_decay,
        "smoothing": how.label_smoothing,
        "rho": 0.0 if how.sharpness is None else how.sharpness.rho,
        "clip": how.clip,
    }
    for name, value in said.items():
        recipe[name] = value
    return recipe


@dataclass(frozen=True)
class Learning:
    """The arrays that `kernels.train` takes for a training; those that it does not look at are empty.

    Attributes
    ----------
    recipe : (1,).
    moments : (2, P).
    weights : of classes, (K,).
    factors : of the learning rate, (P,), float64.
    scaled : which parameters are weights, (P,).
    average : over steps, (P,).
    aside : (P + Q,).
    """

    recipe: np.ndarray
    moments: np.ndarray
    weights: np.ndarray
    factors: np.ndarray
    scaled: np.ndarray
    average: np.ndarray
    aside: np.ndarray

    @classmethod
    def of(
        cls,
        recipe: np.ndarray,
        tape: Tape,
        parameters: np.ndarray,
        buffers: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> "Learning":
        """Return what is there before the first step."""
        dtype, one = parameters.dtype, recipe[0]
        weights = np.ones(tape.channels) if weights is None else weights
        named = {name: 1.0 for name in tape.names if "weight" in name}
        return cls(
            recipe,
            np.zeros((2, len(parameters)), dtype),
            weights,
            np.ones(0 if one["plain"] else len(parameters)),
            tape.spread(named, 0.0, dtype) if one["adaptive"] else np.empty(0, dtype),
            np.zeros_like(parameters),
            np.empty(len(parameters) + len(buffers) if one["rho"] > 0 else 0, dtype),
        )

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Recipe, weights of classes, factors, which are weights, average: in the order of `kernels.train`."""
        return self.recipe, self.weights, self.factors, self.scaled, self.average
