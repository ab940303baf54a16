"""Symmetric matrices that are known by their products with vectors: an orthonormal basis, and their largest eigenvalues.

One Lanczos run a matrix serves everything. From a random start q₁ it makes an orthonormal basis Q = (q₁ … qₘ) with
H Q = Q T + β qₘ₊₁ eₘᵀ, T tridiagonal, and

- the largest eigenvalues of T (Ritz values) converge to those of H; their residuals are β |sₘ|, s their eigenvectors;
- H = K + A, where K = Q₊ T₊ Q₊ᵀ, Q₊ = (Q, qₘ₊₁), is known to the last entry, and A = (1 − QQᵀ) H (1 − QQᵀ) is what
  the run has not seen. trace(H) = trace(K) + trace(A), and the latter needs a few random probes only (`traces`);
- K has diagonal blocks, whose eigenvectors are where the search for the largest eigenvalues of those of H begins (`blocks`);
- T is a Gauss quadrature of the spectral density (`density`).

Several matrices are asked at a time. Each of them stops when its own numbers are good enough, and what is found of it
does not depend on the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape.vectors import Floats, chunks, in_one_piece, indices, inner, outside

#: Which of B symmetric P × P matrices, int64 (b,) in ascending order, and vectors (b, V, P) → products, (b, V, P), which are
#: written over.
Products = Callable[[NDArray[np.int64], Tensor], Tensor]


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenvalues and eigenvectors from a Krylov basis, the largest first.

    Attributes
    ----------
    values : (m,).
    vectors : (m, m), in its columns: coordinates in the basis.
    residuals : (m,), ‖H x − θ x‖. Some eigenvalue lies that close to θ.
    """

    values: Floats
    vectors: Floats
    residuals: Floats

    @classmethod
    def of(cls, projected: Floats, beta: float) -> Self:
        """Return those of a basis, given its T (m, m) and β; see `Krylov`."""
        values, vectors = np.linalg.eigh(projected)
        return cls(values[::-1], vectors[:, ::-1], np.abs(beta * vectors[-1, ::-1]))

    def within(self, tolerances: Sequence[float]) -> NDArray[np.bool_]:
        """Tell of the first ones, as far as there are tolerances, whether their relative residuals are as small."""
        many = min(len(tolerances), len(self.values))
        return self.residuals[:many] <= np.asarray(tolerances[:many]) * np.abs(self.values[:many])

    @property
    def relative(self) -> Floats:
        """Residuals as a share of |θ|; 0 of 0 is 0."""
        otherwise = np.where(self.residuals > 0, np.inf, 0.0)
        return np.divide(self.residuals, np.abs(self.values), out=otherwise, where=self.values != 0)


@dataclass(frozen=True)
class Krylov:
    """What Lanczos runs have found of B matrices: H Q = Q T + β qₘ₊₁ eₘᵀ.

    T is tridiagonal, unless the run began anew from some of its Ritz vectors, for want of room. Then what it was before
    that is still the quadrature of the density that the start sees.

    Attributes
    ----------
    vectors : (B, M + 1, P): rows qⱼ, zeros after the first m of a matrix, and in the last row qₘ₊₁; zeros there where the
        basis is invariant.
    projected : (B, M, M), T's.
    beta : (B,), β.
    diagonal, beside : (B, M) each, the entries of T and its off-diagonal, with β as the last of them, before the run first
        began anew.
    steps : int64 (B,), m.
    spent : int64 (B,), products.
    finite : bool (B,), whether all products were. Nothing is known of a matrix of which one was not.
    """

    vectors: Tensor
    projected: Floats
    beta: Floats
    diagonal: Floats
    beside: Floats
    steps: NDArray[np.int64]
    spent: NDArray[np.int64]
    finite: NDArray[np.bool_]

    @property
    def basis(self) -> Tensor:
        """Q, (B, M, P), rows qⱼ; zeros after the first m of a matrix."""
        return in_one_piece(self.vectors[:, :-1])

    def ritz(self, at: int) -> Ritz:
        """Return approximate eigenvalues and eigenvectors of one matrix."""
        steps = self.steps[at]
        return Ritz.of(self.projected[at, :steps, :steps], self.beta[at])

    def tridiagonal(self, at: int) -> Floats:
        """Return T of one matrix, before the run first began anew."""
        steps = min(self.spent[at], self.diagonal.shape[1])
        return _tridiagonal(self.diagonal[at, :steps], self.beside[at, : steps - 1])

    def known(self) -> tuple[Tensor, Tensor]:
        """Return Q₊, (B, M + 1, P) with qₘ₊₁ as the last row, and T₊, float64 (B, M + 1, M + 1) on the CPU."""
        most = len(self.vectors[0]) - 1
        matrices = np.zeros((len(self.vectors), most + 1, most + 1))
        matrices[:, :most, :most] = self.projected
        for at, steps in enumerate(self.steps):
            matrices[at, steps - 1, most] = matrices[at, most, steps - 1] = self.beta[at]
        return self.vectors, torch.as_tensor(matrices)


