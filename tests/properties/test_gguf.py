"""Properties of the GGUF reader: round trips, and no file that harms it."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gguf_files import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    STRING,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Array,
    Tensor,
    Typed,
    gguf_bytes,
    model_bytes,
    projector_bytes,
)
from paddock.core.gguf import ArrayInfo, Facts, Header, facts, read_header
from paddock.errors import InvalidGguf

MOST_BYTES = 8 << 20
MOST_READS = 64


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low = -(1 << bits - 1) if signed else 0
    return st.integers(low, low + (1 << bits) - 1)


_ITEMS: dict[int, st.SearchStrategy[Any]] = {
    UINT8: _integers(8, signed=False),
    INT8: _integers(8, signed=True),
    UINT16: _integers(16, signed=False),
    INT16: _integers(16, signed=True),
    UINT32: _integers(32, signed=False),
    INT32: _integers(32, signed=True),
    UINT64: _integers(64, signed=False),
    INT64: _integers(64, signed=True),
    FLOAT32: st.floats(width=32, allow_nan=False),
    FLOAT64: st.floats(allow_nan=False),
    BOOL: st.booleans(),
    STRING: st.text(max_size=30),
}
_typed = st.sampled_from(sorted(_ITEMS)).flatmap(
    lambda kind: st.builds(Typed, st.just(kind), _ITEMS[kind])
)
_arrays = st.sampled_from(sorted(_ITEMS)).flatmap(
    lambda kind: st.builds(Array, st.just(kind), st.lists(_ITEMS[kind], max_size=70))
)
_keys = st.text(min_size=1, max_size=20).filter(lambda key: key != "general.alignment")
_metadata = st.dictionaries(_keys, st.one_of(_typed, _arrays), max_size=8)
_shapes = st.lists(st.integers(1, 6), max_size=4).map(tuple)
_tensors = st.lists(st.builds(Tensor, st.text(max_size=20), _shapes), max_size=5)
_files = st.builds(
    gguf_bytes,
    _metadata,
    _tensors,
    version=st.sampled_from([2, 3]),
    big_endian=st.booleans(),
)


@contextmanager
def bounded() -> Iterator[None]:
    """Fails where the work inside takes more memory than a hostile file may cost."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def read(data: bytes, size_bytes: int | None = None) -> Header:
    reads = 0

    def read_at(at: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        assert reads <= MOST_READS
        assert 0 <= at <= at + length <= (len(data) if size_bytes is None else size_bytes)
        return data[at : at + length]

    return read_header(read_at, len(data) if size_bytes is None else size_bytes)


def attempt(data: bytes, size_bytes: int | None = None) -> Header | InvalidGguf:
    try:
        return read(data, size_bytes)
    except InvalidGguf as error:
        return error


def survive(data: bytes, size_bytes: int | None = None) -> None:
    """Reads what may be anything: a header with facts, or InvalidGguf, within the bounds."""
    with bounded():
        header = attempt(data, size_bytes)
        if isinstance(header, InvalidGguf):
            assert header.reason in {"NotGGUF", "UnsupportedVersion", "Truncated", "Malformed"}
            assert header.message.isprintable()
            return
        found = facts(header)
        assert Facts.from_json(found.to_json()) == found
        assert facts(read(found.stub)).stub == found.stub


@given(_metadata, _tensors, st.sampled_from([2, 3]), st.booleans())
def test_what_is_written_is_read(
    kv: dict[str, Any], tensors: list[Tensor], version: int, big_endian: bool
) -> None:
    header = read(gguf_bytes(kv, tensors, version=version, big_endian=big_endian))
    assert header.version == version
    assert header.byte_order == ("big" if big_endian else "little")
    assert list(header.kv) == list(kv)
    for key, written in kv.items():
        value = header.kv[key]
        if isinstance(written, Typed):
            assert (header.types[key], value) == (written.type, written.value)
        else:
            assert isinstance(value, ArrayInfo)
            assert (value.type, value.count) == (written.type, len(written.items))
            assert value.items in (None, tuple(written.items))
            assert value.items is not None or len(written.items) > 64
    assert header.tensors_count == len(tensors)
    assert header.parameter_count == sum(math.prod(tensor.shape) for tensor in tensors)


@given(st.binary(max_size=300))
def test_no_bytes_do_harm(data: bytes) -> None:
    survive(data)
    survive(b"GGUF" + data)
    survive(b"GGUF\3\0\0\0" + data, 1 << 40)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_files, st.data())
def test_no_change_to_a_valid_file_does_harm(file: bytes, data: st.DataObject) -> None:
    changed = bytearray(file)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(changed) - 1))
        patch = data.draw(st.one_of(st.binary(min_size=1, max_size=1), st.just(b"\xff" * 8)))
        changed[at : at + len(patch)] = patch
    survive(bytes(changed[: data.draw(st.integers(0, len(changed)))]))
    survive(bytes(changed), 1 << 40)


@given(st.sampled_from([model_bytes(), projector_bytes()]), st.data())
def test_no_cut_of_a_real_file_is_taken_for_the_whole(file: bytes, data: st.DataObject) -> None:
    size_bytes = data.draw(st.integers(0, read(file).tensor_end - 1))
    error = attempt(file[:size_bytes])
    assert isinstance(error, InvalidGguf)
    assert error.reason == ("NotGGUF" if size_bytes < 4 else "Truncated")


@given(_files)
def test_a_stub_of_a_stub_is_that_stub(file: bytes) -> None:
    stub = facts(read(file)).stub
    assert facts(read(stub)).stub == stub
