"""The stub: small, always the same, and with all that Ollama asks of the whole file."""

from __future__ import annotations

from typing import Any

import pytest

from gguf_files import (
    INT16,
    STRING,
    UINT16,
    UINT32,
    Array,
    Tensor,
    Typed,
    adapter_bytes,
    gguf_bytes,
    model_bytes,
    projector_bytes,
)
from paddock.core.gguf import Header, facts, make_stub, read_header
from paddock.core.gguf_stub import MAX_STUB_BYTES, left_out
from paddock.core.gguf_tables import FILE_TYPES


def header_of(data: bytes) -> Header:
    return read_header(lambda at, length: data[at : at + length], len(data))


def stub_of(kv: dict[str, Any], **options: Any) -> bytes:
    return make_stub(header_of(gguf_bytes(kv, **options)))


def test_the_stub_is_a_whole_gguf_with_the_metadata_and_one_small_tensor() -> None:
    whole = header_of(model_bytes("gemma4", pooling_type=1))
    stub = header_of(make_stub(whole))
    kept = {key: value for key, value in whole.kv.items() if key != "tokenizer.ggml.tokens"}
    assert dict(stub.kv) == kept
    assert all(stub.types[key] is whole.types[key] for key in kept)
    assert (stub.version, stub.byte_order) == (3, "little")
    assert (stub.tensors_count, stub.parameter_count) == (1, 32)


@pytest.mark.parametrize(
    "data", [model_bytes(), projector_bytes(), adapter_bytes(), model_bytes("dflash")]
)
def test_the_stub_has_the_facts_of_the_file_but_for_its_size(data: bytes) -> None:
    whole = facts(header_of(data))
    stub = facts(header_of(whole.stub))
    assert stub.model_type == "32"
    for fact in ("kind", "architecture", "file_type", "is_embedding", "needs_renderer", "stub"):
        assert getattr(stub, fact) == getattr(whole, fact)


def test_the_same_metadata_gives_the_same_bytes_whatever_the_file() -> None:
    """The digest of the stub is what the probe's answer is kept under."""
    kv = {"general.architecture": "llama", "a": 0.1, "b": Array(UINT16, [1, 2]), "c": "é"}
    stubs = {
        stub_of(kv),
        stub_of(kv, version=2),
        stub_of(kv, big_endian=True),
        stub_of(kv, tensors=[Tensor("x"), Tensor("y")]),
        stub_of({**kv, "general.alignment": 64}, alignment=64),
    }
    assert len(stubs) == 1


def test_another_value_type_gives_another_stub() -> None:
    assert stub_of({"a": Typed(UINT16, 1)}) != stub_of({"a": Typed(INT16, 1)})


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (model_bytes(), b"mtp.paddock"),
        (adapter_bytes(), b"mtp."),
        (projector_bytes(), b"v.paddock"),
    ],
)
def test_the_tensor_is_one_that_ollama_does_not_rewrite(data: bytes, name: bytes) -> None:
    assert name in make_stub(header_of(data))


def test_large_values_stay_behind_and_are_named_but_for_the_tokenizer() -> None:
    kv = {
        "general.architecture": "llama",
        "tokenizer.chat_template": "x" * 65_537,
        "tokenizer.ggml.tokens": Array(STRING, ["x"] * 100),
        "llama.scales": Array(UINT32, range(100)),
        "llama.note": "y" * 70_000,
    }
    header = header_of(gguf_bytes(kv))
    assert set(header_of(make_stub(header)).kv) == {"general.architecture"}
    assert left_out(header) == ("tokenizer.chat_template", "llama.scales", "llama.note")
    assert facts(header).left_out == left_out(header)


def test_a_template_of_64_kib_is_still_asked_about() -> None:
    template = "x" * 65_536
    assert header_of(stub_of({"tokenizer.chat_template": template})).kv == {
        "tokenizer.chat_template": template
    }


def test_many_large_values_together_do_not_make_a_large_stub() -> None:
    header = header_of(gguf_bytes({f"k{n}": "x" * 60_000 for n in range(20)}))
    stub = make_stub(header)
    assert len(stub) <= MAX_STUB_BYTES
    assert len(header_of(stub).kv) + len(left_out(header)) == 20


@pytest.mark.parametrize("prefix", ["", "llama."])
@pytest.mark.parametrize("count", [0, 1])
def test_a_file_that_is_whole_shows_no_split(prefix: str, count: int) -> None:
    kv = {"general.architecture": "llama", f"{prefix}split.count": count, f"{prefix}split.no": 0}
    assert set(header_of(stub_of(kv)).kv) == {"general.architecture"}


def test_the_parts_of_a_split_file_differ_in_their_tensor() -> None:
    """Ollama refuses parts that hold the same tensor, and counts what they say they hold."""
    parts = [
        stub_of({"split.count": 2, "split.no": number, "split.tensors.count": 99})
        for number in (0, 1)
    ]
    assert b"mtp.paddock.0" in parts[0]
    assert b"mtp.paddock.1" in parts[1]
    assert set(header_of(parts[0]).kv) == {"split.count", "split.no"}


def test_bytes_that_are_not_utf8_pass_through_unchanged() -> None:
    assert b"\xff\xfe!" in stub_of({"general.name": Typed(STRING, b"\xff\xfe!")})


@pytest.mark.parametrize("number", FILE_TYPES)
def test_the_file_type_survives(number: int) -> None:
    whole = facts(header_of(gguf_bytes({"general.file_type": number})))
    assert facts(header_of(whole.stub)).file_type == whole.file_type == FILE_TYPES[number]
