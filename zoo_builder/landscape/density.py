"""The spectral density of a symmetric matrix, from a Lanczos run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo_builder.landscape.krylov import Krylov, Ritz
from zoo_builder.landscape.vectors import Floats


@dataclass(frozen=True)
class Density:
    """A spectral density: how the eigenvalues of a matrix are distributed, as point masses.

    Attributes
    ----------
    nodes : where they are.
    weights : how much of the distribution each is; they sum to 1.
    """

    nodes: Floats
    weights: Floats

    def smoothed(self, at: Floats, width: float) -> Floats:
        """Return the density at some places, every mass a Gaussian of this standard deviation (Ghorbani et al., 2019)."""
        distances = (np.asarray(at)[:, None] - self.nodes) / width
        return np.asarray(np.exp(-(distances**2) / 2) @ self.weights / (width * np.sqrt(2 * np.pi)))


def density(krylov: Krylov, at: int, tolerance: float) -> Density:
    """Return the spectral density of one matrix by stochastic Lanczos quadrature. The run's start was Gaussian.

    T's eigenvalues and the squared first components of its eigenvectors are the Gauss quadrature of the density that a
    start sees (Ubaru et al., SIAM J. Matrix Analysis 2017; Ghorbani et al., ICML 2019). It is made better in two ways.

    - It is averaged with the anti-Gauss quadrature, whose errors are of the opposite sign (Laurie, Mathematics of Computation
      1996): T with its last off-diagonal entry times √2. A Gauss quadrature alone has its masses near 0, where networks
      have most eigenvalues, now on this side and now on the other, from one number of steps to the next.
    - The eigenvalues at both ends that have roughly converged have weight 1 / P, for they are taken to be simple, and the
      others share what remains. So it does not matter how much of the few large ones the start happened to see.

    Parameters
    ----------
    krylov : Lanczos runs.
    at : which of them.
    tolerance : relative residual up to which an eigenvalue has converged.
    """
    length, whole = krylov.vectors.shape[2], krylov.tridiagonal(at)
    steps = len(whole)
    ritz = Ritz.of(whole, krylov.beside[at, steps - 1])
    if steps == length:
        return Density(ritz.values, np.full(length, 1 / length))
    if steps == 1:
        return Density(ritz.values, np.ones(1))
    converged = ritz.within([tolerance] * steps)
    ends = _leading(converged & (ritz.values > 0)), _leading((converged & (ritz.values < 0))[::-1])
    other = whole.copy()
    other[-1, -2] = other[-2, -1] = np.sqrt(2) * whole[-1, -2]
    nodes, weights = zip(*(_quadrature(matrix, ends, length) for matrix in (whole[:-1, :-1], other)), strict=True)
    return Density(np.concatenate(nodes), np.concatenate(weights) / 2)


def _leading(flags: NDArray[np.bool_]) -> int:
    """Return how many flags are set before the first one that is not."""
    return int(np.argmin(np.append(flags, False)))


def _quadrature(tridiagonal: Floats, ends: tuple[int, int], length: int) -> tuple[Floats, Floats]:
    """Return nodes, the largest first, and weights, those of as many as said at the upper and the lower end 1 / P."""
    values, vectors = np.linalg.eigh(tridiagonal)
    values, seen = values[::-1], vectors[0, ::-1] ** 2
    between = slice(ends[0], len(values) - ends[1])
    left = seen[between].sum()
    if left <= np.finfo(np.float64).eps:
        return values, seen
    weights = np.full(len(values), 1 / length)
    weights[between] = seen[between] * (1 - sum(ends) / length) / left
    return values, weights


def masses(trace: float, spectrum: Density, length: int) -> tuple[float, float]:
    """Return the sums of |λ| over the negative and over the positive eigenvalues of a P × P matrix.

    The smaller one is read off the density, and the other one follows from the trace, which is known better.
    """
    negative, positive = (length * float(spectrum.weights @ np.maximum(sign * spectrum.nodes, 0)) for sign in (-1, 1))
    smaller = min(negative, positive)
    return (smaller, trace + smaller) if trace >= 0 else (smaller - trace, smaller)
