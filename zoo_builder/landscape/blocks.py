"""The largest eigenvalues of the diagonal blocks of symmetric matrices."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo_builder.landscape.krylov import Krylov, Products, Run
from zoo_builder.landscape.vectors import indices

#: For each of L diagonal blocks, which of B matrices, int64 (b,) in ascending order, and vectors (b, 1, Pₗ) → products, a
#: tensor a block.
BlockProducts = Callable[[Sequence[tuple[NDArray[np.int64], Tensor]]], list[Tensor]]


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

    K is what is known of a matrix (see `zoo_builder.landscape.krylov`). Where its block has no positive eigenvalue, the
    vector is random.
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
