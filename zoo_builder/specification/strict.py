"""What the tables of a specification have in common."""

from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializerFunctionWrapHandler, model_serializer


def _number(given: Any) -> Any:
    """Refuse what pydantic would make a number of: texts and truth values."""
    if isinstance(given, str | bool):
        raise ValueError(f"must be a number, not {str(given).lower() if isinstance(given, bool) else repr(given)}")
    return given


Number: TypeAlias = Annotated[float, BeforeValidator(_number)]
Whole: TypeAlias = Annotated[int, BeforeValidator(_number)]


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
