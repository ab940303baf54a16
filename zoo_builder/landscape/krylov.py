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

The module is long because all of this is read off the same run: its basis, its residuals and what it left unseen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
#: Numbers of a long vector that are worked on at a time, where several vectors of its length would be in the way.
_CHUNK: Final = 2**20
#: Numbers in vectors that are multiplied together.
_TOGETHER: Final = 2**24
#: Which of B symmetric P × P matrices, int64 (b,) in ascending order, and vectors (b, V, P) → products, (b, V, P), which are
#: written over.
Products = Callable[[NDArray[np.int64], Tensor], Tensor]


#: For each of L diagonal blocks, which of B matrices, int64 (b,) in ascending order, and vectors (b, 1, Pₗ) → products, a
#: tensor a block.
BlockProducts = Callable[[Sequence[tuple[NDArray[np.int64], Tensor]]], list[Tensor]]


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
        return _in_one_piece(self.vectors[:, :-1])

    def ritz(self, at: int) -> Ritz:
        """Return approximate eigenvalues and eigenvectors of one matrix."""
        steps = self.steps[at]
        return _ritz(self.projected[at, :steps, :steps], self.beta[at])

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
        have = _in_one_piece(self._vectors[:, :m]) if everything else self._vectors[active, :m]
        good = torch.isfinite(torch.linalg.vector_norm(image, dim=(1, 2)))
        if not good.all():
            image = torch.where(good[:, None, None], image, 0)
        self._projected[active, m - 1, m - 1] = _inner(have[:, -1], image[:, 0])
        image = _outside(have, _outside(have, image))[:, 0]
        norms = np.sqrt(_inner(image, image))
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
        ritz = _ritz(self._projected[row, :steps, :steps], self._beta[row])
        return bool(ritz.within(self._tolerances).all())

    def _drawn(self, row: int, m: int) -> Tensor:
        """Return a random vector (P,) of length 1 outside of a basis."""
        have = self._vectors[row : row + 1, :m]
        drawn = torch.as_tensor(self._generators[row].standard_normal((1, 1, have.shape[2]))).to(have)
        outside: Tensor = _outside(have, _outside(have, drawn))[0, 0]
        return outside.div(outside.norm())

    def _begin_anew(self) -> None:
        """Keep the wanted Ritz vectors, and of the others those of the largest |θ|, as many as half of the basis."""
        room = self._projected.shape[1]
        if self._first is None:
            self._first = self._tridiagonals()
        many = max(room // 2, len(self._tolerances) + 1)
        for row in self.active:
            ritz = _ritz(self._projected[row], self._beta[row])
            order = np.argsort(-np.abs(ritz.values), kind="stable")
            wanted = np.arange(len(self._tolerances))
            kept = np.concatenate([wanted, order[~np.isin(order, wanted)]])[:many]
            turn = torch.as_tensor(ritz.vectors[:, kept].T.copy()).to(self._vectors)
            for columns in _chunks(slice(0, self._vectors.shape[2])):
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
            _in_one_piece(self._vectors[:, : used + 1]),
            self._projected[:, :used, :used],
            self._beta,
            diagonal,
            beside,
            self._steps,
            self._spent,
            self._finite,
        )


def _in_one_piece(vectors: Tensor) -> Tensor:
    """Return short vectors without gaps between matrices, for sums are rounded by where numbers lie; long ones as given."""
    return vectors.contiguous() if vectors.numel() <= _TOGETHER else vectors


def _chunks(block: slice) -> list[slice]:
    """Return a block in parts that are small beside a large network."""
    return [slice(at, min(at + _CHUNK, block.stop)) for at in range(block.start, block.stop, _CHUNK)]


def _inner(one: Tensor, other: Tensor) -> Floats:
    """Return inner products (b,) of vectors (b, P), summed in double precision."""
    sums = torch.zeros(len(one), dtype=torch.float64, device=one.device)
    for columns in _chunks(slice(0, one.shape[1])):
        sums += (one[:, columns] * other[:, columns]).sum(1, dtype=torch.float64)
    return np.asarray(sums.cpu().numpy())


