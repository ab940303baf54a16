"""Symmetric matrices that are known by their products with vectors: largest eigenvalues, traces, spectral densities.

One Lanczos run a matrix serves everything. From a random start q₁ it makes an orthonormal basis Q = (q₁ … qₘ) with
H Q = Q T + β qₘ₊₁ eₘᵀ, T tridiagonal, and

- the largest eigenvalues of T (Ritz values) converge to those of H; their residuals are β |sₘ|, s their eigenvectors;
- H = K + A, where K = Q₊ T₊ Q₊ᵀ, Q₊ = (Q, qₘ₊₁), is known to the last entry, and A = (1 − QQᵀ) H (1 − QQᵀ) is what
  the run has not seen. trace(H) = trace(K) + trace(A), and the latter needs a few random probes only;
- K has diagonal blocks, whose eigenvectors are where the search for the largest eigenvalues of those of H begins;
- T is a Gauss quadrature of the spectral density.

Several matrices are asked at a time. Each of them stops when its own numbers are good enough, and what is found of it
does not depend on the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
#: Which of B symmetric P × P matrices, int64 (b,) in ascending order, and vectors (b, V, P) → products, (b, V, P).
Products = Callable[[NDArray[np.int64], Tensor], Tensor]


def indices(flags: NDArray[np.bool_]) -> list[int]:
    """Return where flags are set."""
    return [int(at) for at in np.flatnonzero(flags)]


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

    Attributes
    ----------
    basis : (B, M, P), rows qⱼ; zeros after the first m of a matrix.
    following : (B, P), qₘ₊₁; zeros where the basis is invariant.
    diagonal : (B, M), T's.
    beside : (B, M), T's off-diagonal, and β as the m-th.
    steps : int64 (B,), m.
    finite : bool (B,), whether all products were. Nothing is known of a matrix of which one was not.
    """

    basis: Tensor
    following: Tensor
    diagonal: Floats
    beside: Floats
    steps: NDArray[np.int64]
    finite: NDArray[np.bool_]

    def tridiagonal(self, at: int) -> Floats:
        """Return T of one matrix, (m, m)."""
        return _tridiagonal(self.diagonal[at, : self.steps[at]], self.beside[at, : self.steps[at] - 1])

    def ritz(self, at: int) -> Ritz:
        """Return approximate eigenvalues and eigenvectors of one matrix."""
        return _ritz(self.tridiagonal(at), self.beside[at, self.steps[at] - 1])

    def known(self) -> tuple[Tensor, Tensor]:
        """Return Q₊, (B, M + 1, P) with qₘ₊₁ as the last row, and T₊, float64 (B, M + 1, M + 1) on the CPU."""
        size, most = self.diagonal.shape
        matrices = np.zeros((size, most + 1, most + 1))
        for at, steps in enumerate(self.steps):
            matrices[at, :steps, :steps] = self.tridiagonal(at)
            matrices[at, steps - 1, most] = matrices[at, most, steps - 1] = self.beside[at, steps - 1]
        return torch.cat([self.basis, self.following[:, None]], 1), torch.as_tensor(matrices)


