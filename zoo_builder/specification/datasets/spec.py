"""Which data set a zoo is trained on: a table of its specification."""

import re
from typing import Any, ClassVar, Final

from pydantic import ConfigDict, Field, model_validator

from zoo_builder.specification.datasets.generated import GENERATED, equation_of, fault
from zoo_builder.specification.datasets.hub import ON_HUB
from zoo_builder.specification.datasets.raw import Equation
from zoo_builder.specification.own import PATH
from zoo_builder.specification.strict import Strict

_HUB_NAME: Final = re.compile(r"hf:\w[\w.-]*/\w[\w.-]*")
#: What a generator is told besides its options.
_TOLD: Final = frozenset({"train", "test", "seed"})
HUB_FIELDS: Final = frozenset({"config", "revision", "image_column", "label_column", "test_split"})


class DatasetSpec(Strict):
    """The ``[dataset]`` table of a zoo's TOML.

    Attributes
    ----------
    name : ``mnist1d``, ``fashion_mnist``, ``cifar10``, ``cifar100``, ``svhn``, or one that is generated, see `GENERATED`; a
        file ``*.npz``, see `raw_of`; ``hf:ORG/NAME``, any image data set on the Hugging Face hub; or
        ``package.module:make``, a generator of one's own, called as ``make(train=…, test=…, seed=…, **options)``, train and
        test only where this table sets them.
    train : training examples to generate (``mnist1d``: 4000 unless told) or to keep (otherwise: all unless told).
    test : test examples, likewise (``mnist1d``: 16000 unless told).
    size : images are scaled down to size × size pixels, by averaging areas.
    folder : where the files are: the IDX files of ``fashion_mnist``, what torchvision keeps of ``cifar10``, ``cifar100``
        and ``svhn``, or the folder that an ``*.npz`` is relative to.
    seed : of ``mnist1d``'s generator, and of which examples are kept.
    config, revision : of a data set on the hub; its default ones unless told.
    image_column, label_column : of a data set on the hub that has several; the only one of its type unless told.
    test_split : the split of a data set on the hub that is tested on.
    options : what a generated data set is made with.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"options"})

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    train: int | None = Field(default=None, gt=0)
    test: int | None = Field(default=None, gt=0)
    size: int | None = Field(default=None, gt=0)
    folder: str | None = None
    seed: int = Field(default=0, ge=0)
    config: str | None = None
    revision: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    test_split: str = "test"
    options: dict[str, bool | int | float | str] = {}

    @model_validator(mode="after")
    def _check(self) -> "DatasetSpec":
        if self.options and self.name not in GENERATED and not self.own:
            raise ValueError(f"'options' means nothing for data set {self.name!r}; leave it out")
        if self.name in GENERATED:
            meaningless = {"size", "folder"} | HUB_FIELDS
            wrong = fault(self.name, self.options, self.test)
            if wrong:
                raise ValueError(wrong)
        elif self.name == "mnist1d" or self.own:
            meaningless = {"size", "folder"} | HUB_FIELDS
            taken = sorted(_TOLD & self.options.keys())
            if taken:
                raise ValueError(f"{taken[0]!r} must not be an option: write it in [dataset] itself")
        elif self.name in ON_HUB or self.name.endswith(".npz"):
            meaningless = set(HUB_FIELDS)
        elif _HUB_NAME.fullmatch(self.name):
            meaningless = {"folder"}
        else:
            known = ", ".join(["mnist1d", *ON_HUB, *GENERATED])
            raise ValueError(
                f"data set {self.name!r} is unknown; there are {known}, files *.npz, hf:ORG/NAME, and "
                "the import path of a generator (package.module:name)"
            )
        fields = type(self).model_fields
        given = sorted(field for field in meaningless if getattr(self, field) != fields[field].default)
        if given:
            raise ValueError(f"{given[0]!r} means nothing for data set {self.name!r}; leave it out")
        return self

    @property
    def own(self) -> bool:
        """Whether the name is the import path of somebody's own generator."""
        return PATH.fullmatch(self.name) is not None and not self.name.startswith("hf:")

    @property
    def kind(self) -> str | None:
        """What is predicted, see `Dataset`; None where only the data can tell."""
        if self.name in GENERATED:
            return GENERATED[self.name].kind
        return None if self.own or self.name.endswith(".npz") else "classes"

    @property
    def knobs(self) -> tuple[str, ...] | None:
        """Options that may be axes of a grid; None where only the data can tell."""
        if self.own:
            return None
        return GENERATED[self.name].knobs if self.name in GENERATED else ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Options that must be given here or by an axis."""
        return GENERATED[self.name].needs if self.name in GENERATED else ()

    @property
    def equation(self) -> Equation | None:
        """The equation of a physics-informed data set, as its `Dataset` has it."""
        return equation_of(self.name, self.train, self.options)

    def changed(self, options: dict[str, Any]) -> "DatasetSpec":
        """Return this table with some options in place of its own; the whole ones among an axis' numbers are integers."""
        if not options:
            return self
        given = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in options.items()
        }
        return type(self).model_validate({**self.model_dump(), "options": {**self.options, **given}})
