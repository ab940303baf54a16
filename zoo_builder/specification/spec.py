"""What a zoo is to be: read from a TOML file, checked whole before anything is trained."""

import hashlib
import itertools
import tomllib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from mdbench.errors import MdbenchError
from mdbench.tables import Move
from zoo_builder.specification.architecture import ArchitectureSpec
from zoo_builder.specification.axes import OF_ARCHITECTURE, OF_DATA, OF_SIZE, Axis, Point, configuration_name
from zoo_builder.specification.datasets import DatasetSpec
from zoo_builder.specification.recipe import OPTIMIZERS, TrainingSpec
from zoo_builder.specification.strict import Strict, Whole, faults

#: What is said for people, and changes no network.
WORDS: Final = frozenset({"title", "licence"})


class ZooSpec(Strict):
    """A zoo's specification: everything that its networks are a function of.

    Attributes
    ----------
    name : the zoo's name, which cases refer to.
    title : one line for people.
    licence : that of what is made of the zoo, ``CC BY 4.0`` for instance; an empty text where none is stated.
    dataset, architecture, training : what is trained on what, and how.
    axes : the grid is their product.
    seeds : one network at each grid point for each. A seed sets initialisation and data order; which examples a data fraction
        uses and which labels are wrong is the same for all of them, so that the networks of a configuration can be compared.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    LATER: ClassVar = frozenset({"licence"})

    title: str = ""
    licence: str = Field(default="", max_length=200)
    dataset: DatasetSpec
    architecture: ArchitectureSpec
    training: TrainingSpec = TrainingSpec()
    axes: tuple[Axis, ...] = Field(min_length=1)
    seeds: tuple[Whole, ...] = Field(default=(0,), min_length=1)

    @field_validator("licence")
    @classmethod
    def _in_a_line(cls, licence: str) -> str:
        return " ".join(licence.split())

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**63:
            raise ValueError("seeds must be whole numbers from 0 to below 2⁶³, each once")
        return seeds

    @model_validator(mode="after")
    def _check(self) -> Self:
        knobs = [axis.knob for axis in self.axes]
        if len(set(knobs)) != len(knobs):
            raise ValueError("every knob can be the axis of a grid once")
        for axis in self.axes:
            self._check_axis(axis, knobs)
        arms = self.training.optimizers.values()
        if "learning_rate" not in knobs and any(
            "rate_factor" in said for said in (self.training.model_fields_set, *arms)
        ):
            raise ValueError(
                "rate_factor multiplies an axis learning_rate, and there is none: write learning_rate itself"
            )
        if self.training.optimizers and "optimizer" not in knobs:
            raise ValueError(
                "training.optimizers describes names for the axis optimizer, and there is none: write one, with "
                'knob = "optimizer", or leave them out'
            )
        missing = [name for name in self.dataset.needs if name not in self.dataset.options and name not in knobs]
        if missing:
            raise ValueError(
                f"data set {self.dataset.name!r} needs {missing[0]}: write options = {{ {missing[0]} = … }} in [dataset], "
                "or make it an axis"
            )
        for point in self._corners():
            try:
                self.training.at(point)
                self.dataset_at(point)
            except ValidationError as error:
                said = next(iter(faults(error).values()))
                raise ValueError(f"at {configuration_name(point)}: {said}") from None
        return self

    def _check_axis(self, axis: Axis, knobs: Sequence[str]) -> None:
        """Refuse an axis that contradicts another part, or that changes nothing."""
        knob, training = axis.knob, self.training
        table, given = "training", training.model_fields_set & {"steps"}  # of older knobs, the axis counts
        if knob in OF_SIZE:
            table, given = "architecture", {one for one in OF_SIZE if getattr(self.architecture, one) is not None}
        elif knob in OF_ARCHITECTURE:
            table, given = "architecture.options", set(self.architecture.options)
        elif knob in OF_DATA:
            table, given = "dataset.options", set(self.dataset.options)
            possible = self.dataset.knobs
            if possible is not None and knob not in possible:
                raise ValueError(f"{knob} is an axis, but data set {self.dataset.name!r} has none: leave the axis out")
        if knob in given:
            raise ValueError(f"{knob} is an axis, and stands in [{table}] too: keep one of them")
        if knob == "optimizer":
            unknown = [name for name in axis.values if name not in training.optimizers and name not in OPTIMIZERS]
            if unknown:
                known = ", ".join([*training.optimizers, *OPTIMIZERS])
                raise ValueError(
                    f"optimizer {unknown[0]!r} is unknown; there are {known}; "
                    f"others are described by a table [training.optimizers.{unknown[0]}]"
                )
            unused = [name for name in training.optimizers if name not in axis.values]
            if unused:
                raise ValueError(
                    f"optimizers.{unused[0]} is no value of the axis optimizer: add it there, or leave it out"
                )
            self._check_arms(axis, knobs)
        if knob == "rho" and "optimizer" not in knobs:
            if training.sharpness is None:
                raise ValueError(
                    "rho is an axis, but nothing uses it: write sharpness = { adaptive = false } in [training]"
                )
            if "rho" in training.sharpness.model_fields_set:
                raise ValueError("rho is an axis, and stands in [training.sharpness] too: keep one of them")
        if knob == "batch_size" and training.full_batch:
            raise ValueError("batch_size is an axis, but full_batch = true takes all examples: keep one of them")
        if knob == "epochs" and (training.steps is not None or "steps" in knobs):
            raise ValueError("epochs is an axis, but steps take their place: keep one of them")
        if knob == "steps" and "epochs" in training.model_fields_set:
            raise ValueError("steps is an axis, and epochs stand in [training]: keep one of them")
        if knob == "label_noise" and self.dataset.kind not in (None, "classes"):
            raise ValueError(f"label_noise is of data with a class an example; {self.dataset.name!r} has none")

    def _check_arms(self, axis: Axis, knobs: Sequence[str]) -> None:
        """Refuse ways of training that an axis overrules, or that are the same."""
        knobs, seen = [knob for knob in knobs if knob != "optimizer"], dict[str, str]()
        for name in map(str, axis.values):
            given = self.training.optimizers.get(name, {})
            for knob in knobs:
                for field in (knob, {"steps": "epochs", "epochs": "steps"}.get(knob, knob)):
                    if field in given:
                        instead = "write rate_factor there" if field == "learning_rate" else "keep one of them"
                        raise ValueError(
                            f"{knob} is an axis, and {field} stands in [training.optimizers.{name}]: {instead}"
                        )
            how = self.training.at({"optimizer": name})
            sharpness = how.sharpness
            if "rho" in knobs and sharpness is None:
                raise ValueError(
                    f"rho is an axis, but optimizer {name!r} does not use it: write sharpness = {{ adaptive = false }} in "
                    f"[training.optimizers.{name}], or leave the axis out"
                )
            if "rho" in knobs and sharpness is not None and "rho" in sharpness.model_fields_set:
                raise ValueError(
                    f"rho is an axis, and stands in the sharpness of optimizer {name!r} too: keep one of them"
                )
            said = how.model_dump_json(exclude={"optimizers", "keep", *knobs})
            if said in seen:
                raise ValueError(
                    f"optimizers {seen[said]!r} and {name!r} are the same way of training: leave one of them out"
                )
            seen[said] = name

    def _corners(self) -> Iterator[Point]:
        """Yield grid points at which every value of every axis occurs."""
        first: Point = {axis.knob: axis.values[0] for axis in self.axes}
        yield first
        for axis in self.axes:
            for value in axis.values[1:]:
                yield {**first, axis.knob: value}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all but title and licence, with defaults filled in: comments and order of tables do not matter."""
        return hashlib.sha256(self.model_dump_json(exclude=set(WORDS)).encode()).hexdigest()

    @property
    def text(self) -> str:
        """The specification as JSON, as it was given: what it leaves out is left out, for some must not be said."""
        return self.model_dump_json(exclude_unset=True)

    @property
    def moves(self) -> tuple[Move, ...]:
        """What can be turned on this grid to improve a network. An axis of one value offers none."""
        return tuple(move for axis in self.axes if len(axis.values) > 1 for move in axis.moves())

    def points(self) -> Iterator[Point]:
        """Yield every grid point, the last axis fastest."""
        for values in itertools.product(*(axis.values for axis in self.axes)):
            yield {axis.knob: value for axis, value in zip(self.axes, values, strict=True)}

    def knob(self, point: Point, knob: str) -> float:
        """Return a number of the training at a grid point."""
        return float(getattr(self.training.at(point), knob))

    def dataset_at(self, point: Point) -> DatasetSpec:
        """Return the ``[dataset]`` table at a grid point."""
        return self.dataset.changed({knob: value for knob, value in point.items() if knob in OF_DATA})


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
        lines = [f"{place or 'the whole'}: {said}" for place, said in faults(error).items()]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise MdbenchError(f"{where}: {lines[0]}{more}") from error
