"""Writes small GGUF files for tests: any version, byte order, value type and tensor.

Independent of `paddock.core.gguf`, so that reader and writer can disagree. Plain Python values
take the type that converters give them; `Typed` and `Array` name one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = (
    range(13)
)
LETTERS = {
    UINT8: "B",
    INT8: "b",
    UINT16: "H",
    INT16: "h",
    UINT32: "I",
    INT32: "i",
    FLOAT32: "f",
    BOOL: "?",
    UINT64: "Q",
    INT64: "q",
    FLOAT64: "d",
}
F32, F16, Q4_0, Q8_0 = 0, 1, 2, 8
_BLOCKS = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q8_0: (32, 34)}


@dataclass(frozen=True)
class Typed:
    """A value of a type that Python does not tell."""

    type: int
    value: Any


@dataclass(frozen=True)
class Array:
    """An array of items of one type."""

    type: int
    items: Sequence[Any]


@dataclass(frozen=True)
class Tensor:
    """A tensor of `data`, or of zeros; `size_bytes` is needed for types that this module lacks."""

    name: str = "token_embd.weight"
    shape: tuple[int, ...] = (32,)
    type: int = F32
    size_bytes: int | None = None
    data: bytes = b""

    @property
    def data_bytes(self) -> int:
        if self.size_bytes is not None:
            return self.size_bytes
        values = 1
        for dim in self.shape:
            values *= dim
        block_values, block_bytes = _BLOCKS[self.type]
        return values // block_values * block_bytes


def gguf_bytes(
    kv: Mapping[str, Any],
    tensors: Sequence[Tensor] = (Tensor(),),
    *,
    version: int = 3,
    big_endian: bool = False,
    magic: bytes = b"GGUF",
    alignment: int = 32,
) -> bytes:
    """Returns a whole GGUF file."""
    order = ">" if big_endian else "<"
    head = magic + struct.pack(order + "IQQ", version, len(tensors), len(kv))
    for key, value in kv.items():
        head += _string(order, key) + _value(order, value)
    data = bytearray()
    for tensor in tensors:
        dims = len(tensor.shape)
        head += _string(order, tensor.name)
        head += struct.pack(f"{order}I{dims}QIQ", dims, *tensor.shape, tensor.type, len(data))
        data += tensor.data or bytes(tensor.data_bytes)
        data += bytes(-len(data) % alignment)
    return head + bytes(-len(head) % alignment) + bytes(data)


def model_bytes(architecture: str = "llama", **kv: Any) -> bytes:
    """Returns a tiny model; keyword `block_count=1` becomes `<architecture>.block_count`."""
    return gguf_bytes(
        {
            "general.architecture": architecture,
            "general.type": "model",
            "general.file_type": 2,
            f"{architecture}.block_count": 1,
            f"{architecture}.context_length": 512,
            f"{architecture}.embedding_length": 32,
            **{f"{architecture}.{key}": value for key, value in kv.items()},
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.tokens": Array(STRING, [f"token{n}" for n in range(300)]),
        },
        [Tensor(shape=(32, 300), type=Q8_0), Tensor("output_norm.weight")],
    )


def embedding_bytes() -> bytes:
    """Returns a tiny embedding model."""
    return model_bytes("nomic-bert", pooling_type=1)


def projector_bytes() -> bytes:
    """Returns a tiny projector, as llama.cpp's converters write one."""
    kv = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.vision.block_count": 1,
    }
    return gguf_bytes(kv, [Tensor("v.patch_embd.weight"), Tensor("mm.0.weight")])


def adapter_bytes(architecture: str = "llama") -> bytes:
    """Returns a tiny LoRA adapter."""
    kv = {
        "general.architecture": architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }
    return gguf_bytes(kv, [Tensor("blk.0.attn_q.weight.lora_a", (32, 4))])


def _value(order: str, value: Any) -> bytes:
    match value:
        case Typed():
            return struct.pack(order + "I", value.type) + _body(order, value.type, value.value)
        case Array():
            head = struct.pack(order + "IIQ", ARRAY, value.type, len(value.items))
            return head + b"".join(_body(order, value.type, item) for item in value.items)
        case bool():
            return _value(order, Typed(BOOL, value))
        case int():
            return _value(order, Typed(UINT32 if 0 <= value < 1 << 32 else INT64, value))
        case float():
            return _value(order, Typed(FLOAT32, value))
        case _:
            return _value(order, Typed(STRING, value))


def _body(order: str, kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _string(order, value)
    return struct.pack(order + LETTERS[kind], value)


def _string(order: str, text: str | bytes) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(order + "Q", len(data)) + data
