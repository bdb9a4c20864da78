"""Answers that Paddock gives itself, and the exception that becomes one.

Owns `Problem` and its way to a response in the client's dialect. Sends nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from paddock.endpoint.dialects import Dialect, error_body

JSON_TYPE = "application/json; charset=utf-8"


class Answer(web.Response):
    """A response that tells of no server, as Ollama's do not: what Paddock says of a model that a
    client may not see must be what Ollama says of one that is not there."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.pop("Server", None)


class Problem(Exception):
    """A request that is not served: the status, one line for the client, a code, more headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    def answer(self, dialect: Dialect) -> web.Response:
        """Makes the response in the client's dialect."""
        request_id = f"req_{secrets.token_hex(12)}"
        body = error_body(dialect, self.status, self.message, code=self.code, request_id=request_id)
        kind = JSON_TYPE if dialect is Dialect.OLLAMA else "application/json"
        answer = Answer(
            status=self.status, body=body, headers={"Content-Type": kind, **self.headers}
        )
        if self.headers.get("Connection") == "close":
            answer.force_close()  # the header alone would only say so
        return answer


def answer_json(value: Mapping[str, Any], *, status: int = 200) -> web.Response:
    """Makes a response of an object of ours."""
    body = json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n"
    return Answer(status=status, body=body, headers={"Content-Type": JSON_TYPE})


def plain_answer(problem: Problem) -> bytes:
    """Writes a problem as a whole HTTP answer that ends its connection, in Ollama's dialect."""
    body = error_body(Dialect.OLLAMA, problem.status, problem.message)
    headers = {"Content-Type": JSON_TYPE, **problem.headers, "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    status = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"
    head = "\r\n".join([status, *lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode("latin-1") + body
