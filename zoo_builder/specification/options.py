"""What `[architecture.options]` may say of each architecture that is known by its name, and what is wrong with the rest."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

Value = bool | int | float | str

#: Between layers.
ACTIVATIONS: Final = ("relu", "gelu", "tanh", "silu", "softplus")
#: True and false are what "batch" and "none" were called before there were others.
NORMS: Final = ("batch", "layer", "group", "none", True, False)


class Option(NamedTuple):
    """One option.

    Attributes
    ----------
    fits : whether a value is possible.
    possible : what is, in words.
    """

    fits: Callable[[Value], bool]
    possible: str


def _number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(least: int) -> Option:
    return Option(lambda value: type(value) is int and value >= least, f"a whole number from {least} up")


_FLAG = Option(lambda value: isinstance(value, bool), "true or false")
_ACTIVATION = Option(lambda value: value in ACTIVATIONS, ", ".join(ACTIVATIONS))
_NORM = Option(lambda value: isinstance(value, bool | str) and value in NORMS, "batch, layer, group, none")
_SHARE = Option(lambda value: _number(value) and 0 <= float(value) < 1, "a share from 0 to below 1")
_SCALE = Option(lambda value: _number(value) and float(value) > 0, "a number above 0")
_BETWEEN = {"activation": _ACTIVATION, "norm": _NORM, "dropout": _SHARE}

#: Architecture of `zoo_builder.specification.models` → option → what it may be.
OPTIONS: Final[dict[str, dict[str, Option]]] = {
    "mlp": {**_BETWEEN, "residual": _FLAG},
    "cnn1d": {**_BETWEEN, "residual": _FLAG},
    "cnn2d": {**_BETWEEN, "residual": _FLAG},
    "resnet18": _BETWEEN,
    "unet": _BETWEEN,
    "transformer": {
        "activation": _ACTIVATION,
        "dropout": _SHARE,
        "heads": _whole(1),
        "patch": _whole(1),
        "causal": _FLAG,
        "tied": _FLAG,
    },
    "two_layer": {"activation": _ACTIVATION, "readout": _FLAG},
    "pinn": {"activation": _ACTIVATION, "fourier": _whole(0), "scale": _SCALE},
}


def fault(architecture: str, options: Mapping[str, Value]) -> str | None:
    """Return what is wrong with an architecture's options, in a sentence that says what is possible; None if nothing is."""
    known = OPTIONS[architecture]
    for name, value in options.items():
        if name not in known:
            return f"{architecture} has no option {name!r}; its options are {', '.join(known)}"
        if not known[name].fits(value):
            return f"{name} = {json.dumps(value)} is not possible for {architecture}; write {known[name].possible}"
    return None
