"""The stub of a GGUF file: its metadata without the bulk, for asking Ollama what it would make.

Owns the writing of a small GGUF file (version 3, little-endian, same bytes for the same header)
with one tensor whose name spares it the rewrite of Ollama v0.30 to v0.33; v0.34 rewrites no file.
Works in memory only.

What `/api/create` takes from a GGUF (`ollama:server/create.go`, `ollama:server/model.go`, v0.34.4),
and so what the stub must give as the whole file does:

- `general.architecture`: model_family, model_families, renderer, parser, the stop of gemma4;
- `general.file_type`: file_type;
- `tokenizer.chat_template`: the template layer and, with it, the params layer;
- `general.type`, `<arch>.block_count`, `<arch>.vision.block_count`, `<arch>.has_*_encoder`: which
  layer the file becomes, or that it is refused (adapters since v0.34);
- `split.count`, `split.no`: that the file is one of several, whose tensors must differ in name.

No array is read, and of the tensors only names and shapes. What differs: model_type, which counts
the tensors' values (`Facts.model_type` has the true one), and the layers' `from` and the model
layer itself. A chat template of more than 64 KiB is left out, which changes nothing: it is further
from each of Ollama's templates than a match may be (`ollama:template/template.go` Named).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate, islice

from paddock.core.gguf_header import ArrayInfo, Header, LargeText, Scalar, Value, printable
from paddock.core.gguf_tables import FORMATS, ValueType

MAX_STUB_BYTES = 256 * 1024
MAX_LEFT_OUT = 100

_ALIGNMENT = 32
_VALUES = 32
_F32 = 0
_SHOWN_CHARS = 200
_CHAT_TEMPLATE = "tokenizer.chat_template"


def make_stub(header: Header) -> bytes:
    """Returns the stub's bytes; at most MAX_STUB_BYTES, and 1 to 2 KB where no template is long."""
    entries = [entry for _, entry in _kept(header) if entry]
    name = _tensor_name(header)
    head = b"".join(
        (
            b"GGUF",
            struct.pack("<IQQ", 3, 1, len(entries)),
            *entries,
            _text(name),
            struct.pack("<IQIQ", 1, _VALUES, _F32, 0),
        )
    )
    padding = bytes(-len(head) % _ALIGNMENT)
    return head + padding + bytes(4 * _VALUES)


def left_out(header: Header) -> tuple[str, ...]:
    """Returns the keys that the stub lacks for their size, but for the tokenizer's arrays.

    At most MAX_LEFT_OUT of them, the long ones cut: they are shown and kept with the file's digest.
    """
    lacking = (
        printable(key[:_SHOWN_CHARS])
        for key, entry in _kept(header)
        if not entry and not (key.startswith("tokenizer.") and _is_array(header.kv[key]))
    )
    return tuple(islice(lacking, MAX_LEFT_OUT))


def split_key(header: Header, key: str) -> Value | None:
    """Returns a `split.` value, plain or below the architecture (`ollama:fs/gguf/metadata.go`)."""
    value = header.kv.get(key)
    return (
        header.kv.get(f"{header.kv.get('general.architecture')}.{key}") if value is None else value
    )


def is_projector(header: Header) -> bool:
    """Tells whether Ollama makes a projector layer of it (`ollama:server/create.go`)."""
    if header.kv.get("general.type") in {"projector", "mmproj"}:
        return True
    architecture = header.kv.get("general.architecture")
    if _positive(header, f"{architecture}.block_count"):
        return False
    encodes = any(header.kv.get(f"clip.has_{what}_encoder") is True for what in ("vision", "audio"))
    return _positive(header, f"{architecture}.vision.block_count") or (
        architecture == "clip" and encodes
    )


def _kept(header: Header) -> Iterator[tuple[str, bytes]]:
    """Yields each key that belongs in the stub and its entry, which is empty where too large.

    Where not all fit, the chat template and then the small ones do: all that Ollama asks for.
    """
    entries = {
        key: _entry(key, header.types[key], value)
        for key, value in header.kv.items()
        if _belongs(header, key)
    }
    ranked = sorted(entries, key=lambda key: (key != _CHAT_TEMPLATE, len(entries[key])))
    ends = accumulate(len(entries[key]) for key in ranked)
    fits = {key: end <= MAX_STUB_BYTES - 1024 for key, end in zip(ranked, ends, strict=True)}
    for key, entry in entries.items():
        yield key, entry if fits[key] else b""


def _belongs(header: Header, key: str) -> bool:
    """Leaves out what is about the file's own data, and the split keys of a file that is whole."""
    if key == "general.alignment" or key.endswith("split.tensors.count"):
        return False
    prefixes = ("split.", f"{header.kv.get('general.architecture')}.split.")
    return _is_part(header) or not key.startswith(prefixes)


def _tensor_name(header: Header) -> str:
    """Names the tensor as none that v0.30 to v0.33 rewrite, and each part's by its own name."""
    if is_projector(header):
        return "v.paddock"
    part = split_key(header, "split.no")
    return f"mtp.paddock.{part if _is_part(header) and type(part) is int else 0}"


def _is_part(header: Header) -> bool:
    count = split_key(header, "split.count")
    return type(count) is int and count > 1


def _positive(header: Header, key: str) -> bool:
    value = header.kv.get(key)
    return type(value) is int and value > 0


def _is_array(value: Value) -> bool:
    return isinstance(value, ArrayInfo)


def _entry(key: str, kind: ValueType, value: Value) -> bytes:
    """Encodes one key and its value, or nothing where the value was too large to keep."""
    body = _array(value) if isinstance(value, ArrayInfo) else _body(kind, value)
    return _text(key) + struct.pack("<I", kind) + body if body else b""


def _array(array: ArrayInfo) -> bytes:
    if array.items is None:
        return b""
    head = struct.pack("<IQ", array.type, array.count)
    return head + b"".join(_body(array.type, item) for item in array.items)


def _body(kind: ValueType, value: Scalar | LargeText) -> bytes:
    match value:
        case LargeText():
            return b""
        case str():
            return _text(value)
        case _:
            return struct.pack("<" + FORMATS[kind], value)


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(data)) + data
