"""The Hessian of the training loss: largest eigenvalues, trace, spectral density; of the network and of its layers.

The loss is the mean over the sample, in evaluation mode. H is its Hessian with respect to all P parameters; it is known
only by its products with vectors. One Lanczos run a network serves everything. From a Gaussian start q₁ it makes an
orthonormal basis Q = (q₁ … qₘ) with H Q = Q T + β qₘ₊₁ eₘᵀ, T tridiagonal, and

- eigenvalues of T that have converged are the largest ones of H (Ritz values), with residual β |sₘ|, s their eigenvector in T;
- H = K + A, where K = Q₊ T₊ Q₊ᵀ, Q₊ = (Q, qₘ₊₁), is known to the last entry, and A = (1 − QQᵀ) H (1 − QQᵀ) is what the run has
  not seen. trace(H) = trace(K) + trace(A), and the latter is small enough for a few random probes;
- the eigenvectors of the diagonal blocks of K are where the search for the largest eigenvalues of the layers begins;
- T is a Gauss quadrature of the spectral density.

Everything is written for symmetric matrices that are known by their products (`Products`), several at a time. Each of them
stops when its own numbers are good enough; what is found does not depend on the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape.data import Data
from zoo_builder.landscape.metric import Measured, Metric, Subject
from zoo_builder.landscape.missing import Missing
from zoo_builder.landscape.surface import Curvature, Surface

Floats = NDArray[np.float64]
#: Which of some symmetric P × P matrices, int64 (b,), and vectors (b, V, P) → the products, (b, V, P).
Products = Callable[[NDArray[np.int64], Tensor], Tensor]

#: Largest relative residuals of the largest eigenvalues, in order: ‖H x − θ x‖ ≤ tolerance · |θ|. There is an eigenvalue that
#: close to θ, and the error is mostly of the order of the residual's square.
TOLERANCES: Final = (0.01, 0.05, 0.05, 0.05, 0.05)
#: Fewest and most Lanczos steps of a network. With fewer, what the steps save goes into more probes of the trace.
STEPS: Final = (16, 96)
#: The trace is good enough when its standard error is this share of it.
TRACE_TOLERANCE: Final = 0.02
#: Random probes of the trace that are asked at a time, and at most.
PROBES: Final = (4, 64)
#: The largest relative residual of a layer's largest eigenvalue, and the most Lanczos steps.
LAYER_TOLERANCE: Final = 0.05
LAYER_STEPS: Final = 24

_EIGENVALUES: Final = ("hessian_top_eigenvalue", *(f"hessian_eigenvalue_{at}" for at in range(2, len(TOLERANCES) + 1)))
_LAYER: Final = ("hessian_trace", "hessian_trace_se", "hessian_top_eigenvalue")
_NOT_FINITE: Final = "the Hessian is not finite"

METRICS: Final = (
    Metric("hessian_trace", "checkpoint", cost="4 to 16 Hessian–vector products"),
    Metric("hessian_trace_se", "checkpoint", 0),
    Metric(_EIGENVALUES[0], "checkpoint", cost="16 to 24 Hessian–vector products"),
    Metric("hessian_top_eigenvalue_residual", "checkpoint", 0, TOLERANCES[0]),
    *(Metric(column, "checkpoint") for column in _EIGENVALUES[1:]),
    Metric("hessian_bottom_eigenvalue", "checkpoint"),
    Metric("hessian_effective_rank", "checkpoint", 0),
    Metric("hessian_negative_mass", "checkpoint", 0, 1),
    Metric("hessian_products", "checkpoint", 1),
    Metric("log_hessian_trace", "configuration"),
    Metric("log_hessian_top_eigenvalue", "configuration"),
    Metric("hessian_trace", "layer"),
    Metric("hessian_trace_se", "layer", 0),
    Metric("hessian_top_eigenvalue", "layer", cost="1 to 3 Hessian–vector products"),
)


class Hessians:
    """The Hessians of the networks of a surface, as `Products`.

    Attributes
    ----------
    spent : int64 (S,), products asked for so far.
    """

    def __init__(self, surface: Surface, data: Data) -> None:
        self._surface, self._data = surface, data
        self._rows = np.arange(len(surface))
        self._curvature: Curvature = surface.curvature(data)
        self.spent = np.zeros(len(surface), dtype=np.int64)

    def __call__(self, rows: NDArray[np.int64], vectors: Tensor) -> Tensor:
        """Return products (b, V, P) of some networks' Hessians with vectors (b, V, P)."""
        self.spent[rows] += vectors.shape[1]
        if not np.array_equal(rows, self._rows):
            self._rows = rows.copy()
            self._curvature = self._surface.part(rows.tolist()).curvature(self._data)
        return self._curvature(vectors)


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenvalues and eigenvectors from a Krylov basis, the largest first.

    Attributes
    ----------
    values : (m,).
    vectors : (m, m), in their columns; coordinates in the basis.
    residuals : (m,), ‖H x − θ x‖. Some eigenvalue lies that close.
    """

    values: Floats
    vectors: Floats
    residuals: Floats

    def within(self, tolerances: Floats) -> NDArray[np.bool_]:
        """Tell for the first ones, as many as there are tolerances, whether the relative residuals are as small."""
        many = len(tolerances)
        return self.residuals[:many] <= tolerances * np.abs(self.values[:many])


@dataclass(frozen=True)
class Krylov:
    """What Lanczos runs have found of B symmetric P × P matrices: H Q = Q T + β qₘ₊₁ eₘᵀ.

    Attributes
    ----------
    basis : (B, M, P), orthonormal rows qⱼ; zeros after the first m of a matrix.
    rest : (B, P), qₘ₊₁; zeros where the basis is invariant.
    diagonal : (B, M), T's.
    beside : (B, M), T's off-diagonal, and β as the m-th.
    steps : int64 (B,), m.
    finite : bool (B,), whether all products were.
    """

    basis: Tensor
    rest: Tensor
    diagonal: Floats
    beside: Floats
    steps: NDArray[np.int64]
    finite: NDArray[np.bool_]

    def tridiagonal(self, at: int) -> Floats:
        """Return T of one matrix, (m, m)."""
        return _tridiagonal(self.diagonal[at, : self.steps[at]], self.beside[at, : self.steps[at] - 1])

    def ritz(self, at: int) -> Ritz:
        """Return eigenvalues and eigenvectors of T of one matrix."""
        return _ritz(self.tridiagonal(at), self.beside[at, self.steps[at] - 1])

    def eigenvectors(self, at: int, many: int) -> Tensor:
        """Return approximate eigenvectors of the largest eigenvalues of one matrix, (many, P), of length 1."""
        coordinates = torch.as_tensor(self.ritz(at).vectors[:, :many].T.copy()).to(self.basis)
        return coordinates @ self.basis[at, : self.steps[at]]

    def known(self) -> tuple[Tensor, Tensor]:
        """Return Q₊ (B, M + 1, P), whose last row is qₘ₊₁, and T₊ (B, M + 1, M + 1), so that K = Q₊ᵀ T₊ Q₊, float64 on the CPU."""
        size, most = self.diagonal.shape
        matrices = np.zeros((size, most + 1, most + 1))
        for at, steps in enumerate(self.steps):
            matrices[at, :steps, :steps] = self.tridiagonal(at)
            matrices[at, steps - 1, most] = matrices[at, most, steps - 1] = self.beside[at, steps - 1]
        return torch.cat([self.basis, self.rest[:, None]], 1), torch.as_tensor(matrices)


def lanczos(
    products: Products,
    starts: Tensor,
    tolerances: Sequence[float],
    generators: Sequence[np.random.Generator],
    *,
    fewest: int = 1,
    most: int = STEPS[1],
) -> Krylov:
    """Run Lanczos' algorithm with full reorthogonalisation, until the largest eigenvalues have converged.

    Every new vector is orthogonalised against the whole basis, twice (Giraud et al., Numerische Mathematik 2005), so that
    no eigenvalue appears twice that is there once (Golub and Van Loan, Matrix computations, section 10.3). Where the basis
    becomes invariant, the run goes on with a random vector outside of it. A matrix is done when it has as many
    eigenvalues as there are tolerances, all within them, or its basis is the whole space.

    Parameters
    ----------
    products : of B symmetric matrices.
    starts : (B, P), not zero.
    tolerances : largest relative residuals ‖H x − θ x‖ / |θ| of the largest eigenvalues.
    generators : B of them, for going on from invariant bases.
    fewest, most : steps.
    """
    size, length = starts.shape
    most = min(most, length)
    wanted = np.array(tolerances[: min(len(tolerances), length)])
    rounding = 100 * torch.finfo(starts.dtype).eps
    basis = (starts / starts.double().norm(dim=1, keepdim=True).to(starts))[:, None]
    rest = torch.zeros_like(starts)
    diagonal, beside = np.zeros((size, most)), np.zeros((size, most))
    steps, finite = np.zeros(size, dtype=np.int64), np.ones(size, dtype=bool)
    active = np.arange(size)
    for m in range(1, most + 1):
        have = basis if len(active) == size else basis[active]
        image = products(active, have[:, -1:])[:, 0]
        good = torch.isfinite(image).all(1).cpu().numpy()
        image = torch.where(torch.as_tensor(good).to(image.device)[:, None], image, 0)
        diagonal[active, m - 1] = _inner(have[:, -1], image)
        image = _outside(have, image)
        norms = np.sqrt(_inner(image, image))
        scale = np.maximum(np.abs(diagonal[active, :m]).max(1), beside[active, :m].max(1))
        broken = (norms <= rounding * scale) | (m == length)
        beside[active, m - 1] = np.where(broken, 0, norms)
        steps[active], finite[active] = m, good
        done = ~good | (m == length)
        if m >= max(fewest, len(wanted)):
            for at, row in enumerate(active):
                tridiagonal = _tridiagonal(diagonal[row, :m], beside[row, : m - 1])
                done[at] |= bool(_ritz(tridiagonal, beside[row, m - 1]).within(wanted).all())
        following = image / torch.as_tensor(np.where(broken, 1, norms)).to(image)[:, None]
        following[torch.as_tensor(broken).to(image.device)] = 0
        rest[active] = following
        if done.all() or m == most:
            break
        for at in np.flatnonzero(broken & ~done):
            fresh = torch.as_tensor(generators[active[at]].standard_normal(length)).to(image)[None]
            fresh = _outside(have[at : at + 1], fresh)
            following[at] = fresh[0] / fresh.norm()
        basis = torch.cat([basis, torch.zeros_like(basis[:, :1])], 1)
        active, following = active[~done], following[torch.as_tensor(~done).to(image.device)]
        basis[active, -1] = following
    return Krylov(basis, rest, diagonal[:, :m], beside[:, :m], steps, finite)


def _inner(one: Tensor, other: Tensor) -> Floats:
    """Return inner products (b,) of vectors (b, P), summed in double precision."""
    return np.asarray((one.double() * other.double()).sum(1).cpu().numpy())


def _outside(basis: Tensor, vectors: Tensor) -> Tensor:
    """Return what of vectors (b, P) lies outside of orthonormal bases (b, m, P)."""
    for _ in range(2):
        vectors = vectors - (basis.transpose(1, 2) @ (basis @ vectors[:, :, None]))[:, :, 0]
    return vectors


def _tridiagonal(diagonal: Floats, beside: Floats) -> Floats:
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


def _ritz(tridiagonal: Floats, beta: float) -> Ritz:
    values, vectors = np.linalg.eigh(tridiagonal)
    return Ritz(values[::-1], vectors[:, ::-1], np.abs(beta * vectors[-1, ::-1]))


@dataclass(frozen=True)
class Traces:
    """Traces of B matrices and of L diagonal blocks of each, with standard errors.

    Attributes
    ----------
    whole, whole_se : (B,).
    blocks, blocks_se : (B, L).
    squares : (B,), squared Frobenius norms, Σλ².
    probes : int64 (B,), products that were asked for.
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
    tolerance: float = TRACE_TOLERANCE,
    at_once: int = PROBES[0],
    most: int = PROBES[1],
) -> Traces:
    """Estimate traces, until their standard errors are small enough.

    With H = K + A (see the module), the diagonal of K is known, and that of A is the mean of z ∘ (A z) over vectors z of
    random signs (Bekas et al., Applied Numerical Mathematics 2007). Sums over it are traces: over everything it is
    Hutchinson's estimator of what a known subspace leaves over (Meyer et al., Hutch++, SOSA 2021, with a Krylov basis for
    the subspace). It is unbiased, for probes do not depend on the basis.

    One probe's sum over everything has variance 2 Σ_{i≠j} A_ij² and entry i of z ∘ (A z) has Σ_{j≠i} A_ij², so that twice
    the sum of the entries' sample variances is an estimate that is good from the first few probes. A block's sum has variance
    Σ_{i∈b} Σ_{j≠i} A_ij² + Σ_{i≠j∈b} A_ij²; the second part is estimated from pairs of probes:
    (z_bᵀ A_b y)(y_bᵀ A_b z) has mean ‖A_bb‖² for independent y, z.

    On networks of a zoo (1-D convolutions, P = 592 and 2,522), a single probe's standard error was 31 to 54 % of the trace
    without a known subspace, 23 % of that with 12 to 15 steps, and 4 to 7 % of the trace with 20.

    Parameters
    ----------
    products : of B symmetric matrices.
    krylov : what Lanczos runs have found of them.
    blocks : L of them, which cover everything and do not overlap.
    generators : B of them.
    tolerance : largest standard error of the whole trace, as a share of it.
    at_once, most : probes; at least two at once.
    """
    size, _, length = krylov.basis.shape
    vectors, matrices = krylov.known()
    edges = [block.start for block in blocks]
    seen = _block_sums((vectors * (matrices.to(vectors) @ vectors)).sum(1).double().cpu().numpy(), edges)
    counts, asked = np.zeros(size), np.zeros(size, dtype=np.int64)
    sums, squares = np.zeros((size, length)), np.zeros((size, length))
    within = np.zeros((size, len(edges)))
    means, spreads, inner = np.zeros((size, len(edges))), np.zeros((size, len(edges))), np.zeros((size, len(edges)))
    active = np.flatnonzero(krylov.finite & (krylov.steps < length))
    while len(active):
        signs = np.stack([generators[row].integers(0, 2, (at_once, length), dtype=np.int8) * 2 - 1 for row in active])
        probes = torch.as_tensor(signs).to(krylov.basis)
        basis = krylov.basis if len(active) == size else krylov.basis[active]
        images = _beside(basis, products(active, _beside(basis, probes)))
        sums[active] += (probes * images).double().sum(1).cpu().numpy()
        squares[active] += images.double().square().sum(1).cpu().numpy()
        for at, block in enumerate(blocks):
            pairs = probes[:, :, block] @ images[:, :, block].transpose(1, 2)
            products_of_pairs = (pairs * pairs.transpose(1, 2)).double().cpu().numpy()
            within[active, at] += products_of_pairs.sum((1, 2)) - np.trace(products_of_pairs, axis1=1, axis2=2)
        counts[active] += at_once
        asked[active] += at_once
        n = counts[active, None]
        diagonal = sums[active] / n
        variances = np.maximum(squares[active] - n * diagonal**2, 0) / (n - 1)
        means[active] = _block_sums(diagonal, edges)
        spreads[active] = _block_sums(variances, edges) / n
        own = _block_sums(diagonal**2 - variances / n, edges)
        inner[active] = (within[active] / (n * (at_once - 1)) - own) / n
        found, error = (seen + means).sum(1)[active], np.sqrt(2 * spreads.sum(1)[active])
        going = (error > tolerance * np.abs(found)) & (counts[active] + at_once <= most)
        active = active[going]
    known = (matrices**2).sum((1, 2)).numpy()
    frobenius = known + squares.sum(1) / np.maximum(counts, 1)
    inner = np.clip(inner, 0, spreads)
    found = seen + means
    every = [found.sum(1), np.sqrt(2 * spreads.sum(1)), found, np.sqrt(spreads + inner), frobenius]
    for values in every:
        values[~krylov.finite] = np.nan
    return Traces(*every, asked)