def lanczos(
    products: Products,
    starts: Tensor,
    tolerances: Sequence[float],
    generators: Sequence[np.random.Generator],
    *,
    fewest: int = 1,
    most: int,
    room: int | None = None,
) -> Krylov:
    """Run Lanczos' algorithm with full reorthogonalisation until the largest eigenvalues have converged.

    Every new vector is orthogonalised against the whole basis, twice, so that no eigenvalue comes a second time (Golub and
    Van Loan, Matrix computations, section 10.3). Where the basis becomes invariant, the run goes on with a random vector
    outside of it. Where there is no room for a longer basis, it goes on from half of its Ritz vectors and the next one,
    which span a Krylov space again (Wu and Simon, SIAM J. Matrix Analysis 2000). A matrix is done when it has as many
    eigenvalues as there are tolerances, all of them within, or when its basis is the whole space.

    Parameters
    ----------
    products : of B matrices.
    starts : (B, P), none of them zero.
    tolerances : largest ‖H x − θ x‖ / |θ| of the largest eigenvalues, in order.
    generators : B of them, for going on from invariant bases.
    fewest, most : steps.
    room : vectors that a basis holds; as many as there are steps, if left out.
    """
    run = Run(starts, tolerances, generators, fewest=fewest, most=most, room=room)
    while len(run.active):
        run.take(products(run.active, run.asked))
    return run.krylov()