def _outside(basis: Tensor, vectors: Tensor) -> Tensor:
    """Return what of vectors (b, V, P) lies outside of orthonormal bases (b, m, P). Long ones are overwritten."""
    along = vectors @ basis.transpose(1, 2)
    return vectors - along @ basis if vectors.numel() <= _CHUNK else vectors.baddbmm_(along, basis, alpha=-1)


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
    vectors, matrices = krylov.known()
    size, _, length = vectors.shape
    known, unknown = _block_sums(_diagonals(vectors, matrices.to(vectors)), blocks), _Probes(size, length, blocks)
    active = indices(krylov.finite & (krylov.steps < length))
    while active:
        drawn = [generators[row].integers(0, 2, (at_once, length), dtype=np.int8) for row in active]
        probes = torch.as_tensor(2 * np.stack(drawn) - 1)
        basis = krylov.basis if len(active) == size else krylov.basis[active]
        images = torch.empty(probes.shape, dtype=basis.dtype, device=basis.device)
        for some in _shares(at_once, length):
            asked = _outside(basis, probes[:, some].to(basis))
            images[:, some] = _outside(basis, products(np.array(active), asked))
        unknown.add(active, probes, images)
        means, variances, _ = unknown.found(active)
        errors, whole = np.sqrt(2 * variances.sum(1)), (known[active] + means).sum(1)
        going = (errors > tolerance * np.abs(whole)) & (unknown.counts[active] + at_once <= most)
        active = [active[at] for at in indices(going)]
    means, variances, within = unknown.found(range(size))
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


def _diagonals(vectors: Tensor, matrices: Tensor) -> Floats:
    """Return the diagonals, (b, P), of Q₊ᵀ T₊ Q₊, given Q₊ (b, m, P) and T₊ (b, m, m)."""
    diagonals = np.empty((len(vectors), vectors.shape[2]))
    for columns in _chunks(slice(0, vectors.shape[2])):
        part = vectors[:, :, columns]
        diagonals[:, columns] = (part * (matrices @ part)).sum(1, dtype=torch.float64).cpu().numpy()
    return diagonals


def _shares(many: int, length: int) -> list[slice]:
    """Return vectors in parts: all of them together where they are short, one by one where they are long."""
    at_once = many if many * length <= _TOGETHER else 1
    return [slice(at, at + at_once) for at in range(0, many, at_once)]


class _Probes:
    """What probes z have told of B matrices A: sums of z ∘ (A z) and of its squares, and what pairs say of blocks.

    Attributes
    ----------
    counts : int64 (B,), probes.
    squares : (B, L), sums over the blocks of (z ∘ (A z))² = (A z)².
    """

    def __init__(self, size: int, length: int, blocks: Sequence[slice]) -> None:
        self._blocks = blocks
        self.counts = np.zeros(size, dtype=np.int64)
        self.squares = np.zeros((size, len(blocks)))
        self._sums = np.zeros((size, length))
        self._pairs, self._pair_counts = np.zeros((size, len(blocks))), np.zeros(size)

    def add(self, rows: Sequence[int], probes: Tensor, images: Tensor) -> None:
        """Add probes (b, V, P), of ones and minus ones, and A times them, of some of the matrices."""
        many = probes.shape[1]
        self.counts[rows] += many
        self._pair_counts[rows] += many * (many - 1)
        for at, block in enumerate(self._blocks):
            both = torch.zeros(len(rows), many, many, dtype=torch.float64, device=images.device)
            for columns in _chunks(block):
                part = images[:, :, columns]
                signs = probes[:, :, columns].to(part)
                self._sums[rows, columns] += (signs * part).sum(1, dtype=torch.float64).cpu().numpy()
                self.squares[rows, at] += part.square().sum((1, 2), dtype=torch.float64).cpu().numpy()
                both += (signs @ part.transpose(1, 2)).double()
            both = both * both.transpose(1, 2)
            self._pairs[rows, at] += (both.sum((1, 2)) - both.diagonal(dim1=1, dim2=2).sum(1)).cpu().numpy()

    def found(self, rows: Sequence[int]) -> tuple[Floats, Floats, Floats]:
        """Return the blocks' traces, and both parts of their variances (see `traces`, divided by n), (b, L) each."""
        n = np.maximum(self.counts[rows], 2)[:, None]
        sums, squares = np.zeros((2, len(rows), len(self._blocks)))
        for at, block in enumerate(self._blocks):
            for columns in _chunks(block):
                diagonal = self._sums[rows, columns] / n
                sums[:, at] += diagonal.sum(1)
                squares[:, at] += (diagonal**2).sum(1)
        part = np.maximum(self.squares[rows] - n * squares, 0) / (n - 1) / n
        inside = self._pairs[rows] / np.maximum(self._pair_counts[rows], 1)[:, None] - (squares - part)
        return sums, part, np.clip(inside / n, 0, part)


