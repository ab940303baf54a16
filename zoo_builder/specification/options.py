"""What `[architecture.options]` may say of each architecture that is known by its name, and what is wrong with the rest."""

from collections.abc import Mapping
from typing import Final

from zoo_builder.specification.option import ABOVE_0, FLAG, SHARE, Option, Value, fault_of, one_of, whole

#: Between layers.
ACTIVATIONS: Final = ("relu", "gelu", "tanh", "silu", "softplus")
#: True and false are what "batch" and "none" were called before there were others.
NORMS: Final = ("batch", "layer", "group", "none", True, False)


_ACTIVATION: Final = one_of(*ACTIVATIONS)
_NORM: Final = Option(lambda value: isinstance(value, bool | str) and value in NORMS, "batch, layer, group, none")
_BETWEEN: Final = {"activation": _ACTIVATION, "norm": _NORM, "dropout": SHARE}

#: Architecture of `zoo_builder.specification.models` → option → what it may be.
OPTIONS: Final[dict[str, dict[str, Option]]] = {
    "mlp": {**_BETWEEN, "residual": FLAG},
    "cnn1d": {**_BETWEEN, "residual": FLAG},
    "cnn2d": {**_BETWEEN, "residual": FLAG},
    "resnet18": _BETWEEN,
    "unet": _BETWEEN,
    "transformer": {
        "activation": _ACTIVATION,
        "dropout": SHARE,
        "heads": whole(1),
        "patch": whole(1),
        "causal": FLAG,
        "tied": FLAG,
    },
    "two_layer": {"activation": _ACTIVATION, "readout": FLAG},
    "pinn": {"activation": _ACTIVATION, "fourier": whole(0), "scale": ABOVE_0},
}


def fault(architecture: str, options: Mapping[str, Value]) -> str | None:
    """Return what is wrong with an architecture's options, in a sentence that says what is possible; None if nothing is."""
    return fault_of(architecture, OPTIONS[architecture], options)