class Run:
    """Lanczos' algorithm, a step at a time, for those who ask for several runs' products together; see `lanczos`.

    Attributes
    ----------
    active : int64 (b,), the matrices that are not done.
    """

    def __init__(
        self,
        starts: Tensor,
        tolerances: Sequence[float],
        generators: Sequence[np.random.Generator],
        *,
        fewest: int = 1,
        most: int,
        room: int | None = None,
    ) -> None:
        size, length = starts.shape
        self._tolerances, self._generators = tolerances[:length], generators
        self._enough = max(fewest, len(self._tolerances))
        room = min(most, length) if room is None else min(max(room, len(self._tolerances) + 3), most, length)
        self._most = min(most, length) if room == length else most
        self._vectors = starts.new_empty(size, room + 1, length)  # memory that is not written to is not taken
        self._vectors[:, 0] = starts / starts.norm(dim=1, keepdim=True)
        self._projected = np.zeros((size, room, room))
        self._beta, self._finite = np.zeros(size), np.ones(size, dtype=bool)
        self._first: tuple[Floats, Floats] | None = None
        self._steps, self._spent = np.zeros((2, size), dtype=np.int64)
        self._at = 0  # the last vector's place
        self.active = np.arange(size)

    @property
    def asked(self) -> Tensor:
        """Vectors that are to be multiplied, (b, 1, P)."""
        last: Tensor = self._vectors[:, self._at : self._at + 1]
        return last if len(self.active) == len(last) else last[self.active]

    def take(self, image: Tensor) -> None:
        """Go a step on, given the products (b, 1, P) with `asked`."""
        active, m = self.active, self._at + 1
        length, room = self._vectors.shape[2], self._projected.shape[1]
        everything = len(active) == len(self._vectors)
        have = in_one_piece(self._vectors[:, :m]) if everything else self._vectors[active, :m]
        good = torch.isfinite(torch.linalg.vector_norm(image, dim=(1, 2)))
        if not good.all():
            image = torch.where(good[:, None, None], image, 0)
        self._projected[active, m - 1, m - 1] = inner(have[:, -1], image[:, 0])
        image = outside(have, outside(have, image))[:, 0]
        norms = np.sqrt(inner(image, image))
        scale = np.abs(self._projected[active, :m, :m]).max((1, 2))
        invariant = (norms <= 100 * torch.finfo(image.dtype).eps * scale) | (m == length)
        self._beta[active] = np.where(invariant, 0, norms)
        self._steps[active], self._finite[active] = m, good.cpu().numpy()
        self._spent[active] += 1
        following = image.div_(torch.as_tensor(np.where(invariant, 1, norms)).to(image)[:, None])
        following[indices(invariant)] = 0
        self._vectors[active, m] = following
        going = np.array([self._finite[row] and not self._done(int(row)) for row in active])
        if self._spent[active[0]] == self._most or not going.any():
            self.active = active[:0]
            return
        for at in indices(invariant & going):
            self._vectors[active[at], m] = self._drawn(int(active[at]), m)
        self.active = active[going]
        if m < room:
            self._projected[self.active, m - 1, m] = self._projected[self.active, m, m - 1] = self._beta[self.active]
            self._at = m
        else:
            self._begin_anew()

    def _done(self, row: int) -> bool:
        if self._spent[row] < self._enough:
            return False
        steps = self._steps[row]
        ritz = Ritz.of(self._projected[row, :steps, :steps], self._beta[row])
        return bool(ritz.within(self._tolerances).all())

    def _drawn(self, row: int, m: int) -> Tensor:
        """Return a random vector (P,) of length 1 outside of a basis."""
        have = self._vectors[row : row + 1, :m]
        drawn = torch.as_tensor(self._generators[row].standard_normal((1, 1, have.shape[2]))).to(have)
        found: Tensor = outside(have, outside(have, drawn))[0, 0]
        return found.div(found.norm())

    def _begin_anew(self) -> None:
        """Keep the wanted Ritz vectors, and of the others those of the largest |θ|, as many as half of the basis."""
        room = self._projected.shape[1]
        if self._first is None:
            self._first = self._tridiagonals()
        many = max(room // 2, len(self._tolerances) + 1)
        for row in self.active:
            ritz = Ritz.of(self._projected[row], self._beta[row])
            order = np.argsort(-np.abs(ritz.values), kind="stable")
            wanted = np.arange(len(self._tolerances))
            kept = np.concatenate([wanted, order[~np.isin(order, wanted)]])[:many]
            turn = torch.as_tensor(ritz.vectors[:, kept].T.copy()).to(self._vectors)
            for columns in chunks(slice(0, self._vectors.shape[2])):
                self._vectors[row, :many, columns] = turn @ self._vectors[row, :room, columns]
            self._vectors[row, many] = self._vectors[row, room]
            self._projected[row] = 0
            self._projected[row, range(many), range(many)] = ritz.values[kept]
            beside = self._beta[row] * ritz.vectors[-1, kept]
            self._projected[row, many, :many] = self._projected[row, :many, many] = beside
        self._at = many

    def _tridiagonals(self) -> tuple[Floats, Floats]:
        diagonal = np.diagonal(self._projected, axis1=1, axis2=2).copy()
        beside = np.zeros_like(diagonal)
        beside[:, :-1] = np.diagonal(self._projected, 1, 1, 2)
        for row, steps in enumerate(self._steps):
            beside[row, steps - 1] = self._beta[row]
        return diagonal, beside

    def krylov(self) -> Krylov:
        """Return what the runs have found. Long vectors are handed over, not copied."""
        diagonal, beside = self._first or self._tridiagonals()
        used = int(self._steps.max())
        for row, steps in enumerate(self._steps):
            if steps < used:
                self._vectors[row, used] = self._vectors[row, steps]
                self._vectors[row, steps:used] = 0
        return Krylov(
            in_one_piece(self._vectors[:, : used + 1]),
            self._projected[:, :used, :used],
            self._beta,
            diagonal,
            beside,
            self._steps,
            self._spent,
            self._finite,
        )


def _tridiagonal(diagonal: Floats, beside: Floats) -> Floats:
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