def lanczos(
    products: Products,
    starts: Tensor,
    tolerances: Sequence[float],
    generators: Sequence[np.random.Generator],
    *,
    fewest: int = 1,
    most: int,
) -> Krylov:
    """Run Lanczos' algorithm with full reorthogonalisation until the largest eigenvalues have converged.

    Every new vector is orthogonalised against the whole basis, twice, so that no eigenvalue comes a second time (Golub and
    Van Loan, Matrix computations, section 10.3). Where the basis becomes invariant, the run goes on with a random vector
    outside of it. A matrix is done when it has as many eigenvalues as there are tolerances, all of them within, or when
    its basis is the whole space.

    Parameters
    ----------
    products : of B matrices.
    starts : (B, P), none of them zero.
    tolerances : largest ‖H x − θ x‖ / |θ| of the largest eigenvalues, in order.
    generators : B of them, for going on from invariant bases.
    fewest, most : steps.
    """
    size, length = starts.shape
    most = min(most, length)
    tolerances = tolerances[:length]
    basis = (starts / starts.norm(dim=1, keepdim=True))[:, None]
    last, diagonal, beside = torch.zeros_like(starts), np.zeros((size, most)), np.zeros((size, most))
    steps, finite, active = np.zeros(size, dtype=np.int64), np.ones(size, dtype=bool), np.arange(size)
    for m in range(1, most + 1):
        have = basis if len(active) == size else basis[active]
        image = products(active, have[:, -1:])
        good = torch.isfinite(image).flatten(1).all(1)
        image = torch.where(good[:, None, None], image, 0)
        diagonal[active, m - 1] = _inner(have[:, -1], image[:, 0])
        image = _outside(have, _outside(have, image))[:, 0]
        norms = np.sqrt(_inner(image, image))
        scale = np.maximum(np.abs(diagonal[active, :m]).max(1), beside[active, :m].max(1))
        invariant = (norms <= 100 * torch.finfo(starts.dtype).eps * scale) | (m == length)
        beside[active, m - 1] = np.where(invariant, 0, norms)
        steps[active], finite[active] = m, good.cpu().numpy()

        following = image / torch.as_tensor(np.where(invariant, 1, norms)).to(image)[:, None]
        following[indices(invariant)] = 0
        last[active] = following
        enough = m >= max(fewest, len(tolerances))
        going = np.array(
            [
                finite[row] and not (enough and _converged(diagonal[row, :m], beside[row, :m], tolerances))
                for row in active
            ]
        )
        if m == most or not going.any():
            break
        for at in indices(invariant & going):
            drawn = torch.as_tensor(generators[int(active[at])].standard_normal((1, 1, length))).to(image)
            drawn = _outside(have[at : at + 1], _outside(have[at : at + 1], drawn))[0, 0]
            following[at] = drawn / drawn.norm()
        basis = torch.cat([basis, torch.zeros_like(basis[:, :1])], 1)
        active, following = active[going], following[indices(going)]
        basis[active, -1] = following
    used = basis.shape[1]
    return Krylov(basis, last, diagonal[:, :used], beside[:, :used], steps, finite)


def _converged(diagonal: Floats, beside: Floats, tolerances: Sequence[float]) -> bool:
    """Tell whether m steps are enough; diagonal (m,), beside (m,)."""
    return bool(_ritz(_tridiagonal(diagonal, beside[:-1]), beside[-1]).within(tolerances).all())


def _inner(one: Tensor, other: Tensor) -> Floats:
    """Return inner products (b,) of vectors (b, P), summed in double precision."""
    return np.asarray((one * other).sum(1, dtype=torch.float64).cpu().numpy())


def _outside(basis: Tensor, vectors: Tensor) -> Tensor:
    """Return what of vectors (b, V, P) lies outside of orthonormal bases (b, m, P)."""
    return vectors - (vectors @ basis.transpose(1, 2)) @ basis


def _tridiagonal(diagonal: Floats, beside: Floats) -> Floats:
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


def _ritz(tridiagonal: Floats, beta: float) -> Ritz:
    values, vectors = np.linalg.eigh(tridiagonal)
    return Ritz(values[::-1], vectors[:, ::-1], np.abs(beta * vectors[-1, ::-1]))


@dataclass(frozen=True)
class Traces:
    """Traces of B matrices and of L diagonal blocks of each, with standard errors; NaN where a product was not finite.

    Attributes
    ----------
    whole, whole_se : (B,).
    blocks, blocks_se : (B, L).
    squares : (B,), squared Frobenius norms, Σλ².
    probes : int64 (B,), how many there were.
    """

    whole: Floats
    whole_se: Floats
    blocks: Floats
    blocks_se: Floats
    squares: Floats
    probes: NDArray[np.int64]


