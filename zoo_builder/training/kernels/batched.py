"""Products of many small matrices at once, one an example; examples are innermost, so that vectors are of them.

A matrix is an array, where it begins, and how far its rows and its columns are apart, all in numbers. Whole vectors of
examples are multiplied by tiles in registers.
"""

from typing import Any

import numpy as np

from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.tiles import BYTES, SIDE, outer, outer_of_one

#: What is done: everything; where the product is wanted as a lower triangle, its tiles there; where the matrix on the left is
#: a lower or an upper triangle, what is not zero by that. Tiles on a diagonal are done whole: there such a matrix has zeros.
ALL, LOWER, OF_LOWER, OF_UPPER = range(4)
Matrix = tuple[np.ndarray, int, int, int]


@compiled
def add_product(c: Any, a: Any, b: Any, rows: int, many: int, columns: int, what: int, batch: int) -> None:
    """Do ``c += a b`` for each example: (rows, columns), (rows, many), (many, columns)."""
    lanes = BYTES // c[0].itemsize
    whole = batch - batch % lanes
    for n in range(0, batch, lanes):
        for r in range(0, rows, SIDE):
            below = min(r + SIDE, rows)
            first, last = r if what == OF_UPPER else 0, below if what == OF_LOWER else many
            for s in range(0, below if what == LOWER else columns, SIDE):
                beside = min(s + SIDE, columns)
                if n == whole:
                    _by_number(c, a, b, r, below, s, beside, first, last, n, batch)
                elif below - r == SIDE and beside - s == SIDE:
                    to = c[1] + r * c[2] + s * c[3] + n
                    left, right = a[1] + r * a[2] + first * a[3] + n, b[1] + first * b[2] + s * b[3] + n
                    outer(c[0], to, c[2], c[3], a[0], left, a[2], a[3], b[0], right, b[3], b[2], last - first)
                else:
                    _by_vector(c, a, b, r, below, s, beside, first, last, n)


@compiled
def tile_end(at: int, length: int) -> int:
    """Return behind which column the tile on the diagonal ends, of row `at` of a square matrix."""
    return min((at // SIDE + 1) * SIDE, length)


@compiled
def _by_vector(
    c: Any, a: Any, b: Any, top: int, below: int, left: int, beside: int, first: int, last: int, n: int
) -> None:
    """Add to what is left of rows and columns at the edges."""
    for r in range(top, below):
        for s in range(left, beside):
            to = c[1] + r * c[2] + s * c[3] + n
            one, other = a[1] + r * a[2] + first * a[3] + n, b[1] + first * b[2] + s * b[3] + n
            outer_of_one(c[0], to, c[2], c[3], a[0], one, a[2], a[3], b[0], other, b[3], b[2], last - first)


@compiled
def _by_number(
    c: Any, a: Any, b: Any, top: int, below: int, left: int, beside: int, first: int, last: int, n: int, batch: int
) -> None:
    """Add for the examples that fill no vector, from the n-th on."""
    for r in range(top, below):
        for s in range(left, beside):
            to = c[1] + r * c[2] + s * c[3]
            for t in range(first, last):
                one, other = a[1] + r * a[2] + t * a[3], b[1] + t * b[2] + s * b[3]
                for i in range(n, batch):
                    c[0][to + i] += a[0][one + i] * b[0][other + i]
