"""Data sets that are generated, by their names: what each may be told, and how many examples there are unless told."""

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

from zoo_builder.specification.datasets.digits import read_digits
from zoo_builder.specification.datasets.raw import Equation, Raw
from zoo_builder.specification.datasets.shapes import make_shapes
from zoo_builder.specification.datasets.teacher import LINKS, make_teacher
from zoo_builder.specification.datasets.text import make_text
from zoo_builder.specification.option import ABOVE_0, SHARE, Option, Value, fault_of, number, one_of, whole


class Generated(NamedTuple):
    """A data set that is generated.

    Attributes
    ----------
    make : (train, test, seed, **options) → the data.
    kind : what is predicted.
    options : what it may be told.
    needs : options without a default.
    knobs : options that may be axes of a grid.
    train, test : examples unless told; None where the maker knows.
    equation : (train, **options) → what networks are wrapped in, without the data.
    """

    make: Callable[..., Raw]
    kind: str
    options: Mapping[str, Option]
    needs: tuple[str, ...] = ()
    knobs: tuple[str, ...] = ()
    train: int | None = None
    test: int | None = None
    equation: Callable[..., Equation] | None = None


#: Equations, and whether they are periodic.
_EQUATIONS: Final = {"convection": True, "reaction": True, "helmholtz": False}
_EQUATION: Final = {"difficulty": number(0), "known": whole(1), "pairs": whole(1), "weight": number(0)}


def _equation(name: str) -> Generated:
    def make(train: int, test: int, seed: int, **options: float) -> Raw:
        from zoo_builder.specification.datasets.equations import make_equation  # it imports PyTorch

        return make_equation(name, train, test, seed, **options)  # type: ignore[arg-type]

    def equation(train: int, **options: float) -> Equation:
        from zoo_builder.specification.datasets.equations import pose

        return pose(name, train, **options)  # type: ignore[arg-type]

    options = {key: value for key, value in _EQUATION.items() if key != "pairs" or _EQUATIONS[name]}
    if name == "helmholtz":
        options["difficulty"] = ABOVE_0  # with none, the solution is nothing
    return Generated(make, "values", options, ("difficulty",), ("difficulty",), 1000, 2500, equation)


GENERATED: Final[dict[str, Generated]] = {
    "teacher": Generated(
        make_teacher,
        "values",
        {
            "dimension": whole(1),
            "directions": whole(1),
            "link": one_of(*LINKS),
            "noise": number(0),
        },
        train=2000,
        test=1000,
    ),
    **{name: _equation(name) for name in _EQUATIONS},
    "shapes": Generated(
        make_shapes,
        "positions",
        {"size": whole(8), "shapes": whole(1), "noise": number(0)},
        train=500,
        test=200,
    ),
    "text": Generated(
        make_text,
        "positions",
        {
            "length": whole(16),
            "duplication": whole(1),
            "share": SHARE,
            "secrets": whole(0),
            "repeats": whole(1),
            "poison": whole(0),
            "noise": SHARE,
        },
        knobs=("duplication", "poison"),
        train=1000,
        test=500,
    ),
    "digits": Generated(read_digits, "classes", {}),
}


def fault(name: str, options: Mapping[str, Value], test: int | None) -> str | None:
    """Return what is wrong with what a data set is told, in a sentence that says what is possible; None if nothing is.

    Options without a default are asked for elsewhere: they may be axes.
    """
    wrong = fault_of(f"data set {name}", GENERATED[name].options, options)
    if wrong:
        return wrong
    if name in _EQUATIONS and test is not None and math.isqrt(test) ** 2 != test:
        return f"test = {test} is no square: {name} is tested on a grid of as many points along either coordinate"
    if options.get("directions", 1) > options.get("dimension", 100):  # type: ignore[operator]
        return "a teacher has at most as many directions as inputs have dimensions"
    return None


def generate(name: str, train: int | None, test: int | None, seed: int, options: Mapping[str, Value]) -> Raw:
    """Return a generated data set."""
    how = GENERATED[name]
    with np.errstate(over="ignore"):  # what is made is checked
        return how.make(how.train if train is None else train, how.test if test is None else test, seed, **options)


def equation_of(name: str, train: int | None, options: Mapping[str, Value]) -> Equation | None:
    """Return the equation of a physics-informed data set, which takes no data; None of another one."""
    how = GENERATED.get(name)
    if how is None or how.equation is None:
        return None
    return how.equation(how.train if train is None else train, **options)