def traces(
    products: Products,
    krylov: Krylov,
    blocks: Sequence[slice],
    generators: Sequence[np.random.Generator],
    *,
    tolerance: float,
    at_once: int = 4,
    most: int = 64,
) -> Traces:
    """Estimate traces until their standard errors are small enough.

    With H = K + A (see the module), the diagonal of K is known, and that of A is the mean of z ∘ (A z) over vectors z of
    random signs (Bekas et al., Applied Numerical Mathematics 2007). Traces are sums over it. The sum over everything is
    Hutchinson's estimator of what a known subspace leaves over (Meyer et al., Hutch++, SOSA 2021; here the subspace is
    Krylov's). It is unbiased, for the basis does not depend on the probes.

    Standard errors are those of these sums. Entry i of z ∘ (A z) has the variance Σ_{j≠i} A_ij², the sum over everything
    2 Σ_{i≠j} A_ij², which is twice the sum of the entries' variances. So it is estimated from P sample variances, and good
    from the first few probes. The sum over a block b has Σ_{i∈b} Σ_{j≠i} A_ij² + Σ_{i≠j∈b} A_ij²; for the second part,
    (z_bᵀ (A y)_b) (y_bᵀ (A z)_b) has the mean ‖A_bb‖² for any two probes y, z.

    Parameters
    ----------
    products : of B matrices.
    krylov : what Lanczos runs have found of them.
    blocks : L of them; every parameter is in one.
    generators : B of them, for the probes.
    tolerance : largest standard error of the whole trace, as a share of it.
    at_once, most : probes; at least two at once.
    """
    length = krylov.basis.shape[2]
    vectors, matrices = krylov.known()
    entries = (vectors * (matrices.to(vectors) @ vectors)).sum(1, dtype=torch.float64).cpu().numpy()
    known, unknown = _block_sums(entries, blocks), _Probes(len(vectors), length, blocks)
    active = indices(krylov.finite & (krylov.steps < length))
    while active:
        drawn = [generators[row].integers(0, 2, (at_once, length), dtype=np.int8) for row in active]
        probes = torch.as_tensor(2 * np.stack(drawn) - 1).to(krylov.basis)
        basis = krylov.basis if len(active) == len(vectors) else krylov.basis[active]
        unknown.add(active, probes, _outside(basis, products(np.array(active), _outside(basis, probes))))
        means, variances, _ = unknown.found(active)
        errors, whole = np.sqrt(2 * variances.sum(1)), (known[active] + means).sum(1)
        going = (errors > tolerance * np.abs(whole)) & (unknown.counts[active] + at_once <= most)
        active = [active[at] for at in indices(going)]
    means, variances, within = unknown.found(range(len(vectors)))
    found = Traces(
        whole=(known + means).sum(1),
        whole_se=np.sqrt(2 * variances.sum(1)),
        blocks=known + means,
        blocks_se=np.sqrt(variances + within),
        squares=(matrices**2).sum((1, 2)).numpy() + unknown.squares.sum(1) / np.maximum(unknown.counts, 1),
        probes=unknown.counts,
    )
    for values in (found.whole, found.whole_se, found.blocks, found.blocks_se, found.squares):
        values[~(krylov.finite & np.isfinite(found.squares))] = np.nan
    return found


