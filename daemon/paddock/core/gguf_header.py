"""The header of a GGUF file: its metadata, and what its tensors come to.

Owns the parse of versions 2 and 3 in both byte orders, and the check that the file is as long as
its tensors need. Takes a function that reads bytes; opens nothing. Keeps small values only: large
arrays (the tokenizer) and large strings are stepped over, so that memory has a bound.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn, TypeAlias

from paddock.core.gguf_cursor import (
    MAX_KEY_BYTES,
    MAX_STRING_BYTES,
    ByteOrder,
    Cursor,
    ReadAt,
    malformed,
)
from paddock.core.gguf_tables import BLOCKS, FORMATS, ValueType
from paddock.errors import InvalidGguf

MAX_ARRAY_ITEMS = 64 << 20
MAX_KEYS = 100_000
MAX_TENSORS = 100_000
MAX_DIMS = 4
MAX_TEXT_BYTES = 64 * 1024
MAX_KEPT_ITEMS = 64
MAX_KEPT_ARRAY_BYTES = 4 * 1024
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 20

_SUPPORTED_VERSIONS = (2, 3)
_MAX_INT64 = (1 << 63) - 1
# What a key and its value take in memory beside their texts and items, and what an item takes.
_ENTRY_BYTES = 384
_ITEM_BYTES = 48
_WHAT_BEGINS_SO = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"vers": "a git-lfs pointer; run git lfs pull",
    b"<!": "a web page",
    b"<htm": "a web page",
}

Scalar: TypeAlias = int | float | bool | str


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """An array in the metadata; `items` is None when it was too large to keep."""

    type: ValueType
    count: int
    items: tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class LargeText:
    """A string in the metadata that was too large to keep."""

    size_bytes: int


Value: TypeAlias = Scalar | ArrayInfo | LargeText


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says about itself; sizes and offsets are bytes from the file's start.

    `types` has the type of each value of `kv`. `tensor_end` is the least size of the whole file.
    """

    version: int
    byte_order: ByteOrder
    kv: Mapping[str, Value]
    types: Mapping[str, ValueType]
    alignment: int
    tensors_count: int
    parameter_count: int
    data_offset: int
    tensor_end: int