def _block_sums(values: Floats, blocks: Sequence[slice]) -> Floats:
    """Return sums (b, L) over blocks of values (b, P)."""
    return np.stack([values[:, block].sum(1) for block in blocks], 1)


def blockwise(products: Products, blocks: Sequence[slice], length: int) -> BlockProducts:
    """Return the products of diagonal blocks of P × P matrices. What blocks ask of one matrix is asked together."""

    def multiply(asked: Sequence[tuple[NDArray[np.int64], Tensor]]) -> list[Tensor]:
        wanted = np.zeros((1 + max(int(which.max(initial=0)) for which, _ in asked), len(blocks)), dtype=bool)
        for at, (which, _) in enumerate(asked):
            wanted[which, at] = True
        counts, places = wanted.sum(1), wanted.cumsum(1) - 1
        out = [torch.empty_like(vectors) for _, vectors in asked]
        for count in np.unique(counts[counts > 0]):
            owners = np.flatnonzero(counts == count)
            whole = torch.zeros(len(owners), int(count), length, dtype=out[0].dtype, device=out[0].device)
            whose = [np.flatnonzero(counts[which] == count) for which, _ in asked]
            where = [
                (np.searchsorted(owners, which[chosen]), places[which[chosen], at])
                for at, ((which, _), chosen) in enumerate(zip(asked, whose, strict=True))
            ]
            for block, (_, vectors), chosen, (row, place) in zip(blocks, asked, whose, where, strict=True):
                whole[row, place, block] = vectors[chosen, 0]
            images = products(owners, whole)
            for block, image, chosen, (row, place) in zip(blocks, out, whose, where, strict=True):
                image[chosen, 0] = images[row, place, block]
        return out

    return multiply


def block_starts(krylov: Krylov, blocks: Sequence[slice], generators: Sequence[np.random.Generator]) -> list[Tensor]:
    """Return the eigenvectors of the largest eigenvalues of the diagonal blocks of K, (B, Pₗ) each.

    K is what is known of a matrix (see the module). Where its block has no positive eigenvalue, the vector is random.
    """
    vectors, matrices = krylov.known()
    starts = []
    for block in blocks:
        # X = the block's rows of Q₊, XᵀX = V Λ Vᵀ. Eigenvectors of X T₊ Xᵀ are X V Λ^(−½) y, y those of Λ^½ Vᵀ T₊ V Λ^½.
        part = vectors[:, :, block]
        squares, turn = torch.linalg.eigh((part @ part.transpose(1, 2)).double().cpu())
        roots = torch.where(squares > 1e-6 * squares[:, -1:], squares, 0).sqrt()
        values, turned = torch.linalg.eigh(
            roots[:, :, None] * (turn.transpose(1, 2) @ matrices @ turn) * roots[:, None]
        )
        coordinates = (turned[:, :, -1] / torch.where(roots > 0, roots, torch.inf))[:, None] @ turn.transpose(1, 2)
        start = (coordinates.to(part) @ part)[:, 0]
        for row in indices((values[:, -1] <= 0).numpy()):
            start[row] = torch.as_tensor(generators[row].standard_normal(start.shape[1])).to(start)
        starts.append(start)
    return starts


def lanczos_of_blocks(
    products: BlockProducts,
    starts: Sequence[Tensor],
    tolerances: Sequence[float],
    generators: Sequence[np.random.Generator],
    *,
    most: int,
) -> list[Krylov]:
    """Run `lanczos` for L diagonal blocks of B matrices side by side; starts are (B, Pₗ), none of them zero."""
    runs = [Run(start, tolerances, generators, most=most) for start in starts]
    while any(len(run.active) for run in runs):
        for run, image in zip(runs, products([(run.active, run.asked) for run in runs]), strict=True):
            if len(run.active):
                run.take(image)
    return [run.krylov() for run in runs]


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
    ritz = _ritz(whole, krylov.beside[at, steps - 1])
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
