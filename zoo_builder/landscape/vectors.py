"""Vectors as long as a network is: sums over them, in parts where whole ones would be in the way."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
#: Numbers of a long vector that are worked on at a time, where several vectors of its length would be in the way.
CHUNK: Final = 2**18
#: Numbers in vectors from which on they are overwritten, not copied.
_LONG: Final = 2**20
#: Numbers in vectors that are multiplied together.
_TOGETHER: Final = 2**24


def indices(flags: NDArray[np.bool_]) -> list[int]:
    """Return where flags are set."""
    return [int(at) for at in np.flatnonzero(flags)]


def in_one_piece(vectors: Tensor) -> Tensor:
    """Return short vectors without gaps between matrices, for sums are rounded by where numbers lie; long ones as given."""
    return vectors.contiguous() if vectors.numel() <= _TOGETHER else vectors


def chunks(block: slice) -> list[slice]:
    """Return a block in parts that are small beside a large network."""
    return [slice(at, min(at + CHUNK, block.stop)) for at in range(block.start, block.stop, CHUNK)]


def inner(one: Tensor, other: Tensor) -> Floats:
    """Return inner products (b,) of vectors (b, P), summed in double precision."""
    sums = torch.zeros(len(one), dtype=torch.float64, device=one.device)
    for columns in chunks(slice(0, one.shape[1])):
        sums += (one[:, columns] * other[:, columns]).sum(1, dtype=torch.float64)
    return np.asarray(sums.cpu().numpy())


def outside(basis: Tensor, vectors: Tensor) -> Tensor:
    """Return what of vectors (b, V, P) lies outside of orthonormal bases (b, m, P). Long ones are overwritten."""
    along = vectors @ basis.transpose(1, 2)
    return vectors - along @ basis if vectors.numel() <= _LONG else vectors.baddbmm_(along, basis, alpha=-1)


def shares(many: int, length: int) -> list[slice]:
    """Return vectors in parts: all of them together where they are short, one by one where they are long."""
    at_once = many if many * length <= _TOGETHER else 1
    return [slice(at, at + at_once) for at in range(0, many, at_once)]