def read_header(read_at: ReadAt, size_bytes: int) -> Header:
    """Reads the header of a file of `size_bytes`; `read_at(offset, length)` gives its bytes.

    Raises InvalidGguf with the reason NotGGUF, UnsupportedVersion, Truncated or Malformed.
    """
    cursor = Cursor(read_at, size_bytes)
    version = _read_preamble(cursor)
    tensors_count = cursor.length("the number of tensors", MAX_TENSORS)
    keys_count = cursor.length("the number of metadata keys", MAX_KEYS)
    kv, types = _read_metadata(cursor, keys_count)
    parameter_count, data_bytes = _read_tensors(cursor, tensors_count)
    alignment = _alignment(kv.get("general.alignment", DEFAULT_ALIGNMENT))
    data_offset = -(-cursor.position // alignment) * alignment
    tensor_end = data_offset + data_bytes if tensors_count else cursor.position
    _check_size(tensor_end, size_bytes)
    return Header(
        version=version,
        byte_order="little" if cursor.order == "<" else "big",
        kv=MappingProxyType(kv),
        types=MappingProxyType(types),
        alignment=alignment,
        tensors_count=tensors_count,
        parameter_count=parameter_count,
        data_offset=data_offset,
        tensor_end=tensor_end,
    )


def printable(text: str) -> str:
    """Returns text of a header so that it can be shown: bytes that are not UTF-8 replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _read_preamble(cursor: Cursor) -> int:
    """Reads magic and version, and with them the byte order.

    `GGUF` stands at the start in either order, so that the version tells; `FUGG` is what a writer
    leaves that swaps the magic too (`ollama:fs/gguf/gguf.go` open).
    """
    magic: bytes = cursor.unpack(f"{min(4, cursor.size_bytes)}s")[0]
    if magic == b"FUGG":
        cursor.order = ">"
    elif magic != b"GGUF":
        _not_gguf(magic)
    version: int = cursor.number("I")
    if magic == b"GGUF" and version and not version & 0xFFFF:
        cursor.order = ">"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in _SUPPORTED_VERSIONS:
        raise InvalidGguf(
            f"GGUF version {version} is not supported; convert the model anew to version 3",
            reason="UnsupportedVersion",
        )
    return version


def _not_gguf(magic: bytes) -> NoReturn:
    if not magic:
        raise InvalidGguf("not a GGUF file: it is empty; get it again", reason="NotGGUF")
    kinds = [kind for start, kind in _WHAT_BEGINS_SO.items() if magic.startswith(start)]
    hint = f" ({kinds[0]})" if kinds else ""
    shown = ascii(magic)[1:]
    raise InvalidGguf(
        f"not a GGUF file: it begins with {shown}{hint}, not with 'GGUF'; name another file",
        reason="NotGGUF",
    )


def _read_metadata(cursor: Cursor, count: int) -> tuple[dict[str, Value], dict[str, ValueType]]:
    kv: dict[str, Value] = {}
    types: dict[str, ValueType] = {}
    for _ in range(count):
        key = cursor.text(cursor.length("the length of a key", MAX_KEY_BYTES))
        if key in kv:
            malformed(f"the key {key[:80]!a} is there twice")
        cursor.count_kept(_ENTRY_BYTES)
        types[key] = _read_type(cursor)
        kv[key] = _read_value(cursor, types[key])
    return kv, types


def _read_type(cursor: Cursor) -> ValueType:
    number: int = cursor.number("I")
    if number > max(ValueType):
        malformed(f"there is no value type {number}")
    return ValueType(number)


def _read_value(cursor: Cursor, kind: ValueType) -> Value:
    if kind is ValueType.ARRAY:
        return _read_array(cursor)
    if kind is not ValueType.STRING:
        value: Scalar = cursor.number(FORMATS[kind])
        return value
    length = cursor.length("the length of a string", MAX_STRING_BYTES)
    if length <= MAX_TEXT_BYTES:
        return cursor.text(length)
    cursor.skip(length)
    return LargeText(length)


def _read_array(cursor: Cursor) -> ArrayInfo:
    kind = _read_type(cursor)
    if kind is ValueType.ARRAY:
        malformed("an array holds arrays")
    count = cursor.length("the number of items of an array", MAX_ARRAY_ITEMS)
    start = cursor.position
    _skip_items(cursor, kind, count)
    size_bytes = cursor.position - start
    if count > MAX_KEPT_ITEMS or size_bytes > MAX_KEPT_ARRAY_BYTES:
        return ArrayInfo(kind, count, None)
    cursor.position = start
    cursor.count_kept(count * _ITEM_BYTES)
    return ArrayInfo(kind, count, _read_items(cursor, kind, count))


def _skip_items(cursor: Cursor, kind: ValueType, count: int) -> None:
    if kind is ValueType.STRING:
        cursor.skip_strings(count)
    else:
        cursor.skip(count * struct.calcsize("=" + FORMATS[kind]))


def _read_items(cursor: Cursor, kind: ValueType, count: int) -> tuple[Scalar, ...]:
    if kind is ValueType.STRING:
        return tuple(cursor.text(cursor.number("Q")) for _ in range(count))
    return cursor.unpack(f"{count}{FORMATS[kind]}")


def _read_tensors(cursor: Cursor, count: int) -> tuple[int, int]:
    """Returns the parameters of all tensors, and the bytes from the first to the last one's end."""
    parameters = end = 0
    for index in range(count):
        cursor.skip(cursor.length("the length of a tensor's name", MAX_KEY_BYTES))
        dims: int = cursor.number("I")
        if dims > MAX_DIMS:
            malformed(f"tensor {index} has {dims} dimensions")
        *shape, kind, offset = cursor.unpack(f"{dims}QIQ")
        values = math.prod(shape)
        parameters += values
        end = max(end, offset + _tensor_bytes(index, kind, values, row=shape[0] if shape else 1))
    if max(parameters, end) > _MAX_INT64:
        malformed("its tensors are larger than any file")
    return parameters, end


def _tensor_bytes(index: int, kind: int, values: int, *, row: int) -> int:
    """Returns the bytes of a tensor, as `ollama:fs/gguf/tensor.go` numBytes; 0 where unknown."""
    block_values, block_bytes = BLOCKS.get(kind, (1, 0))
    if not values or row % block_values:
        malformed(f"tensor {index} has rows of {row} values, in blocks of {block_values}")
    return values // block_values * block_bytes


def _alignment(value: Value) -> int:
    """Takes what llama.cpp takes: a power of two; a bound keeps the padding small."""
    if type(value) is not int or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        malformed("general.alignment is not a power of two")
    return value


def _check_size(tensor_end: int, size_bytes: int) -> None:
    if tensor_end > size_bytes:
        raise InvalidGguf(
            f"truncated: its tensor data ends at byte {tensor_end}, but the file has {size_bytes}; "
            "download it again",
            reason="Truncated",
        )