def _beside(basis: Tensor, vectors: Tensor) -> Tensor:
    """Return what of vectors (b, V, P) lies outside of orthonormal bases (b, m, P)."""
    return vectors - (vectors @ basis.transpose(1, 2)) @ basis


def _block_sums(values: Floats, edges: Sequence[int]) -> Floats:
    """Return sums (b, L) over blocks of values (b, P)."""
    return np.asarray(np.add.reduceat(values, edges, axis=1))


def block_starts(krylov: Krylov, blocks: Sequence[slice], generators: Sequence[np.random.Generator]) -> Tensor:
    """Return the eigenvectors of the largest eigenvalues of the diagonal blocks of K, (B, L, P), zero outside of their block.

    K is what is known of a matrix (see the module). Where its block has no positive eigenvalue, the vector is random.
    """
    vectors, matrices = krylov.known()
    starts = torch.zeros(len(vectors), len(blocks), vectors.shape[2], dtype=vectors.dtype, device=vectors.device)
    for at, block in enumerate(blocks):
        # The block is Q_bᵀ T Q_b. With Q_b Q_bᵀ = V Λ Vᵀ its eigenvectors are Q_bᵀ V Λ^(−½) y, y those of Λ^½ Vᵀ T V Λ^½.
        part = vectors[:, :, block]
        values, turned = torch.linalg.eigh((part @ part.transpose(1, 2)).double().cpu())
        some = values > 1e-6 * values[:, -1:]
        roots = torch.where(some, values.clamp(min=0).sqrt(), 0)
        small = roots[:, :, None] * (turned.transpose(1, 2) @ matrices @ turned) * roots[:, None]
        top, found = (out[..., -1] for out in torch.linalg.eigh(small))
        coordinates = turned @ (torch.where(some, found / torch.where(some, roots, 1), 0))[:, :, None]
        starts[:, at, block] = (coordinates.transpose(1, 2).to(part) @ part)[:, 0]
        for row in np.flatnonzero((top <= 0).numpy()):
            drawn = generators[row].standard_normal(block.stop - block.start)
            starts[row, at, block] = torch.as_tensor(drawn).to(starts)
    return starts


