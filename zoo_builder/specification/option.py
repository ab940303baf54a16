"""An option of an architecture or a data set: what it may be."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

Value = bool | int | float | str


class Option(NamedTuple):
    """One option.

    Attributes
    ----------
    fits : whether a value is possible.
    possible : what is, in words.
    """

    fits: Callable[[Value], bool]
    possible: str


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int) -> Option:
    """Return the option of a whole number."""
    return Option(lambda value: type(value) is int and value >= least, f"a whole number from {least} up")


def number(least: float) -> Option:
    """Return the option of a number that may be the least one."""
    return Option(lambda value: _is_number(value) and float(value) >= least, f"a number from {least:g} up")


def one_of(*names: str) -> Option:
    """Return the option of a name."""
    return Option(lambda value: value in names, ", ".join(names))


FLAG: Final = Option(lambda value: isinstance(value, bool), "true or false")
SHARE: Final = Option(lambda value: _is_number(value) and 0 <= float(value) < 1, "a share from 0 to below 1")
ABOVE_0: Final = Option(lambda value: _is_number(value) and float(value) > 0, "a number above 0")


def fault_of(owner: str, known: Mapping[str, Option], given: Mapping[str, Value]) -> str | None:
    """Return what is wrong with options, in a sentence that says what is possible; None if nothing is."""
    for name, value in given.items():
        if name not in known:
            there = f"its options are {', '.join(known)}" if known else "it has none"
            return f"{owner} has no option {name!r}; {there}"
        if not known[name].fits(value):
            return f"{name} = {json.dumps(value)} is not possible for {owner}; write {known[name].possible}"
    return None
