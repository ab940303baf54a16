"""How a network is trained, as the loops read it."""

from typing import Final

import numpy as np

#: A training: one row. `optimizer`, `loss`: one of those below. `plain`: whether it is SGD without Nesterov's momentum and
#: dampening, at one rate for all parameters. `smoothing`: of labels; `weighted`: whether classes have weights. `rho`: how far
#: the second gradient of a step is away, 0 for none; `adaptive`: whether in relation to the weights. `clip`: longest
#: gradient, 0 for any. The others are as in `zoo_builder.specification.TrainingSpec`.
RECIPE: Final = np.dtype(
    [(name, np.int64) for name in ("optimizer", "loss", "plain", "nesterov", "adaptive", "weighted")]
    + [
        (name, np.float64)
        for name in (
            "momentum",
            "dampening",
            "first",
            "second",
            "epsilon",
            "weight_decay",
            "smoothing",
            "rho",
            "clip",
        )
    ]
)
SGD, ADAM, ADAMW = range(3)
CROSS_ENTROPY, SQUARES, PER_POSITION = range(3)