def blockwise(products: Products, blocks: Sequence[slice], length: int) -> Products:
    """Return the diagonal blocks of matrices as matrices: number b · L + l is block l of matrix b, zero outside of it.

    Vectors are zero outside of their blocks, one each. Matrices of which as many blocks are asked for are asked together.
    """

    def of_blocks(which: NDArray[np.int64], vectors: Tensor) -> Tensor:
        out = torch.zeros_like(vectors)
        owners, places = which // len(blocks), which % len(blocks)
        _, inverse, many = np.unique(owners, return_inverse=True, return_counts=True)
        for count in np.unique(many):
            chosen = np.flatnonzero(many[inverse] == count)
            asked = vectors[chosen].view(-1, int(count), length)
            found = products(owners[chosen][::count], asked).reshape(-1, length)
            for at, place in enumerate(places[chosen]):
                out[chosen[at], 0, blocks[place]] = found[at, blocks[place]]
        return out

    return of_blocks


@dataclass(frozen=True)
class Density:
    """A spectral density: the distribution of the eigenvalues of a matrix, as point masses.

    Attributes
    ----------
    nodes : where they are.
    weights : how much of the distribution; they sum to 1.
    """

    nodes: Floats
    weights: Floats

    def smoothed(self, at: Floats, width: float) -> Floats:
        """Return the density, each point mass a Gaussian of this standard deviation (Ghorbani et al., ICML 2019), where asked."""
        distances = (np.asarray(at)[:, None] - self.nodes) / width
        return np.asarray(np.exp(-(distances**2) / 2) @ self.weights / (width * np.sqrt(2 * np.pi)))


