"""The header of a safetensors file: which tensors are in it, and where.

It is read from wherever the file is, without the file, and believed only as far as it fits the file's size.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from mdbench.errors import MdbenchError, reason

#: Bytes of the largest header that is read.
LARGEST: Final = 2**24
_LENGTH: Final = 8  # bytes before the header, which say how long it is
_KINDS: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_MANY: Final = 2**48
_Whole = Annotated[int, Field(ge=0, lt=_MANY)]

#: Returns the bytes of a file from a position to before another.
Read = Callable[[int, int], bytearray]


class Entry(BaseModel):
    """What a header says of a tensor.

    Attributes
    ----------
    dtype : its kind.
    shape : its shape.
    data_offsets : where it begins and ends, counted from the end of the header.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    dtype: Literal["F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: tuple[_Whole, ...] = Field(max_length=8)
    data_offsets: tuple[_Whole, _Whole]

    @property
    def kind(self) -> torch.dtype:
        """Its kind, as PyTorch says it."""
        return _KINDS[self.dtype]

    @property
    def fits(self) -> bool:
        """Whether it takes the bytes that its kind and its shape need, and PyTorch can count them."""
        start, stop = self.data_offsets
        strides = math.prod(max(1, length) for length in self.shape)
        return stop - start == math.prod(self.shape) * self.kind.itemsize and strides < _MANY


_HEADER: Final = TypeAdapter(dict[str, Entry | dict[str, str]])


def read_header(read: Read, size: int, where: str) -> tuple[dict[str, Entry], int]:
    """Read the header of a safetensors file.

    Parameters
    ----------
    read : reads the file.
    size : the file's, in bytes.
    where : the file, for messages.

    Returns
    -------
    The tensors, and the position in the file that their offsets are counted from.

    Raises
    ------
    MdbenchError
        The file is not a safetensors file: its header is longer than the file or than `LARGEST`, is not JSON of the right
        form, knows a kind of number that we do not, or its tensors do not cover what is behind it, each byte once.
    """
    if size < _LENGTH:
        raise MdbenchError(f"{where} is not a safetensors file: it has only {size} bytes")
    (length,) = struct.unpack("<Q", read(0, _LENGTH))
    if not 0 < length <= min(size - _LENGTH, LARGEST):
        raise MdbenchError(f"{where} is not a safetensors file: its header would have {length} bytes")
    begin = _LENGTH + length
    try:
        content = bytes(read(_LENGTH, begin))
        said = _HEADER.validate_json(content)
        json.loads(content, object_pairs_hook=_once)
    except (ValidationError, ValueError, RecursionError) as error:
        raise MdbenchError(f"{where} has no safetensors header: {reason(error)}") from error
    tensors = {name: entry for name, entry in said.items() if isinstance(entry, Entry)}
    if said.keys() - tensors.keys() - {"__metadata__"}:
        raise MdbenchError(f"{where} has no safetensors header: what it says of a tensor is text alone")
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        if not entry.fits or entry.data_offsets[0] != end:
            raise MdbenchError(
                f"{where} is damaged: tensor {name!r} is not where the one before it ends, or of another size"
            )
        end = entry.data_offsets[1]
    if begin + end != size:
        raise MdbenchError(f"{where} is damaged: its tensors end at byte {begin + end}, the file at byte {size}")
    return tensors, begin


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object of which every key stands there once: readers differ in which of two they take."""
    said: dict[str, Any] = {}
    for key, value in pairs:
        if key in said:
            raise ValueError(f"key {key[:80]!a} stands there twice")
        said[key] = value
    return said


def read_tensors(read: Read, tensors: Mapping[str, Entry], begin: int) -> dict[str, Tensor]:
    """Read tensors, those that stand one behind the other in one go.

    Parameters
    ----------
    read : reads the file.
    tensors : name → entry; as from `read_header`, or some of it.
    begin : what offsets are counted from.

    Raises
    ------
    MdbenchError
        A truth value is neither 0 nor 1.
    """
    order = sorted(tensors, key=lambda name: tensors[name].data_offsets)
    runs: list[list[str]] = []
    for name in order:
        if runs and tensors[runs[-1][-1]].data_offsets[1] == tensors[name].data_offsets[0]:
            runs[-1].append(name)
        else:
            runs.append([name])
    found = {}
    for run in runs:
        start, stop = tensors[run[0]].data_offsets[0], tensors[run[-1]].data_offsets[1]
        content = read(begin + start, begin + stop) if stop > start else bytearray()
        for name in run:
            entry = tensors[name]
            own = content[entry.data_offsets[0] - start : entry.data_offsets[1] - start]
            if entry.kind is torch.bool and own.translate(None, b"\0\1"):
                raise MdbenchError(
                    f"tensor {name!r} is damaged: a truth value is one byte, 0 or 1, and another one is there"
                )
            flat = torch.frombuffer(own, dtype=entry.kind) if own else torch.empty(0, dtype=entry.kind)
            found[name] = flat.reshape(entry.shape)
    return found
