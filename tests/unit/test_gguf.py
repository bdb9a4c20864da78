"""The GGUF header: what is read, and what is refused with which reason."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from gguf_files import (
    ARRAY,
    BOOL,
    F16,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    LETTERS,
    Q4_0,
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
)
from paddock.core.gguf import (
    ArrayInfo,
    Header,
    LargeText,
    ValueType,
    read_header,
)
from paddock.core.gguf_tables import BLOCKS
from paddock.errors import InvalidGguf, Retry

ONE_OF_EACH = {
    UINT8: 200,
    INT8: -100,
    UINT16: 60_000,
    INT16: -30_000,
    UINT32: 1 << 31,
    INT32: -(1 << 31),
    FLOAT32: 0.5,
    BOOL: True,
    STRING: "naïve",
    UINT64: 1 << 63,
    INT64: -(1 << 63),
    FLOAT64: 0.1,
}


def header_of(data: bytes, *, step: int | None = None) -> Header:
    """Reads a header from memory, `step` bytes at most at a time."""
    return read_header(lambda at, length: data[at : at + min(length, step or length)], len(data))


def refusal(data: bytes, size_bytes: int | None = None) -> InvalidGguf:
    size_bytes = len(data) if size_bytes is None else size_bytes
    with pytest.raises(InvalidGguf) as raised:
        read_header(lambda at, length: data[at : at + length], size_bytes)
    assert raised.value.message.isprintable()
    assert raised.value.retry is Retry.STALLED
    return raised.value


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("big_endian", [False, True])
def test_every_value_type_is_read_in_every_version_and_order(
    version: int, big_endian: bool
) -> None:
    kv: dict[str, Any] = {f"x.{kind}": Typed(kind, v) for kind, v in ONE_OF_EACH.items()}
    kv |= {f"a.{kind}": Array(kind, [v, v]) for kind, v in ONE_OF_EACH.items()}
    header = header_of(gguf_bytes(kv, version=version, big_endian=big_endian))
    assert header.version == version
    assert header.byte_order == ("big" if big_endian else "little")
    for kind, value in ONE_OF_EACH.items():
        assert header.kv[f"x.{kind}"] == value
        assert type(header.kv[f"x.{kind}"]) is type(value)
        assert header.types[f"x.{kind}"] is ValueType(kind)
        assert header.kv[f"a.{kind}"] == ArrayInfo(ValueType(kind), 2, (value, value))


def test_a_swapped_magic_means_a_swapped_file() -> None:
    header = header_of(gguf_bytes({"a": 7}, magic=b"FUGG", big_endian=True))
    assert (header.byte_order, header.kv["a"]) == ("big", 7)


def test_parameters_and_the_files_end_come_from_the_tensors() -> None:
    tensors = [Tensor("a", (64, 3), Q4_0), Tensor("b", (5,), F16), Tensor("c", (), F16)]
    data = gguf_bytes({"general.alignment": 64}, tensors, alignment=64)
    header = header_of(data)
    assert header.tensors_count == 3
    assert header.parameter_count == 64 * 3 + 5 + 1
    assert header.alignment == 64
    assert header.data_offset % 64 == 0
    assert header.tensor_end == header.data_offset + 128 + 64 + 2


@pytest.mark.parametrize(("kind", "block"), BLOCKS.items())
def test_the_size_of_every_tensor_type_is_known(kind: int, block: tuple[int, int]) -> None:
    values, block_bytes = block
    tensor = Tensor("t", (values * 2, 3), kind, size_bytes=block_bytes * 6)
    header = header_of(gguf_bytes({}, [tensor]))
    assert header.tensor_end - header.data_offset == block_bytes * 6


def test_a_tensor_type_of_tomorrow_is_no_reason_to_refuse() -> None:
    assert header_of(gguf_bytes({}, [Tensor("t", (7,), 999, size_bytes=0)])).parameter_count == 7


def test_a_file_that_ends_within_its_tensors_is_told_from_a_whole_one() -> None:
    data = gguf_bytes({}, [Tensor("t", (64,), F16)])
    end = header_of(data).tensor_end
    assert header_of(data[:end]).tensor_end == end
    error = refusal(data[: end - 1])
    assert error.reason == "Truncated"
    assert f"ends at byte {end}, but the file has {end - 1}; download it again" in error.message


def test_a_file_that_ends_anywhere_in_its_header_is_truncated() -> None:
    data = model_bytes()
    for size in range(8, header_of(data).data_offset, 7):
        assert refusal(data[:size]).reason == "Truncated"


def test_a_file_that_shrinks_while_it_is_read_is_truncated() -> None:
    data = model_bytes()
    assert refusal(data[:600], size_bytes=len(data)).reason == "Truncated"


def test_reads_that_come_back_short_are_gone_on_with() -> None:
    data = model_bytes()
    assert header_of(data, step=5) == header_of(data)


@pytest.mark.parametrize(
    ("start", "hint"),
    [
        (b"", "it is empty"),
        (b"GGU", "begins with 'GGU'"),
        (b"gguf", "begins with 'gguf'"),
        (b"ggml", "begins with 'ggml'"),
        (b"PK\x03\x04", "a zip archive"),
        (b"version https://git-lfs", "git lfs pull"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x00\n\x1b[", r"begins with '\\x00\\n\\x1b\['"),
    ],
)
def test_what_is_not_gguf_is_called_by_what_it_begins_with(start: bytes, hint: str) -> None:
    error = refusal(start + bytes(100) if start and len(start) > 3 else start)
    assert error.reason == "NotGGUF"
    assert pytest.raises(AssertionError, match=hint).matches(AssertionError(error.message))


@pytest.mark.parametrize("version", [0, 1, 4, 0x0100_0000])
def test_other_versions_are_refused_by_number(version: int) -> None:
    error = refusal(gguf_bytes({}, version=version))
    assert error.reason == "UnsupportedVersion"


LONG = (1 << 63) + 1
MALFORMED = {
    "a key of 64 KiB and more": gguf_bytes({"k" * 65_537: 1}),
    "a value type that is none": gguf_bytes({})[:16] + b"\1" + bytes(7) + bytes(8) + b"\x0d" * 9,
    "an array of arrays": gguf_bytes({"a": Array(ARRAY, [])}),
    "an array of no known type": gguf_bytes({"a": Array(77, [])}),
    "a key twice": gguf_bytes({"a": 1, "b": 1}).replace(b"b\4", b"a\4"),
    "five dimensions": gguf_bytes({}, [Tensor("t", (1, 1, 1, 1, 1))]),
    "no values": gguf_bytes({}, [Tensor("t", (0,))]),
    "half a block": gguf_bytes({}, [Tensor("t", (33,), Q4_0)]),
    "more values than any file": gguf_bytes({}, [Tensor("t", (LONG, LONG), 999, size_bytes=0)]),
    "an alignment of nothing": gguf_bytes({"general.alignment": 0}),
    "an odd alignment": gguf_bytes({"general.alignment": 33}),
    "a huge alignment": gguf_bytes({"general.alignment": 1 << 31}),
    "an alignment in words": gguf_bytes({"general.alignment": "32"}),
    "too many tensors": b"GGUF\3\0\0\0" + b"\xff" * 8 + bytes(8),
    "too many keys": b"GGUF\3\0\0\0" + bytes(8) + b"\xff" * 8,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_breaks_the_format_or_a_bound_is_malformed(data: bytes) -> None:
    assert refusal(data, size_bytes=1 << 40).reason == "Malformed"


@pytest.mark.parametrize(
    ("kind", "declared"),
    [(STRING, (16 << 20) + 1), (STRING, (1 << 64) - 1), (UINT8, (64 << 20) + 1), (UINT64, 1 << 61)],
)
def test_a_length_that_is_a_lie_is_refused_before_anything_is_made_for_it(
    kind: int, declared: int
) -> None:
    """The length in the file, not the data behind it, is what a hostile file plays with."""
    entry = b"\1" + bytes(7) + b"a"
    value = bytes([kind, 0, 0, 0]) if kind == STRING else bytes([ARRAY, 0, 0, 0, kind, 0, 0, 0])
    data = b"GGUF\3\0\0\0" + bytes(8) + b"\1" + bytes(7) + entry + value
    data += declared.to_bytes(8, "little")
    tracemalloc.start()
    assert refusal(data, size_bytes=1 << 62).reason == "Malformed"
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def sparse(head: bytes) -> Any:
    """Reads as a file of zeros without end after `head`, as a sparse file does."""
    return lambda at, length: head[at : at + length].ljust(length, b"\0")


def array(kind: int, count: int, key: bytes = b"a") -> bytes:
    """The start of an array that says it has `count` items."""
    head = bytes([1, 0, 0, 0, 0, 0, 0, 0, *key, ARRAY, 0, 0, 0, kind, 0, 0, 0])
    return head + count.to_bytes(8, "little")


def head(keys: int) -> bytes:
    return b"GGUF\3\0\0\0" + bytes(8) + keys.to_bytes(8, "little")


ENDLESS = {
    "is there twice": head(100_000),
    "more than 8388608 strings": head(1) + array(STRING, 64 << 20),
    "a string says 16777217 bytes": head(1) + array(STRING, 65) + b"\1\0\0\1",
    "more than 4194304 bytes of keys and values": gguf_bytes(
        {f"k{n}": "x" * 65_536 for n in range(70)}
    ),
}


@pytest.mark.parametrize(("problem", "start"), ENDLESS.items(), ids=ENDLESS.keys())
def test_a_file_of_holes_keeps_nobody_busy(problem: str, start: bytes) -> None:
    """A sparse file costs its maker nothing, whatever its size."""
    with pytest.raises(InvalidGguf, match=problem) as raised:
        read_header(sparse(start), 1 << 42)
    assert raised.value.reason == "Malformed"


def test_a_header_of_more_than_a_gib_is_refused() -> None:
    """Three arrays of 512 MiB, of which nothing but the starts is ever read."""
    gib_third = 8 * (64 << 20)
    starts = {0: head(3) + array(UINT64, 64 << 20)}
    at = len(starts[0]) + gib_third
    starts[at] = array(UINT64, 64 << 20, b"b")
    starts[at + len(starts[at]) + gib_third] = array(UINT64, 64 << 20, b"c")
    with pytest.raises(InvalidGguf, match="header is longer than 1073741824 bytes"):
        read_header(lambda at, length: starts[at].ljust(min(length, 64), b"\0"), 1 << 42)


def test_a_file_that_ends_in_its_last_string_is_truncated() -> None:
    data = gguf_bytes({"a": Array(STRING, ["x" * 100] * 65)}, [])
    end = header_of(data).tensor_end
    assert "the header goes on after" in refusal(data[: end - 1]).message


def test_large_values_are_stepped_over_and_keep_their_size() -> None:
    kv = {
        "text": "x" * 65_537,
        "exact": "x" * 65_536,
        "numbers": Array(UINT32, range(65)),
        "few": Array(UINT32, range(64)),
        "texts": Array(STRING, ["y" * 2000] * 3),
        "after": 7,
    }
    header = header_of(gguf_bytes(kv))
    assert header.kv["text"] == LargeText(65_537)
    assert header.kv["exact"] == "x" * 65_536
    assert header.kv["numbers"] == ArrayInfo(ValueType.UINT32, 65, None)
    assert header.kv["few"] == ArrayInfo(ValueType.UINT32, 64, tuple(range(64)))
    assert header.kv["texts"] == ArrayInfo(ValueType.STRING, 3, None)
    assert header.kv["after"] == 7


def test_a_tokenizer_of_400_000_tokens_takes_few_reads_and_little_memory() -> None:
    data = gguf_bytes({"tokenizer.ggml.tokens": Array(STRING, ["token"] * 400_000), "after": 1})
    reads: list[tuple[int, int]] = []

    def read_at(at: int, length: int) -> bytes:
        reads.append((at, length))
        return data[at : at + length]

    tracemalloc.start()
    header = read_header(read_at, len(data))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert header.kv["after"] == 1
    assert peak_bytes < 5 << 20
    assert len(reads) < 40


def test_the_writer_knows_the_types_that_the_reader_knows() -> None:
    assert {*LETTERS, STRING, ARRAY} == set(ValueType)