def density(krylov: Krylov, at: int, tolerance: float = TOLERANCES[-1]) -> Density:
    """Return the spectral density of one matrix by stochastic Lanczos quadrature.

    T's eigenvalues and the squared first components of its eigenvectors are the Gauss quadrature of the density that a
    random start sees (Ubaru et al., SIAM J. Matrix Analysis 2017; Ghorbani et al., ICML 2019). It is made better in two ways.

    - It is averaged with the anti-Gauss quadrature, whose errors are of the opposite sign (Laurie, Mathematics of Computation
      1996): T with its last off-diagonal entry multiplied by √2. Without it, masses near 0 depend on how many steps there were.
    - Converged eigenvalues at the upper end have weight 1 / P, for they are taken to be simple, and the others share what
      remains. So how much of the few large ones the start happened to see does not matter.

    What remains is seen from a single start. On networks of a zoo the negative mass of one had a relative standard deviation
    of 10 to 35 % over starts, and was within 40 % of the truth on average over them; where the basis is the whole space it is exact.
    """
    length, steps = krylov.basis.shape[2], int(krylov.steps[at])
    whole, ritz = krylov.tridiagonal(at), krylov.ritz(at)
    if steps == length:
        return Density(ritz.values, np.full(length, 1 / length))
    if steps == 1:
        return Density(ritz.values, np.ones(1))
    converged = ritz.within(np.full(steps, tolerance)) & (ritz.values > 0)
    known = int(np.argmin(np.append(converged, False)))
    other = whole.copy()
    other[-1, -2] = other[-2, -1] = np.sqrt(2) * whole[-1, -2]
    rules = [_quadrature(matrix, known, length) for matrix in (whole[:-1, :-1], other)]
    return Density(np.concatenate([nodes for nodes, _ in rules]), np.concatenate([w / 2 for _, w in rules]))


