"""Learning rates layer by layer (Zhou et al., Temperature balancing, NeurIPS 2023).

Where the spectrum of a layer's weights has a heavier tail, a smaller exponent, the layer learns more slowly. What has no
exponent of its own learns at the base rate, as in the authors' program: the first and the last of the linear layers and
convolutions, and the parameters of other layers; but a batch normalization right behind a convolution goes with it.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo_builder.specification import Layerwise

Tail = Literal["middle", "peak", "fit"]
Array = NDArray[np.float64]

_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d)
_NORMALIZATIONS: Final = (nn.BatchNorm1d, nn.BatchNorm2d)
#: Bins of the logarithms of eigenvalues, and between which multiples of the fullest one a tail may begin.
_BINS: Final = 100
_PEAK: Final = (0.95, 1.5)
_EPSILON: Final = float(np.finfo(np.float32).eps)


class Balance:
    """Which parameters of a network have learning rates of their own, and what these are multiplied by.

    Attributes
    ----------
    layers : path of a layer that has an exponent → names of the parameters that go with it.
    """

    def __init__(self, network: nn.Module, how: Layerwise) -> None:
        """Look at a network of the kind that is trained."""
        self._how = how
        self.layers: dict[str, list[str]] = {}
        before = ""
        for path, module in network.named_modules():
            if isinstance(module, (*_CONVOLUTIONS, nn.Linear)) and "weight" in dict(
                module.named_parameters(recurse=False)
            ):
                self.layers[path] = _parameters(path, module)
                before = path if isinstance(module, _CONVOLUTIONS) else ""
            elif isinstance(module, _NORMALIZATIONS) and before:
                self.layers[before] += _parameters(path, module)
                before = ""
            elif not list(module.children()):
                before = ""
        for path in [*self.layers][:1] + [*self.layers][1:][-1:]:
            del self.layers[path]

    @property
    def weights(self) -> list[str]:
        """The names of the parameters that exponents are of."""
        return [f"{path}.weight" for path in self.layers]

    def factors(self, state: Mapping[str, Tensor]) -> dict[str, Array]:
        """Return what learning rates are multiplied by: name of a parameter → (S,); the others' rate is the base rate.

        Parameters
        ----------
        state : the networks' parameters by name, (S, …), `weights` at least.
        """
        if not self.layers:
            return {}
        exponents = np.stack([exponent(state[name], self._how.tail) for name in self.weights], 1)
        every = balanced(exponents, self._how.range)
        return {name: every[:, at] for at, names in enumerate(self.layers.values()) for name in names}


def balanced(exponents: Array, between: tuple[float, float]) -> Array:
    """Return what the learning rates of layers are multiplied by, (S, L), of their exponents (S, L).

    It goes linearly from the first factor, at the smallest exponent, to the second one. A layer whose exponent is not known
    has 1, and so have all where no two are known to differ.
    """
    known = np.isfinite(exponents)
    low = np.where(known, exponents, np.inf).min(1, keepdims=True)
    high = np.where(known, exponents, -np.inf).max(1, keepdims=True)
    apart = known & (high > low)
    share = np.where(apart, exponents - low, 0.0) / np.where(apart, high - low, 1.0)
    return np.where(apart, between[0] + share * (between[1] - between[0]), 1.0)


def exponent(weight: Tensor, tail: Tail) -> Array:
    """Return Hill's exponents of the spectra of networks' weights (S, out, in, …), (S,); NaN where there is none.

    The spectrum of a convolution is that of all its matrices (out, in) together, one for each place of the kernel.
    What is zero within the rounding of float32 is exactly zero.
    """
    matrices = weight.detach().cpu().numpy().astype(np.float64)
    if matrices.ndim > 3:
        matrices = np.moveaxis(matrices.reshape(*matrices.shape[:3], -1), 3, 1)
    finite = np.isfinite(matrices)
    if not finite.all():
        matrices = np.where(finite.all(tuple(range(1, matrices.ndim)), keepdims=True), matrices, 0)
    found = np.linalg.svd(matrices, compute_uv=False)
    singular = np.sort(found.reshape(len(matrices), -1), axis=1)
    least = singular[:, -1:] * max(matrices.shape[-2:]) * _EPSILON
    values = np.where(singular > least, singular, 0.0) ** 2
    return np.array([_hill(one, tail) for one in values])


def _hill(values: Array, tail: Tail) -> float:
    """Return the exponent of eigenvalues (n,), ascending: ``1 + k / Σ ln(λᵢ / λ_min)`` over the k from λ_min on.

    λ_min is the one at place ⌊n / 2⌋ (``"middle"``), or the one whose tail is closest to a power law in the distance of
    Kolmogorov and Smirnov: of all (``"fit"``), or of those around the peak of the density of their logarithms (``"peak"``).
    """
    if tail == "middle":
        return float(_exponents(values)[len(values) // 2]) if values[len(values) // 2] > 0 else np.nan
    values = values[values > 0]
    if len(values) < 2:
        return np.nan
    exponents, starts = _exponents(values), np.arange(len(values) - 1)
    if tail == "peak":
        counts, edges = np.histogram(np.log10(values), _BINS)
        peak = 10 ** edges[counts.argmax()]
        starts = starts[(values[:-1] >= _PEAK[0] * peak) & (values[:-1] <= _PEAK[1] * peak)]
    distances = [_distance(values[start:], exponents[start]) for start in starts]
    return float(exponents[starts[int(np.argmin(distances))]]) if len(starts) else np.nan


def _exponents(values: Array) -> Array:
    """Return the exponents of all tails; NaN where they have one value alone."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(values)
        k = np.arange(len(values), 0, -1)
        sums = np.cumsum(logarithms[::-1])[::-1] - k * logarithms
        return np.where(sums > 0, 1 + k / np.where(sums > 0, sums, 1.0), np.nan)


def _distance(tail: Array, alpha: Any) -> float:
    if not np.isfinite(alpha):
        return np.inf
    law = 1 - (tail / tail[0]) ** (1 - alpha)
    return float(np.abs(law - np.arange(len(tail)) / len(tail)).max())


def _parameters(path: str, module: nn.Module) -> list[str]:
    return [f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)]
