"""Loops over rows, the numbers of some channels at one position, that several layers share.

Rows are sliced out before anything loops over them: the compiler then knows that no index is negative, and vectorises.
"""

import numpy as np

from zoo_builder.training.kernels.compilation import compiled


@compiled
def repeat(values: np.ndarray, batch: int, out: np.ndarray) -> None:
    """Write each channel's value for all its examples."""
    for c in range(len(out) // batch):
        out[c * batch : (c + 1) * batch] = values[c]


@compiled
def pass_on(slope: np.ndarray, share: float, out: np.ndarray, opens: int) -> None:
    """Write a share of a row where it `opens` what is written, and add it elsewhere."""
    part = out.dtype.type(share)
    if opens:
        for j in range(len(out)):
            out[j] = slope[j] * part
    else:
        for j in range(len(out)):
            out[j] += slope[j] * part
