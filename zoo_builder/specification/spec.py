"""What a zoo is to be: read from a TOML file, checked whole before anything is trained."""

import hashlib
import itertools
import math
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mdbench.errors import MdbenchError
from mdbench.tables import Move
from zoo_builder.specification.architecture import ArchitectureSpec
from zoo_builder.specification.datasets import DatasetSpec

Knob = Literal[
    "width", "depth", "batch_size", "data_fraction", "label_noise", "learning_rate", "weight_decay", "epochs"
]
Improves = Literal["up", "down", "both", "no"]

#: A point of the grid: knob → value, in the order of the axes.
Point = dict[str, float]

#: What turning a knob up does, what turning it down does, and which of the two improves a network, unless the axis says so.
_EFFECTS: dict[str, tuple[str, str, Improves]] = {
    "width": ("width", "", "up"),
    "depth": ("width", "", "up"),
    "batch_size": ("temperature_down", "temperature_up", "both"),
    "learning_rate": ("temperature_up", "temperature_down", "both"),
    "data_fraction": ("data", "", "up"),
    "label_noise": ("", "", "no"),
    "weight_decay": ("", "", "no"),
    "epochs": ("", "", "no"),
}
_WHOLE = ("width", "depth", "batch_size", "epochs")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Axis(_Strict):
    """One knob and its values.

    Attributes
    ----------
    knob : the knob, a column of the zoo's table.
    values : its values, ascending: width and depth in units of the architecture, batch size in examples, data fraction and
        label noise in %, epochs in passes over the data used.
    improves : the direction in which turning it can improve a network: it becomes a move of the labels. Left out, the
        knob's own: width, depth and data up, batch size and learning rate both ways, the others none.
    """

    knob: Knob
    values: tuple[float, ...] = Field(min_length=1)
    improves: Improves | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.values) != sorted(set(self.values)):
            raise ValueError(f"the values of {self.knob} must ascend, each once")
        for value in self.values:
            _check_knob(self.knob, value)
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


def _check_knob(knob: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{knob} must be finite, not {value}")
    if knob in _WHOLE and (value != int(value) or value < 1):
        raise ValueError(f"{knob} must be a whole number from 1 up, not {value:g}")
    if knob == "data_fraction" and not 0 < value <= 100:
        raise ValueError(f"data_fraction is in %, above 0 and at most 100, not {value:g}")
    if knob == "label_noise" and not 0 <= value < 100:
        raise ValueError(f"label_noise is in %, from 0 to below 100, not {value:g}")
    if knob == "learning_rate" and value <= 0:
        raise ValueError(f"learning_rate must be above 0, not {value:g}")
    if knob == "weight_decay" and value < 0:
        raise ValueError(f"weight_decay must not be below 0, not {value:g}")


class TrainingSpec(_Strict):
    """The ``[training]`` table: stochastic gradient descent with momentum, as in the literature of the published zoo.

    Attributes
    ----------
    learning_rate, weight_decay, batch_size, epochs, data_fraction, label_noise : where they are not axes of the grid.
    momentum : of the velocity; 0 for none.
    milestones : shares of the steps after which the learning rate is multiplied by `factor`.
    factor : see `milestones`.
    warmup : share of the steps over which the learning rate rises linearly from nothing.
    """

    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = Field(default=0.9, ge=0, lt=1)
    batch_size: int = 128
    epochs: int = 30
    data_fraction: float = 100
    label_noise: float = 0
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = Field(default=0.1, gt=0)
    warmup: float = Field(default=0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for knob in _EFFECTS:
            if knob in type(self).model_fields:
                _check_knob(knob, getattr(self, knob))
        if list(self.milestones) != sorted(self.milestones) or any(not 0 < share < 1 for share in self.milestones):
            raise ValueError("milestones are shares of the steps between 0 and 1, ascending")
        return self


class ZooSpec(_Strict):
    """A zoo's specification: everything that its networks are a function of.

    Attributes
    ----------
    name : the zoo's name, which cases refer to.
    title : one line for people.
    dataset, architecture, training : what is trained on what, and how.
    axes : the grid is their product.
    seeds : one network at each grid point for each. A seed sets initialisation and data order; which examples a data fraction
        uses and which labels are wrong is the same for all of them, so that the networks of a configuration can be compared.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    title: str = ""
    dataset: DatasetSpec
    architecture: ArchitectureSpec
    training: TrainingSpec = TrainingSpec()
    axes: tuple[Axis, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise ValueError("seeds must be whole numbers from 0 up, each once")
        return seeds

    @model_validator(mode="after")
    def _check(self) -> Self:
        knobs = [axis.knob for axis in self.axes]
        if len(set(knobs)) != len(knobs):
            raise ValueError("every knob can be the axis of a grid once")
        for knob in ("width", "depth"):
            if knob in knobs and getattr(self.architecture, knob) is not None:
                raise ValueError(f"{knob} is an axis, and stands in [architecture] too: keep one of them")
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything but the title, with defaults filled in: comments and order of tables do not matter."""
        return hashlib.sha256(self.model_dump_json(exclude={"title"}).encode()).hexdigest()

    @property
    def moves(self) -> tuple[Move, ...]:
        """What can be turned on this grid to improve a network. An axis of one value offers none."""
        return tuple(move for axis in self.axes if len(axis.values) > 1 for move in axis.moves())

    def points(self) -> Iterator[Point]:
        """Yield every grid point, the last axis fastest."""
        for values in itertools.product(*(axis.values for axis in self.axes)):
            yield {axis.knob: value for axis, value in zip(self.axes, values, strict=True)}

    def knob(self, point: Point, knob: str) -> float:
        """Return a knob's value at a grid point: the axis', or that of ``[training]``."""
        return point[knob] if knob in point else float(getattr(self.training, knob))


def configuration_name(point: Point) -> str:
    """Return a grid point's name, knob by knob: ``width=8/batch_size=16``."""
    return "/".join(f"{knob}={value:g}" for knob, value in point.items())


def read_spec(path: Path) -> ZooSpec:
    """Read a specification.

    Raises
    ------
    MdbenchError
        The file cannot be read, is not TOML, or does not fit: the message names the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MdbenchError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return parse_spec(text, str(path))


def parse_spec(text: str, where: str) -> ZooSpec:
    """Parse a specification's TOML text; `where` stands in messages. Raises as `read_spec` does."""
    try:
        return ZooSpec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise MdbenchError(f"{where} is not TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in detail['loc']) or 'the whole'}: "
            f"{detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors()
        ]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise MdbenchError(f"{where}: {lines[0]}{more}") from error
