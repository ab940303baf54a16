"""What the tables of a specification have in common."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)


def _number(given: Any) -> Any:
    """Refuse what pydantic would make a number of: texts and truth values."""
    if isinstance(given, str | bool):
        raise ValueError(f"must be a number, not {str(given).lower() if isinstance(given, bool) else repr(given)}")
    return given


def _flag(given: Any) -> Any:
    """Refuse what pydantic would make a truth value of: texts and numbers."""
    if not isinstance(given, bool):
        raise ValueError(f"must be true or false, not {given!r}")
    return given


Flag: TypeAlias = Annotated[bool, BeforeValidator(_flag)]
Number: TypeAlias = Annotated[float, BeforeValidator(_number)]
Whole: TypeAlias = Annotated[int, BeforeValidator(_number)]


#: pydantic's name of a fault → what is said of it; other faults are said in pydantic's words.
_SAID: Final = {
    "missing": "is missing: write it",
    "extra_forbidden": "there is no such key; docs/zoos.md has all that there are",
    "too_short": "must have {min_length} at least",
    "too_long": "must have {max_length} at most",
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list, [ … ]"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a table, {{ … }}"),
}
#: What one of several types is called in a place.
_TYPES: Final = frozenset({"bool", "int", "float", "str"})


def faults(error: ValidationError) -> dict[str, str]:
    """Return what is wrong with a table: place → what to write there. The place of a whole table is an empty text."""
    found: dict[str, str] = {}
    places = [detail["loc"] for detail in error.errors()]
    around = {place[:depth] for place in places for depth in range(len(place))}
    for detail in error.errors():
        place, said = detail["loc"], _said(detail["type"], detail["msg"], detail.get("ctx", {}))
        if place in around:  # a list lacks what is wrong in it
            continue
        if place and place[-1] in _TYPES and detail["type"].endswith("_type"):
            place, said = place[:-1], "must be a number, a text, true or false"
        found.setdefault(".".join(map(str, place)), said)
    return found


def _said(fault: str, message: str, context: Mapping[str, Any]) -> str:
    if fault in _SAID:
        return _SAID[fault].format(**context)
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


class Strict(BaseModel):
    """A table that knows its fields and never changes.

    Fields in `LATER` came after zoos had been published. At their defaults they are not written, so that a specification
    from before keeps its digest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        written: dict[str, Any] = write(self)
        return {
            name: value
            for name, value in written.items()
            if name not in self.LATER or getattr(self, name) != fields[name].get_default(call_default_factory=True)
        }
