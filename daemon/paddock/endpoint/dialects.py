"""Errors in the words that the client's library understands.

Owns the three dialects that Ollama speaks and the shape of an error in each, as a whole body and
as a record within a stream. Pure: bytes out, nothing sent.
"""

from __future__ import annotations

import contextlib
import enum
import json
from collections.abc import Callable
from functools import partial
from typing import Any, assert_never

from paddock.core.names import Name
from paddock.endpoint.framing import Head
from paddock.errors import InvalidName


class Dialect(enum.Enum):
    """Whose API a route imitates."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


# `ollama:openai/openai.go NewError` and `ollama:anthropic/anthropic.go NewError` know the first
# ones; the rest are what the two vendors' own APIs answer with that status.
_OPENAI_TYPES = {
    400: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "server_error",
}
_EMBED = frozenset({"/api/embed", "/api/embeddings", "/v1/embeddings"})
_OPENAI_END = (b"\ndata: ", (b"[DONE]", b'{"error"'))
_ENDS = {
    "/v1/chat/completions": _OPENAI_END,
    "/v1/completions": _OPENAI_END,
    "/v1/responses": (
        b"\nevent: ",
        (b"response.completed", b"response.failed", b"response.incomplete", b"error"),
    ),
    "/v1/messages": (b"\nevent: ", (b"message_stop", b"error")),
}
_ANTHROPIC_TYPES = _OPENAI_TYPES | {413: "request_too_large", 503: "overloaded_error"}


def dialect_of(path: str) -> Dialect:
    """Tells the dialect from a path."""
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return Dialect.ANTHROPIC
    return Dialect.OPENAI if path.startswith("/v1/") else Dialect.OLLAMA


def error_body(
    dialect: Dialect,
    status: int,
    message: str,
    *,
    code: str | None = None,
    request_id: str | None = None,
) -> bytes:
    """Writes one error as the JSON body of a whole answer, to its last byte as Ollama does.

    Anthropic's alone carries a `request_id`.
    """
    error = _error(dialect, status, message, code)
    if dialect is Dialect.OLLAMA:
        return _json(error)
    if dialect is Dialect.ANTHROPIC and request_id is not None:
        error["request_id"] = request_id
    return _json(error) + b"\n"


def not_found_message(path: str, model: str) -> str:
    """Tells in Ollama's words that there is no such model (`ollama:server/routes.go`)."""
    if path in _EMBED:
        return f'model "{model}" not found, try pulling it first'
    if path == "/api/show" or path.startswith("/v1/models/"):
        with contextlib.suppress(InvalidName):
            model = Name.parse_request(model).short
    return f"model '{model}' not found"


def error_record(
    dialect: Dialect,
    content_type: str,
    message: str,
    *,
    status: int = 502,
    code: str | None = None,
) -> bytes | None:
    """Writes an error as one record of a stream that has begun, or None where none can be told.

    An answer that is one JSON object, begun and not ended, has no room for an error.
    """
    error = _json(_error(dialect, status, message, code))
    match content_type.partition(";")[0].strip().lower():
        case "application/x-ndjson":
            return error + b"\n"
        case "text/event-stream":
            event = b"event: error\n" if dialect is Dialect.ANTHROPIC else b""
            return event + b"data: " + error + b"\n\n"
        case _:
            return None


def end_check(path: str, head: Head) -> Callable[[bytes], bool] | None:
    """Gives what tells, of the last bytes of a stream of events, whether they are its end. None for
    other answers: Ollama ends those of its own dialect with an error where there is one."""
    is_events = head.content_type.startswith("text/event-stream")
    ends = _ENDS.get(path) if is_events and head.status == 200 else None
    return None if ends is None else partial(_ends_with, *ends)


def _ends_with(field: bytes, words: tuple[bytes, ...], last: bytes) -> bool:
    """Looks at the last event: where none begins within what is there, it is a long one, and those
    are ends."""
    last = b"\n" + last
    at = last.rfind(field)
    return at < 0 or last.startswith(words, at + len(field))


def _error(dialect: Dialect, status: int, message: str, code: str | None) -> dict[str, Any]:
    match dialect:
        case Dialect.OLLAMA:
            return {"error": message}
        case Dialect.OPENAI:
            kind = _OPENAI_TYPES.get(status, "api_error")
            return {"error": {"message": message, "type": kind, "param": None, "code": code}}
        case Dialect.ANTHROPIC:
            kind = _ANTHROPIC_TYPES.get(status, "api_error")
            return {"type": "error", "error": {"type": kind, "message": message}}
        case _:
            assert_never(dialect)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
