"""Eigenvalues of WᵀW of weight matrices, and which of them rounding can tell apart."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Nonzero eigenvalues that a distribution is fitted to are at least so many.
LEAST_EIGENVALUES: Final = 5
#: Eigenvalues from which on they are those of WᵀW instead of squared singular values of W, which takes several times longer.
GRAM: Final = 128
#: Windows of a matrix are squares of so many rows at most, and at most so many.
WINDOW: Final = 64
WINDOWS: Final = 16
_EPSILON: Final = float(np.finfo(np.float32).eps)


def eigenvalues(weights: NDArray[np.floating[Any]]) -> Array:
    """Return the eigenvalues of WᵀW, ascending: (…, n) of W (…, rows, columns), n the smaller of its sides.

    What is zero within the rounding of float32, in which networks are kept, is exactly zero: singular values up to the
    largest one times the larger side times 2⁻²³, the bound of `numpy.linalg.matrix_rank`. A matrix that is not finite has
    zeros alone.
    """
    return block_eigenvalues(weights[..., None, :, :])


def block_eigenvalues(blocks: NDArray[np.floating[Any]]) -> Array:
    """Return the same of W with blocks (…, blocks, rows, columns) on its diagonal: all of theirs, (…, blocks · n)."""
    *stack, _, rows, columns = blocks.shape
    # Whether there is anything that is not finite shows in the extremes, which take no memory.
    finite = np.isfinite(blocks.min((-3, -2, -1))) & np.isfinite(blocks.max((-3, -2, -1)))
    if not finite.all():
        blocks = np.where(finite[..., None, None, None], blocks, 0)
    values = np.sort(_singular_values(blocks).reshape(*stack, -1), axis=-1)
    least = values[..., -1:] * max(rows, columns) * _EPSILON
    return np.where(values > least, values, 0.0) ** 2


def _singular_values(weights: NDArray[np.floating[Any]]) -> Array:
    """Return the singular values of matrices (…, rows, columns), ascending, (…, n).

    Of n from `GRAM` on they are square roots of the eigenvalues of the smaller of WᵀW and WWᵀ in double precision. These
    are off by about 10⁻¹⁶ n of the largest one, less than a thousandth of the smallest one that is not called zero.
    """
    n = min(weights.shape[-2:])
    if n < GRAM:
        return np.linalg.svd(weights.astype(np.float64), compute_uv=False)[..., ::-1]
    found = np.empty((*weights.shape[:-2], n))
    for at in np.ndindex(found.shape[:-1]):
        w = weights[at].astype(np.float64)
        scale = max(abs(w.min()), abs(w.max())) or 1.0
        if not 1e-100 < scale < 1e100:  # squares must be numbers
            w /= scale
        else:
            scale = 1.0
        squares = np.linalg.eigvalsh(w @ w.T if len(w) == n else w.T @ w)
        found[at] = scale * np.sqrt(np.maximum(squares, 0.0))
    return found


def enough(values: Array) -> Mask:
    """Return whether enough of the values (…, n) are positive to fit a distribution."""
    found: Mask = np.count_nonzero(values, axis=-1) >= LEAST_EIGENVALUES
    return found


def differ(values: Array) -> Mask:
    """Return which of some eigenvalues (…, n), ascending, differ from the one before; others are the same within rounding.

    They are the same where their roots, singular values of a matrix kept in float32, differ by no more than 16 · 2⁻²³ of
    themselves or 8 · 2⁻²³ / √n of the largest one. However orthogonal matrices of 5 to 1,024 rows were made in float32, each
    of their singular values differed from the next by 4 · 2⁻²³ at most, and equal ones below larger ones, of products, by a
    third of the second bound.
    """
    roots = np.sqrt(values)
    alike = np.maximum(16 * roots, 8 / np.sqrt(values.shape[-1]) * roots[..., -1:]) * _EPSILON
    found: Mask = np.diff(roots, prepend=-np.inf) > alike
    return found


def windows(blocks: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return square windows of matrices: (…, windows, side, side) of blocks (…, blocks, rows, columns).

    Their side is that of a block's smaller one, at most `WINDOW`. They lie in as many rows and columns as it takes to cover a
    block, at even distances; where they are more than `WINDOWS`, these are taken evenly from all of them.
    """
    many, rows, columns = blocks.shape[-3:]
    side = min(rows, columns, WINDOW)
    corners = [
        (block, top, left)
        for block in range(many)
        for top in _evenly(rows - side, -(-rows // side))
        for left in _evenly(columns - side, -(-columns // side))
    ]
    taken = _evenly(len(corners) - 1, min(len(corners), WINDOWS))
    found = [
        blocks[..., block, top : top + side, left : left + side] for block, top, left in (corners[at] for at in taken)
    ]
    return np.stack(found, -3)


def _evenly(last: int, count: int) -> list[int]:
    """Return whole numbers from 0 to the last one, at even distances."""
    return [round(float(at)) for at in np.linspace(0, last, count)]