def _quadrature(tridiagonal: Floats, known: int, length: int) -> tuple[Floats, Floats]:
    """Return nodes, the largest first, and weights, of which the first `known` are 1 / P."""
    values, vectors = np.linalg.eigh(tridiagonal)
    values, weights = values[::-1], vectors[0, ::-1] ** 2
    left = weights[known:].sum()
    if left > np.finfo(np.float64).eps:
        weights = np.append(np.full(known, 1 / length), weights[known:] * (1 - known / length) / left)
    return values, weights


def masses(trace: float, spectrum: Density, length: int) -> tuple[float, float]:
    """Return the sums of |λ| over the negative and over the positive eigenvalues of a P × P matrix.

    The smaller of them is read off the density, and the other one follows from the trace, which is known better.
    """
    negative, positive = (length * float(spectrum.weights @ np.maximum(sign * spectrum.nodes, 0)) for sign in (-1, 1))
    smaller = min(negative, positive)
    return (smaller, trace + smaller) if trace >= 0 else (smaller - trace, smaller)


@dataclass(frozen=True)
class Spectrum:
    """The largest eigenvalues of the Hessians of S networks. Those that did not converge are NaN, and so are their vectors.

    Attributes
    ----------
    values : (S, k), the largest first.
    vectors : (S, k, P), of length 1, their sign arbitrary.
    residuals : (S, k), ‖H x − θ x‖ / |θ|, whether converged or not.
    krylov : the Lanczos run.
    hessians : what is asked for products.
    """

    values: Floats
    vectors: Tensor
    residuals: Floats
    krylov: Krylov
    hessians: Hessians


