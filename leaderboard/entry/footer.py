"""What a Parquet file says of itself, read by ourselves before any library opens it.

Libraries take a file's footer at its word: one that was made to be wrong ends the process, and one column of a few
kilobytes may say that it unpacks to many gigabytes. The footer is a structure in Thrift's compact protocol
(https://github.com/apache/parquet-format); here it is decoded within bounds, and nothing but what is known is let through.
"""

from dataclasses import dataclass
from typing import Any, Final

MAGIC: Final = b"PAR1"
#: Bytes of a footer, row groups, and structures within each other, at most.
LARGEST: Final = 2**20
ROW_GROUPS: Final = 1000
_DEEPEST: Final = 12

# Kinds of values.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
# A structure is number and kind of a field → its value: a field of another kind than it should be is one that is not there.
_Struct = dict[tuple[int, int], Any]

_PHYSICAL: Final = {1: "INT32", 2: "INT64", 6: "BYTE_ARRAY"}
_REPEATED: Final = 2
_UNCOMPRESSED: Final = 0


class FooterError(ValueError):
    """A file is not what it should be.

    Attributes
    ----------
    kind : in a word: ``damaged``, ``table`` (other columns), ``types``, ``size`` or ``compressed``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Footer:
    """What is known of a file whose footer is in order.

    Attributes
    ----------
    rows : rows of the table.
    """

    rows: int


def read_footer(content: bytes, columns: tuple[str, ...], texts: tuple[str, ...]) -> Footer:
    """Read the footer of a Parquet file and make sure that the file may be opened.

    Parameters
    ----------
    content : the file.
    columns : the columns that it must have, in this order.
    texts : those of them that are texts; the others are signed whole numbers.

    Raises
    ------
    FooterError
        It is no Parquet file, has other columns, a column is compressed or within another one, or it contradicts itself.
    """
    size = int.from_bytes(content[-8:-4], "little")
    if len(content) < 12 or content[:4] != MAGIC or content[-4:] != MAGIC or size > len(content) - 12:
        raise FooterError("damaged", "it is no Parquet file, or not a whole one")
    if size > LARGEST:
        raise FooterError("size", f"its footer is larger than {LARGEST:,} bytes")
    head = _Decoder(content[-8 - size : -8]).whole()
    if any(field in (8, 9) for field, _ in head):
        raise FooterError("damaged", "it is encrypted")
    _check_schema(_of(head, 2, _LIST), columns, texts)
    groups, rows = _of(head, 4, _LIST), _of(head, 3, _I64)
    if len(groups) > ROW_GROUPS:
        raise FooterError("size", f"it is cut into {len(groups):,} pieces, which is far more than it needs")
    there = 0
    for group in groups:
        count = _of(group, 3, _I64)
        there += count
        chunks = _of(group, 1, _LIST)
        if count < 0 or len(chunks) != len(columns):
            raise FooterError("damaged", "it contradicts itself about the number of its rows or columns")
        for name, chunk in zip(columns, chunks, strict=True):
            _check_chunk(chunk, name, count, physical="BYTE_ARRAY" if name in texts else None)
    if there != rows:
        raise FooterError("damaged", "it contradicts itself about the number of its rows")
    return Footer(rows)


def _check_schema(schema: list[_Struct], columns: tuple[str, ...], texts: tuple[str, ...]) -> None:
    root, *fields = schema or [{}]
    names = [_of(field, 4, _BINARY).decode("utf-8", "replace") for field in fields[:20]]
    flat = root.get((5, _I32)) == len(fields) and not any((5, _I32) in field for field in fields)
    if names != list(columns) or not flat:
        said = ", ".join(f"{name[:40]!a}" for name in names)
        raise FooterError("table", f"its columns are {said}, not {', '.join(columns)}, each by itself")
    for name, field in zip(columns, fields, strict=True):
        physical = _PHYSICAL.get(_of(field, 1, _I32), "something else")
        logical: _Struct = field.get((10, _STRUCT), {})
        converted = field.get((6, _I32))
        if name in texts:
            fits = physical == "BYTE_ARRAY" and (set(logical) == {(1, _STRUCT)} or (not logical and converted == 0))
        else:
            whole = set(logical) == {(10, _STRUCT)} and (2, _FALSE) not in logical[10, _STRUCT]
            fits = physical in ("INT32", "INT64") and (whole or (not logical and converted is None))
        if not fits or _of(field, 3, _I32) >= _REPEATED:
            raise FooterError("types", f"column {name} does not hold {'texts' if name in texts else 'whole numbers'}")


def _check_chunk(chunk: _Struct, name: str, rows: int, physical: str | None) -> None:
    about: _Struct = _of(chunk, 3, _STRUCT)
    if any(field in (1, 8, 9) for field, _ in chunk):
        raise FooterError("damaged", f"column {name} is encrypted, or in another file")
    if _of(about, 5, _I64) != rows or _of(about, 3, _LIST) != [name.encode()]:
        raise FooterError("damaged", f"it contradicts itself about column {name}")
    if physical and _PHYSICAL.get(_of(about, 1, _I32)) != physical:
        raise FooterError("damaged", f"it contradicts itself about the type of column {name}")
    if _of(about, 4, _I32) != _UNCOMPRESSED:
        raise FooterError("compressed", f"column {name} is compressed; write it without compression")


def _of(struct: _Struct, field: int, kind: int) -> Any:
    if (field, kind) not in struct:
        raise FooterError("damaged", "its footer is incomplete")
    return struct[field, kind]


class _Decoder:
    """Thrift's compact protocol."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def whole(self) -> _Struct:
        """Return the structure that is all of the content."""
        try:
            struct = self._struct(0)
        except IndexError as error:
            raise FooterError("damaged", "its footer ends too early") from error
        if self._at != len(self._content):
            raise FooterError("damaged", "there is something behind its footer")
        return struct

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._content[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise FooterError("damaged", "a number in its footer is too long")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _struct(self, depth: int) -> _Struct:
        struct: _Struct = {}
        seen: set[int] = set()
        field = 0
        while byte := self._byte():
            field = field + (byte >> 4) if byte >> 4 else self._integer()
            if field in seen:
                raise FooterError("damaged", "a field stands in its footer twice")
            seen.add(field)
            kind = byte & 15
            struct[field, kind] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth + 1)
        return struct

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise FooterError("damaged", "its footer is nested too deeply")
        if kind == _STRUCT:
            return self._struct(depth)
        if kind in (_I16, _I32, _I64):
            return self._integer()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            byte = self._byte()
            count, of = (byte >> 4, byte & 15) if byte >> 4 < 15 else (self._varint(), byte & 15)
            return self._several(count, (of,), depth)
        if kind == _MAP:
            count = self._varint()
            byte = self._byte() if count else 0
            return self._several(count, (byte >> 4, byte & 15), depth)
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise FooterError("damaged", "a value of its footer is of no known kind")

    def _several(self, count: int, kinds: tuple[int, ...], depth: int) -> list[Any]:
        if count > len(self._content) - self._at:
            raise FooterError("damaged", "its footer ends too early")
        return [self._value(kind, depth + 1) for _ in range(count) for kind in kinds]

    def _bytes(self, count: int) -> bytes:
        if count > len(self._content) - self._at:
            raise FooterError("damaged", "its footer ends too early")
        self._at += count
        return self._content[self._at - count : self._at]
