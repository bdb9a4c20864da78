"""Errors: each client reads one in its own library's shape."""

from __future__ import annotations

import json

import pytest

from paddock.core.access import Policy
from paddock.endpoint.dialects import Dialect, dialect_of, end_check, error_body, error_record
from paddock.endpoint.framing import Head
from paddock.endpoint.hidden import names_scratch, without_hidden


def seen(body: bytes) -> bytes:
    return without_hidden(body, Policy(), None)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/api/chat", Dialect.OLLAMA),
        ("/paddock/status", Dialect.OLLAMA),
        ("/v1/chat/completions", Dialect.OPENAI),
        ("/v1/messagesx", Dialect.OPENAI),
        ("/v1/messages", Dialect.ANTHROPIC),
        ("/v1/messages/count_tokens", Dialect.ANTHROPIC),
    ],
)
def test_the_path_tells_the_dialect(path: str, dialect: Dialect) -> None:
    assert dialect_of(path) is dialect


def test_an_error_has_the_shape_that_each_library_reads() -> None:
    assert json.loads(error_body(Dialect.OLLAMA, 404, "gone")) == {"error": "gone"}
    assert json.loads(error_body(Dialect.OPENAI, 404, "gone", code="model_not_found")) == {
        "error": {
            "message": "gone",
            "type": "not_found_error",
            "param": None,
            "code": "model_not_found",
        }
    }
    assert json.loads(error_body(Dialect.ANTHROPIC, 503, "later")) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "later"},
    }


def test_an_error_in_a_stream_is_one_record_of_it() -> None:
    ndjson, sse = "application/x-ndjson", "text/event-stream; charset=utf-8"
    assert error_record(Dialect.OLLAMA, ndjson, "no\nmore") == b'{"error":"no\\nmore"}\n'
    openai = error_record(Dialect.OPENAI, sse, "no")
    assert openai is not None
    assert openai.startswith(b'data: {"error":{"message":"no","type":"api_error"')
    assert openai.endswith(b"}}\n\n")
    anthropic = error_record(Dialect.ANTHROPIC, sse, "no")
    assert anthropic is not None
    assert anthropic.startswith(b'event: error\ndata: {"type":"error","error":{')


def test_an_answer_that_is_one_object_has_no_room_for_an_error() -> None:
    assert error_record(Dialect.OLLAMA, "application/json; charset=utf-8", "no") is None


def test_a_message_that_is_no_text_does_not_break_the_answer() -> None:
    assert json.loads(error_body(Dialect.OLLAMA, 400, "\ud800")) == {"error": "?"}


def test_a_list_without_scratch_models_is_the_bytes_that_came() -> None:
    body = b'{"models": [ {"name":"a"} ]}\n'
    assert seen(body) is body
    assert seen(b"paddock.invalid: not JSON") == b"paddock.invalid: not JSON"


def test_scratch_models_are_taken_out_and_nothing_else() -> None:
    body = (
        b'{"object":"list","data":[{"id":"a"},{"id":"paddock.invalid/probe/00:latest"},'
        b'{"id":"b/paddock.invalid"}]}'
    )
    assert json.loads(seen(body)) == {
        "object": "list",
        "data": [{"id": "a"}, {"id": "b/paddock.invalid"}],
    }
    assert json.loads(seen(b'{"models":null,"x":"paddock.invalid"}'))["models"] is None


@pytest.mark.parametrize("prefix", ["", "http://", "HTTPS://"])
def test_a_scratch_model_is_known_however_it_is_written(prefix: str) -> None:
    assert names_scratch(f"{prefix}Paddock.Invalid/probe/x")
    assert not names_scratch(f"{prefix}library/paddock.invalid")


CHUNK = b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n'


@pytest.mark.parametrize(
    ("path", "last", "whole"),
    [
        ("/v1/chat/completions", CHUNK + b"\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", True),
        ("/v1/chat/completions", b'data: {"error":{"message":"x"}}\n\n', True),
        ("/v1/chat/completions", CHUNK, False),
        ("/v1/completions", CHUNK, False),
        ("/v1/responses", b'event: response.completed\ndata: {"event: x":"y"}\n\n', True),
        ("/v1/responses", b"event: response.failed\ndata: {}\n\n", True),
        ("/v1/responses", b"event: response.output_text.delta\ndata: {}\n\n", False),
        ("/v1/responses", b'the end of a long last event"}}\n\n', True),
        ("/v1/messages", b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        ("/v1/messages", b"event: error\ndata: {}\n\n", True),
        ("/v1/messages", b"event: content_block_delta\ndata: {}\n\n", False),
    ],
)
def test_a_stream_of_events_is_whole_when_its_last_event_says_so(
    path: str, last: bytes, whole: bool
) -> None:
    check = end_check(path, head("text/event-stream"))
    assert check is not None
    assert check(last) is whole


def test_only_streams_of_events_are_looked_at() -> None:
    assert end_check("/v1/chat/completions", head("application/json")) is None
    assert end_check("/api/chat", head("application/x-ndjson")) is None
    assert end_check("/v1/chat/completions", head("text/event-stream", 400)) is None


def head(kind: str, status: int = 200) -> Head:
    return Head(status, b"", ((b"Content-Type", kind.encode()),))
