"""What the fuzzer starts from: one small input for each way that a file can go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gguf_files import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    Q4_0,
    STRING,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Array,
    Tensor,
    Typed,
    adapter_bytes,
    gguf_bytes,
    projector_bytes,
)
from paddock.core.gguf import facts, read_header

_NUMBERS = (UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, UINT64, INT64, FLOAT64)
_LLAMA: Mapping[str, Any] = {
    "general.architecture": "llama",
    "general.type": "model",
    "general.file_type": 2,
    "llama.block_count": 1,
    "llama.context_length": 512,
    "llama.embedding_length": 32,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": Array(STRING, [f"token{n}" for n in range(70)]),
    "tokenizer.chat_template": "{{ .Prompt }}",
}


def seeds() -> dict[str, bytes]:
    """Returns each seed by its name."""
    model = gguf_bytes(_LLAMA)
    found = facts(read_header(lambda at, length: model[at : at + length], len(model)))
    return {
        "model": model,
        "model-big-endian": gguf_bytes(_LLAMA, big_endian=True),
        "model-fugg": gguf_bytes(_LLAMA, big_endian=True, magic=b"FUGG"),
        "model-version-2": gguf_bytes(_LLAMA, version=2),
        "version-1": gguf_bytes({}, version=1),
        "embedding": gguf_bytes(
            {"general.architecture": "nomic-bert", "nomic-bert.pooling_type": 1}
        ),
        "rendered": gguf_bytes({"general.architecture": "gemma4", "general.file_type": 99}),
        "draft": gguf_bytes({"general.architecture": "dflash"}),
        "imatrix": gguf_bytes({"general.type": "imatrix"}, []),
        "projector": projector_bytes(),
        "adapter": adapter_bytes(),
        "split": gguf_bytes({"split.no": Typed(UINT16, 1), "split.count": Typed(UINT16, 3)}),
        "split-of-llama": gguf_bytes(
            {"general.architecture": "llama", "llama.split.count": 2, "llama.split.no": 0}
        ),
        "split-number-of-a-whole": gguf_bytes({"split.no": 1, "split.count": 0}),
        "architecture-of-70-kb": gguf_bytes({"general.architecture": "x" * 70_000}, [])[:99],
        "alignment": gguf_bytes({"general.alignment": 8}, alignment=8),
        "numbers": gguf_bytes({f"n{kind}": Typed(kind, 1) for kind in _NUMBERS}, []),
        "arrays": gguf_bytes({f"a{kind}": Array(kind, [0, 1]) for kind in _NUMBERS}, []),
        "strings": gguf_bytes({"a": Array(STRING, ["", "é", "\U0001f600"]), "b": "", "c": b"\xff"}),
        "many-items": gguf_bytes({"a": Array(UINT64, [1] * 65)}, []),
        "large-array": gguf_bytes({"a": Array(UINT8, bytes(5000))}, [])[:100],
        "large-text": gguf_bytes({"tokenizer.chat_template": "x" * 66_000}, [])[:100],
        "tensors": gguf_bytes(
            {}, [Tensor(f"t{dims}", (32, 1, 2, 1)[:dims], Q4_0) for dims in range(1, 5)]
        ),
        "unknown-tensor-type": gguf_bytes({}, [Tensor(type=99, size_bytes=4)]),
        "empty": b"",
        "zip": b"PK\x03\x04",
        "lfs-pointer": b"version https://git-lfs.github.com/spec/v1",
        "facts": found.to_json().encode(),
    }