def spectrum(subject: Subject) -> Spectrum:
    """Return the largest eigenvalues of the Hessians of a subject's networks, and their eigenvectors; computed once a subject."""
    kept = subject.shared.get("hessian spectrum")
    if kept is None:
        kept = subject.shared["hessian spectrum"] = _spectrum(subject)
    assert isinstance(kept, Spectrum)
    return kept


def _spectrum(subject: Subject) -> Spectrum:
    surface = subject.surface
    size, length, many = len(surface), surface.layout.size, len(TOLERANCES)
    generators = [subject.rng(row, "hessian start") for row in range(size)]
    starts = np.stack([generator.standard_normal(length) for generator in generators])
    hessians = Hessians(surface, subject.sample)
    krylov = lanczos(
        hessians, torch.as_tensor(starts).to(surface.points), TOLERANCES, generators, fewest=STEPS[0], most=STEPS[1]
    )
    values, residuals = np.full((size, many), np.nan), np.full((size, many), np.nan)
    vectors = torch.full((size, many, length), torch.nan, dtype=krylov.basis.dtype, device=krylov.basis.device)
    for row in np.flatnonzero(krylov.finite):
        ritz = krylov.ritz(row)
        there = min(many, len(ritz.values))
        converged = ritz.within(np.array(TOLERANCES[:there]))
        values[row, :there] = np.where(converged, ritz.values[:there], np.nan)
        residuals[row, :there] = _relative(ritz.residuals, ritz.values)[:there]
        vectors[row, :there] = krylov.eigenvectors(row, there)
        vectors[row, np.flatnonzero(np.isnan(values[row]))] = torch.nan
    return Spectrum(values, vectors, residuals, krylov, hessians)