class _Probes:
    """What probes z have told of B matrices A: sums of z ∘ (A z) and of its squares, and what pairs say of blocks.

    Attributes
    ----------
    counts : int64 (B,), probes.
    squares : (B, P), sums of (z ∘ (A z))² = (A z)².
    """

    def __init__(self, size: int, length: int, blocks: Sequence[slice]) -> None:
        self._blocks = blocks
        self.counts = np.zeros(size, dtype=np.int64)
        self.squares = np.zeros((size, length))
        self._sums = np.zeros((size, length))
        self._pairs, self._pair_counts = np.zeros((size, len(blocks))), np.zeros(size)

    def add(self, rows: Sequence[int], probes: Tensor, images: Tensor) -> None:
        """Add probes (b, V, P), and A times them, of some of the matrices."""
        many = probes.shape[1]
        self.counts[rows] += many
        self._pair_counts[rows] += many * (many - 1)
        self._sums[rows] += (probes * images).sum(1, dtype=torch.float64).cpu().numpy()
        self.squares[rows] += images.square().sum(1, dtype=torch.float64).cpu().numpy()
        for at, block in enumerate(self._blocks):
            both = (probes[:, :, block] @ images[:, :, block].transpose(1, 2)).double()
            both = both * both.transpose(1, 2)
            self._pairs[rows, at] += (both.sum((1, 2)) - both.diagonal(dim1=1, dim2=2).sum(1)).cpu().numpy()

    def found(self, rows: Sequence[int]) -> tuple[Floats, Floats, Floats]:
        """Return the blocks' traces, and both parts of their variances (see `traces`, divided by n), (b, L) each."""
        n = np.maximum(self.counts[rows], 2)[:, None]
        diagonal = self._sums[rows] / n
        variances = np.maximum(self.squares[rows] - n * diagonal**2, 0) / (n - 1) / n
        part = _block_sums(variances, self._blocks)
        inside = self._pairs[rows] / np.maximum(self._pair_counts[rows], 1)[:, None]
        inside -= _block_sums(diagonal**2 - variances, self._blocks)
        return _block_sums(diagonal, self._blocks), part, np.clip(inside / n, 0, part)


def _block_sums(values: Floats, blocks: Sequence[slice]) -> Floats:
    """Return sums (b, L) over blocks of values (b, P)."""
    return np.stack([values[:, block].sum(1) for block in blocks], 1)


def blockwise(products: Products, blocks: Sequence[slice]) -> Products:
    """Return diagonal blocks as matrices of their own: number b · L + l is block l of matrix b, and zero outside of it.

    Their vectors are zero there, too, one each. Matrices of which as many blocks are asked for are asked together, one
    vector a block.
    """

    def of_blocks(which: NDArray[np.int64], vectors: Tensor) -> Tensor:
        owners, places = which // len(blocks), which % len(blocks)
        out, each = torch.zeros_like(vectors), np.bincount(owners)[owners]
        for count in np.unique(each):
            chosen = np.flatnonzero(each == count)
            asked = vectors[chosen].view(-1, int(count), vectors.shape[2])
            found = products(owners[chosen][::count], asked).reshape(len(chosen), -1)
            for at, image in zip(chosen, found, strict=True):
                out[at, 0, blocks[places[at]]] = image[blocks[places[at]]]
        return out

    return of_blocks


def block_starts(krylov: Krylov, blocks: Sequence[slice], generators: Sequence[np.random.Generator]) -> Tensor:
    """Return the eigenvectors of the largest eigenvalues of the diagonal blocks of K, (B, L, P), zero outside of their block.

    K is what is known of a matrix (see the module). Where its block has no positive eigenvalue, the vector is random.
    """
    vectors, matrices = krylov.known()
    starts = torch.zeros_like(vectors[:, :1]).repeat(1, len(blocks), 1)
    for at, block in enumerate(blocks):
        # X = the block's rows of Q₊, XᵀX = V Λ Vᵀ. Eigenvectors of X T₊ Xᵀ are X V Λ^(−½) y, y those of Λ^½ Vᵀ T₊ V Λ^½.
        part = vectors[:, :, block]
        squares, turn = torch.linalg.eigh((part @ part.transpose(1, 2)).double().cpu())
        roots = torch.where(squares > 1e-6 * squares[:, -1:], squares, 0).sqrt()
        values, turned = torch.linalg.eigh(
            roots[:, :, None] * (turn.transpose(1, 2) @ matrices @ turn) * roots[:, None]
        )
        coordinates = (turned[:, :, -1] / torch.where(roots > 0, roots, torch.inf))[:, None] @ turn.transpose(1, 2)
        starts[:, at, block] = (coordinates.to(part) @ part)[:, 0]
        for row in indices((values[:, -1] <= 0).numpy()):
            drawn = generators[row].standard_normal(block.stop - block.start)
            starts[row, at, block] = torch.as_tensor(drawn).to(starts)
    return starts


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
    length, steps = krylov.basis.shape[2], int(krylov.steps[at])
    whole, ritz = krylov.tridiagonal(at), krylov.ritz(at)
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
