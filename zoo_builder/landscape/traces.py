"""Traces of symmetric matrices and of their diagonal blocks, what a Krylov space knows of them taken out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape.krylov import Krylov, Products
from zoo_builder.landscape.vectors import Floats, chunks, indices, outside, shares


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

    With H = K + A (see `zoo_builder.landscape.krylov`), the diagonal of K is known, and that of A is the mean of z ∘ (A z)
    over vectors z of random signs (Bekas et al., Applied Numerical Mathematics 2007). Traces are sums over it. The sum over
    everything is Hutchinson's estimator of what a known subspace leaves over (Meyer et al., Hutch++, SOSA 2021; here the
    subspace is Krylov's). It is unbiased, for the basis does not depend on the probes.

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
        for some in shares(at_once, length):
            asked = outside(basis, probes[:, some].to(basis))
            images[:, some] = outside(basis, products(np.array(active), asked))
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
    for columns in chunks(slice(0, vectors.shape[2])):
        part = vectors[:, :, columns]
        diagonals[:, columns] = (part * (matrices @ part)).sum(1, dtype=torch.float64).cpu().numpy()
    return diagonals


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
            for columns in chunks(block):
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
            for columns in chunks(block):
                diagonal = self._sums[rows, columns] / n
                sums[:, at] += diagonal.sum(1)
                squares[:, at] += (diagonal**2).sum(1)
        part = np.maximum(self.squares[rows] - n * squares, 0) / (n - 1) / n
        inside = self._pairs[rows] / np.maximum(self._pair_counts[rows], 1)[:, None] - (squares - part)
        return sums, part, np.clip(inside / n, 0, part)


def _block_sums(values: Floats, blocks: Sequence[slice]) -> Floats:
    """Return sums (b, L) over blocks of values (b, P)."""
    return np.stack([values[:, block].sum(1) for block in blocks], 1)
