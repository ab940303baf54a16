"""Headers of safetensors files, which may come from anybody: read as the library reads them, or refused."""

import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.torch import save

from mdbench.errors import MdbenchError
from zoo_builder.publishing import header


def parsed(content: bytes) -> dict[str, bytes] | None:
    """Read everything that a file holds; None where it is refused. Nothing is asked for that the file does not have."""

    def read(start: int, stop: int) -> bytearray:
        assert 0 <= start < stop <= len(content)
        return bytearray(content[start:stop])

    try:
        tensors, begin = header.read_header(read, len(content), "it")
        found = header.read_tensors(read, tensors, begin)
    except MdbenchError:
        return None
    return {name: value.numpy().tobytes() for name, value in found.items()}


def by_library(content: bytes) -> dict[str, bytes] | None:
    try:
        return {name: bytes(entry["data"]) for name, entry in deserialize(content)}
    except SafetensorError:
        return None


KINDS = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.float16])
SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@given(st.dictionaries(st.text(max_size=8), st.tuples(KINDS, SHAPES), max_size=6))
def test_what_the_library_writes_is_read(tensors):
    wanted = {
        name: (torch.arange(int(np.prod(shape))) % 2).to(kind).reshape(shape) for name, (kind, shape) in tensors.items()
    }
    assert parsed(save(wanted)) == {name: value.numpy().tobytes() for name, value in wanted.items()}


SMALL = st.integers(-1, 20) | st.sampled_from([2**31, 2**53, 2**63, 2**64, 10**30, 0.5, None, "4", True])
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "I64", "BF16", "F4", "", 4]),
        "shape": st.lists(SMALL, max_size=9) | SMALL,
        "data_offsets": st.lists(SMALL, max_size=3) | st.tuples(SMALL, SMALL),
    }
)
NESTED = st.recursive(
    SMALL, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner), max_leaves=5
)
HEADER = st.dictionaries(st.sampled_from(["a", "a/b", "__metadata__", ""]), ENTRY | NESTED, max_size=3)


@given(
    HEADER.map(lambda said: json.dumps(said).encode()) | st.binary(max_size=60),
    st.binary(max_size=24),
    st.integers(-3, 3) | st.sampled_from([2**24, 2**40, 2**64]),
)
def test_a_hostile_file_is_refused_or_read_as_the_library_reads_it(said, data, wrong):
    content = struct.pack("<Q", min(2**64 - 1, max(0, len(said) + wrong))) + said + data
    found = parsed(content)
    assert found is None or found == by_library(content)


@given(st.data())
def test_a_changed_file_is_refused_or_read_as_the_library_reads_it(data):
    content = bytearray(save({"a/x": torch.arange(3.0), "a/y": torch.arange(2), "b": torch.ones(2, 2)}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    found = parsed(content)
    assert found is None or found == by_library(content)


@pytest.mark.parametrize(
    "said",
    [
        "[" * 10**6,
        '{"a":' * 10**5,
        '{"a": {"dtype": "F32", "shape": [' + "1," * 10**5 + '1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [' + "9" * 10**5 + '], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        '{"a": {"dtype": "F32", "shape": [281474976710655, 281474976710655, 0], "data_offsets": [0, 0]}, '
        '"b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F32"}}',
        '{"a": {"dtype": "F32", "shape": "1"}}',
        '{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    ],
    ids=["lists", "objects", "dimensions", "digits", "overlap", "hole", "nothing", "half", "text", "surrogate"],
)
def test_a_hostile_header_is_refused(said):
    assert parsed(struct.pack("<Q", len(said)) + said.encode() + bytes(4)) is None


TWICE = (
    '{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "a": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}}',
    '{"a": {"dtype": "I32", "dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
)


@pytest.mark.parametrize("said", TWICE)
def test_a_header_that_says_a_thing_twice_is_refused(said):
    content = struct.pack("<Q", len(said)) + said.encode() + bytes(4)
    with pytest.raises(MdbenchError, match="stands there twice"):
        header.read_header(lambda start, stop: bytearray(content[start:stop]), len(content), "it")


@pytest.mark.parametrize("byte", [2, 128, 255])
def test_a_truth_value_is_0_or_1(byte):
    content = bytearray(save({"mask": torch.tensor([True, False, True])}))
    assert parsed(bytes(content)) == {"mask": b"\1\0\1"}
    content[-2] = byte
    read = lambda start, stop: bytearray(content[start:stop])  # noqa: E731
    with pytest.raises(MdbenchError, match="'mask' is damaged: a truth value"):
        header.read_tensors(read, *header.read_header(read, len(content), "it"))


def test_a_long_header_is_not_even_read():
    def read(start: int, stop: int) -> bytearray:
        assert (start, stop) == (0, 8)
        return bytearray(struct.pack("<Q", 2**30))

    with pytest.raises(MdbenchError, match="1073741824 bytes"):
        header.read_header(read, 2**40, "it")