def _relative(residuals: Floats, values: Floats) -> Floats:
    """Return residuals as a share of eigenvalues; 0 of 0 is 0."""
    return np.divide(residuals, np.abs(values), out=np.where(residuals > 0, np.inf, 0.0), where=values != 0)


def measure(subject: Subject) -> Measured:
    """Measure all of a subject's networks, their layers, and its groups."""
    surface, found = subject.surface, spectrum(subject)
    krylov, hessians, length = found.krylov, found.hessians, surface.layout.size
    size, layers = len(surface), surface.layout.layers
    blocks = [layer.block for layer in layers]
    missing = Missing(size)
    missing.because(_NOT_FINITE, [metric.column for metric in METRICS if metric.of == "checkpoint"], _where(~krylov.finite))

    sums = traces(hessians, krylov, blocks, [subject.rng(row, "hessian probes") for row in range(size)])
    tops = _layer_tops(subject, found, missing)
    columns: dict[str, Floats] = {
        "hessian_trace": sums.whole,
        "hessian_trace_se": sums.whole_se,
        "hessian_top_eigenvalue_residual": np.where(np.isnan(found.values[:, 0]), np.nan, found.residuals[:, 0]),
        **{column: found.values[:, at] for at, column in enumerate(_EIGENVALUES)},
        "hessian_products": hessians.spent.astype(np.float64),
    }
    for row in range(size):
        _explain(found, row, missing)
    rest = ("hessian_bottom_eigenvalue", "hessian_effective_rank", "hessian_negative_mass")
    columns |= {column: np.full(size, np.nan) for column in rest}
    for row in _where(krylov.finite):
        columns["hessian_bottom_eigenvalue"][row] = krylov.ritz(row).values[-1]
        negative, positive = masses(sums.whole[row], density(krylov, row), length)
        if negative + positive > 0:
            columns["hessian_effective_rank"][row] = (negative + positive) ** 2 / sums.squares[row]
            columns["hessian_negative_mass"][row] = negative / (negative + positive)
        else:
            missing.because("the Hessian is zero", rest[1:], [row])
    names = [metric.column for metric in METRICS if metric.of == "checkpoint"]
    networks = missing.fill(columns, names, _NOT_FINITE)
    configurations, reasons = _configurations(subject, networks)
    rows = [
        {
            "network": row,
            "layer": layer.name,
            **dict(zip(_LAYER, (sums.blocks[row, at], sums.blocks_se[row, at], tops[row, at]), strict=True)),
        }
        for row in range(size)
        for at, layer in enumerate(layers)
    ]
    return Measured(networks, configurations, rows, missing.reasons, reasons)


