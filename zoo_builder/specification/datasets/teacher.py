"""Teachers: functions of a few directions of Gaussian inputs, as feature learning is studied on."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from zoo_builder.specification.datasets.raw import Part, Raw

#: Link → the function of a projection.
LINKS: Final[dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    "softplus": lambda z: np.logaddexp(z, 0),
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": expit,
    "hermite": lambda z: (z**2 - 1) / np.sqrt(2),
}


def make_teacher(
    train: int,
    test: int,
    seed: int,
    *,
    dimension: int = 100,
    directions: int = 1,
    link: str = "softplus",
    noise: float = 0.0,
) -> Raw:
    """Return what a teacher says of inputs from the standard normal distribution.

    y = Σⱼ φ(βⱼ·x) / √k + noise · ε, with k orthonormal directions βⱼ: of one, a single-index teacher, of more, a multi-index
    one (Ba et al., NeurIPS 2022; Kothapalli et al., 2024). The hermite link is the second normalized Hermite polynomial, from
    which one large step learns nothing.

    Parameters
    ----------
    train, test : numbers of examples.
    seed : of everything drawn.
    dimension, directions : of inputs; of the teacher.
    link : one of `LINKS`.
    noise : standard deviation of what is added to targets, test targets too.
    """
    rng = np.random.default_rng([seed, 4])
    basis, _ = np.linalg.qr(rng.standard_normal((dimension, directions)))
    parts = []
    for amount in (train, test):
        inputs = rng.standard_normal((amount, dimension))
        values = LINKS[link](inputs @ basis).sum(1) / np.sqrt(directions) + noise * rng.standard_normal(amount)
        parts.append(Part(inputs.astype(np.float32), values[:, None].astype(np.float32)))
    return Raw(parts[0], parts[1], 1, kind="values", standardise=False)
