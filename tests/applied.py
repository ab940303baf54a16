"""Functions that compiled loops use, number by number. A file of its own, for who compiles it imports it."""

import numpy as np

from zoo_builder.training.kernels import functions
from zoo_builder.training.kernels.compilation import compiled


@compiled
def applied(which: int, x: np.ndarray, out: np.ndarray) -> None:
    """Write the exponential, the error function, tanh, ln(1 + x), or the sigmoid."""
    for i in range(len(x)):
        if which == 0:
            out[i] = functions.exponential(x[i])
        elif which == 1:
            out[i] = functions.erf(x[i])
        elif which == 2:
            out[i] = functions.tanh(x[i])
        elif which == 3:
            out[i] = functions.logarithm(x[i])
        else:
            out[i] = functions.sigmoid(x[i], out.dtype.type(1))