def _where(flags: NDArray[np.bool_]) -> list[int]:
    return [int(at) for at in np.flatnonzero(flags)]


def _explain(found: Spectrum, row: int, missing: Missing) -> None:
    """Say why eigenvalues of a network are missing."""
    for at, column in enumerate(_EIGENVALUES):
        if at >= found.krylov.basis.shape[2]:
            missing.because("there are fewer parameters", [column], [row])
        elif np.isnan(found.values[row, at]):
            why = _not_reached(TOLERANCES[at], int(found.krylov.steps[row]), found.residuals[row, at])
            also = ["hessian_top_eigenvalue_residual"] if at == 0 else []
            missing.because(why, [column, *also], [row])


def _not_reached(tolerance: float, steps: int, residual: float) -> str:
    return f"Lanczos did not reach {100 * tolerance:g} % in {steps} steps ({100 * residual:.2g} %)"


def _layer_tops(subject: Subject, found: Spectrum, missing: Missing) -> Floats:
    """Return the largest eigenvalues of the layers' diagonal blocks, (S, L); NaN where they did not converge."""
    layers, length = subject.surface.layout.layers, subject.surface.layout.size
    blocks = [layer.block for layer in layers]
    generators = [subject.rng(row, "hessian layers") for row in range(len(subject.surface))]
    finite = found.krylov.finite
    tops = np.full((len(finite), len(layers)), np.nan)
    if not finite.any():
        return tops
    starts = block_starts(found.krylov, blocks, generators).flatten(0, 1)
    which = np.flatnonzero(np.repeat(finite, len(layers)))

    def some(at: NDArray[np.int64], vectors: Tensor) -> Tensor:
        return of_blocks(which[at], vectors)

    of_blocks = blockwise(found.hessians, blocks, length)
    run = lanczos(
        some,
        starts[which],
        (LAYER_TOLERANCE,),
        [generators[pair // len(layers)] for pair in which],
        most=LAYER_STEPS,
    )
    for at, pair in enumerate(which):
        row, layer = divmod(int(pair), len(layers))
        ritz = run.ritz(at)
        if run.finite[at] and ritz.within(np.array([LAYER_TOLERANCE]))[0]:
            tops[row, layer] = ritz.values[0]
        else:
            residual = _relative(ritz.residuals, ritz.values)[0]
            why = _not_reached(LAYER_TOLERANCE, int(run.steps[at]), residual)
            missing.because(why, [f"hessian_top_eigenvalue of layer {layers[layer].name}"], [row])
    return tops


def _configurations(subject: Subject, networks: dict[str, Floats]) -> tuple[dict[str, Floats], dict[int, str]]:
    """Return the natural logarithms of the groups' means, and why they are missing."""
    missing = Missing(len(subject.groups))
    found: dict[str, Floats] = {}
    for column in ("hessian_trace", "hessian_top_eigenvalue"):
        logarithms = found[f"log_{column}"] = np.full(len(subject.groups), np.nan)
        for at, group in enumerate(subject.groups):
            values = networks[column][list(group)]
            values = values[np.isfinite(values)]
            if not len(values):
                missing.because(f"{column} was measured of none of the networks", [f"log_{column}"], [at])
            elif values.mean() <= 0:
                missing.because(f"the mean of {column} is {values.mean():.3g}", [f"log_{column}"], [at])
            else:
                logarithms[at] = np.log(values.mean())
    return missing.fill(found, list(found)), missing.reasons
