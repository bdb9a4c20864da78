"""The facts of a GGUF: what its header means, named and printed as Ollama does."""

from __future__ import annotations

from typing import Any

import pytest

from gguf_files import (
    INT32,
    STRING,
    UINT16,
    Typed,
    adapter_bytes,
    embedding_bytes,
    gguf_bytes,
    model_bytes,
    projector_bytes,
)
from paddock.core.gguf import Facts, Header, facts, human_number, read_header
from paddock.errors import InvalidGguf


def header_of(data: bytes) -> Header:
    return read_header(lambda at, length: data[at : at + length], len(data))


def facts_of(kv: dict[str, Any], **options: Any) -> Facts:
    return facts(header_of(gguf_bytes(kv, **options)))


def test_bytes_that_are_not_utf8_neither_fail_nor_reach_a_terminal() -> None:
    found = facts_of({"general.architecture": Typed(STRING, b"ll\xffama")})
    assert found.architecture == "ll\ufffdama"
    assert Facts.from_json(found.to_json()) == found


def test_facts_of_a_model() -> None:
    found = facts(header_of(model_bytes("gemma4", block_count=2)))
    assert found.kind == "model"
    assert found.byte_order == "little"
    assert found.architecture == "gemma4"
    assert (found.parameter_count, found.model_type) == (9632, "10K")
    assert found.file_type == "Q4_0"
    assert (found.context_length, found.embedding_length) == (512, 32)
    assert (found.split_count, found.split_no) == (None, None)
    assert found.needs_renderer
    assert not found.is_embedding
    assert not found.has_chat_template


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (model_bytes(), "model"),
        (model_bytes("dflash"), "draft"),
        (adapter_bytes(), "adapter"),
        (projector_bytes(), "projector"),
        (gguf_bytes({"general.type": "projector"}), "projector"),
        (gguf_bytes({"general.type": "imatrix"}), "imatrix"),
        (gguf_bytes({"general.architecture": "x", "x.vision.block_count": 2}), "projector"),
        (
            gguf_bytes(
                {"general.architecture": "x", "x.vision.block_count": 2, "x.block_count": 2}
            ),
            "model",
        ),
        (gguf_bytes({"general.architecture": "clip", "clip.has_audio_encoder": True}), "projector"),
        (gguf_bytes({"general.architecture": "clip", "clip.has_audio_encoder": False}), "model"),
        (gguf_bytes({}), "model"),
    ],
)
def test_a_files_kind_is_told_as_ollama_tells_it(data: bytes, kind: str) -> None:
    assert facts(header_of(data)).kind == kind


def test_a_pooling_type_makes_an_embedding_model() -> None:
    assert facts(header_of(embedding_bytes())).is_embedding


@pytest.mark.parametrize("template", ["{{ x }}", "x" * 70_000])
def test_a_chat_template_counts_however_long(template: str) -> None:
    assert facts_of({"tokenizer.chat_template": template}).has_chat_template
    assert not facts_of({"tokenizer.chat_template": ""}).has_chat_template


@pytest.mark.parametrize("prefix", ["", "llama."])
def test_the_parts_of_a_split_file_are_known(prefix: str) -> None:
    kv = {"general.architecture": "llama", f"{prefix}split.count": 3, f"{prefix}split.no": 0}
    found = facts_of({key: Typed(UINT16, v) if v in (0, 3) else v for key, v in kv.items()})
    assert (found.split_count, found.split_no) == (3, 0)


@pytest.mark.parametrize(
    ("value", "file_type"),
    [
        (0, "F32"),
        (15, "Q4_K_M"),
        (Typed(INT32, 7), "Q8_0"),
        *[(other, "unknown") for other in (4, 1 << 40, -1, True, 1.0, "1")],
    ],
)
def test_file_types_print_as_ollama_prints_them(value: Any, file_type: str) -> None:
    assert facts_of({"general.file_type": value}).file_type == file_type


def test_a_file_without_a_type_or_architecture_is_unknown() -> None:
    assert (facts_of({}).file_type, facts_of({}).architecture) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1K"),
        (9632, "10K"),
        (999_999, "1000K"),
        (1_000_000, "1M"),
        (134_515_008, "134.52M"),
        (999_999_999, "1000.00M"),
        (7_000_000_000, "7B"),
        (8_030_261_248, "8.0B"),
        (70_553_706_496, "70.6B"),
    ],
)
def test_parameter_counts_print_as_ollama_prints_them(count: int, text: str) -> None:
    assert human_number(count) == text


def test_facts_come_back_from_json_whole() -> None:
    found = facts(header_of(projector_bytes()))
    assert Facts.from_json(found.to_json()) == found


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"format_version": 1}', "\x00"])
def test_facts_of_another_format_are_refused(text: str) -> None:
    with pytest.raises(InvalidGguf, match="read the file again"):
        Facts.from_json(text)


def test_cached_facts_whose_stub_was_changed_are_refused() -> None:
    text = facts(header_of(model_bytes())).to_json()
    for damaged in (text.replace("R0dVRg", "R0dVRh"), text.replace('"model"', '"modal"')):
        with pytest.raises(InvalidGguf):
            Facts.from_json(damaged)
