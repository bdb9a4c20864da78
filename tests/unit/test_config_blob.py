"""A config that Ollama could not decode: such a model it does not list."""

from __future__ import annotations

import pytest

from paddock.core.config_blob import MAX_CONFIG_BYTES, is_config


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b' \n{"model_format":"gguf","model_families":["llama"],"context_length":4096}\n',
        b'{"model_family":null,"draft":null,"model_families":null}',
        b'{"something":{"else":[1]},"rootfs":{"type":"layers"},"os":5}',
        b'{"model_format":"gguf"}{"model_format":5}',
        b'{"model_format":"\xff"}',
        b'{"draft":{"model_format":"gguf"},"generation_defaults":{}}',
    ],
)
def test_a_config_that_ollama_decodes_is_one(data: bytes) -> None:
    assert is_config(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"gguf"',
        b"{",
        b"\x00",
        b"GGUF",
        b'{"model_format":5}',
        b'{"Model_Family":5}',
        b'{"model_families":"llama"}',
        b'{"model_families":[5]}',
        b'{"context_length":"4096"}',
        b'{"context_length":1.5}',
        b'{"context_length":true}',
        b'{"draft":"gguf"}',
        b"[" * 1_000_000,
        b'{"a":"' + b"x" * MAX_CONFIG_BYTES + b'"}',
    ],
)
def test_what_ollama_cannot_decode_is_none(data: bytes) -> None:
    assert not is_config(data)
