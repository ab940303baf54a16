"""The axes of a zoo's grid: which knobs there are, which values they may take, and what turning them does."""

import math
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from mdbench.tables import Move
from zoo_builder.specification.strict import Strict

Knob = Literal[
    "width",
    "depth",
    "batch_size",
    "data_fraction",
    "label_noise",
    "learning_rate",
    "weight_decay",
    "epochs",
    "steps",
    "optimizer",
    "rho",
    "dropout",
    "difficulty",
    "duplication",
    "poison",
]
Improves = Literal["up", "down", "both", "no"]

#: A point of the grid: knob → value, in the order of the axes. Values are numbers, those of ``optimizer`` names.
Point = dict[str, float | str]

#: Knobs that are options of the data set, of the architecture, and what sets its size; the others are of ``[training]``.
OF_DATA: Final = ("difficulty", "duplication", "poison")
OF_ARCHITECTURE: Final = ("dropout",)
OF_SIZE: Final = ("width", "depth")

#: What turning a knob up does, what turning it down does, and which of the two improves a network, unless the axis says so.
_EFFECTS: Final[dict[str, tuple[str, str, Improves]]] = {
    "width": ("width", "", "up"),
    "depth": ("width", "", "up"),
    "batch_size": ("temperature_down", "temperature_up", "both"),
    "learning_rate": ("temperature_up", "temperature_down", "both"),
    "data_fraction": ("data", "", "up"),
    "label_noise": ("", "", "no"),
    "weight_decay": ("regularization_up", "regularization_down", "no"),
    "epochs": ("longer", "", "no"),
    "steps": ("longer", "", "up"),
    "optimizer": ("", "", "no"),
    "rho": ("", "", "no"),
    "dropout": ("regularization_up", "regularization_down", "both"),
    "difficulty": ("", "", "no"),
    "duplication": ("", "", "no"),
    "poison": ("", "", "no"),
}
#: Signs of a name of ``optimizer``.
_LONGEST: Final = 80
_WHOLE: Final = ("width", "depth", "batch_size", "epochs", "steps")
#: Knob → what it must be, in words, and whether a value is.
_RANGES: Final = {
    "data_fraction": ("is in %, above 0 and at most 100", lambda value: 0 < value <= 100),
    "label_noise": ("is in %, from 0 to below 100", lambda value: 0 <= value < 100),
    "learning_rate": ("must be above 0", lambda value: value > 0),
    "weight_decay": ("must not be below 0", lambda value: value >= 0),
    "rho": ("must not be below 0", lambda value: value >= 0),
    "dropout": ("is a share, from 0 to below 1", lambda value: 0 <= value < 1),
    "duplication": ("must be at least 1", lambda value: value >= 1),
    "poison": ("must not be below 0", lambda value: value >= 0),
}


def _no_truth(given: Any) -> Any:
    if isinstance(given, bool):
        raise ValueError("must be a number or a name, not true or false")
    return given


Value: TypeAlias = Annotated[float | str, BeforeValidator(_no_truth)]


class Axis(Strict):
    """One knob and its values.

    Attributes
    ----------
    knob : the knob, a column of the zoo's table.
    values : its values, ascending: width and depth in units of the architecture, batch size in examples, data fraction and
        label noise in %, epochs in passes over the data used, steps of the optimizer, dropout as a share, rho as the radius
        of a sharpness-aware step; difficulty, duplication and poison as the data set has them. Those of ``optimizer`` are
        names, in any order.
    improves : the direction in which turning it can improve a network: it becomes a move of the labels. Left out, the
        knob's own: width, depth, data and steps up, batch size, learning rate and dropout both ways, the others none.
        Epochs can say ``"up"``, weight decay any.
    """

    knob: Knob
    values: tuple[Value, ...] = Field(min_length=1)
    improves: Improves | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.knob == "optimizer":
            if not all(isinstance(value, str) for value in self.values) or len(set(self.values)) < len(self.values):
                raise ValueError("the values of optimizer are names, each once")
            for name in map(str, self.values):
                if not name or any(sign in name for sign in "/="):
                    raise ValueError("a name of optimizer must not be empty, nor hold a slash or an equals sign")
                if not name.isprintable() or name != name.strip() or len(name) > _LONGEST:
                    raise ValueError(
                        f"the name {name[:_LONGEST]!r} of optimizer must be signs that can be seen, {_LONGEST} at most, "
                        "without spaces around them"
                    )
        else:
            numbers = [value for value in self.values if not isinstance(value, str)]
            if len(numbers) < len(self.values):
                raise ValueError(f"the values of {self.knob} must be numbers")
            if numbers != sorted(set(numbers)):
                raise ValueError(f"the values of {self.knob} must ascend, each once")
            for value in numbers:
                check_knob(self.knob, value)
            for one, other in pairwise(numbers):
                if f"{one:g}" == f"{other:g}":
                    raise ValueError(
                        f"the values {one!r} and {other!r} of {self.knob} would have one name, {one:g}, for names of "
                        "grid points have six digits: write values that differ in these"
                    )
        up, down, _ = _EFFECTS[self.knob]
        possible = {"up": bool(up), "down": bool(down), "both": bool(up and down), "no": True}
        if self.improves and not possible[self.improves]:
            raise ValueError(f"{self.knob} has no move that improves a network by going {self.improves}")
        return self

    def moves(self) -> list[Move]:
        """Return what can be turned to improve a network."""
        up, down, default = _EFFECTS[self.knob]
        improves = self.improves or default
        moves = []
        if improves in ("down", "both"):
            moves.append(Move(down, self.knob, "down"))
        if improves in ("up", "both"):
            moves.append(Move(up, self.knob, "up"))
        return moves


def check_knob(knob: str, value: float) -> None:
    """Check a knob's value.

    Raises
    ------
    ValueError
        It cannot have this one.
    """
    if not math.isfinite(value):
        raise ValueError(f"{knob} must be finite, not {value}")
    if knob in _WHOLE and (value != int(value) or value < 1):
        raise ValueError(f"{knob} must be a whole number from 1 up, not {value:g}")
    if knob in ("batch_size", "epochs", "steps") and value >= 2**31:
        raise ValueError(f"{knob} must be below 2³¹, not {value:g}")
    said, holds = _RANGES.get(knob, ("", lambda _: True))
    if not holds(value):
        raise ValueError(f"{knob} {said}, not {value:g}")


def configuration_name(point: Point) -> str:
    """Return a grid point's name, knob by knob: ``width=8/batch_size=16``."""
    return "/".join(f"{knob}={value if isinstance(value, str) else f'{value:g}'}" for knob, value in point.items())
