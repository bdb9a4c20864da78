"""Answers that Paddock gives itself, and the exception that becomes one.

Owns `Problem` and its way to a response in the client's dialect. Sends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from paddock.endpoint.dialects import Dialect, error_body

JSON_TYPE = "application/json; charset=utf-8"


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
        body = error_body(dialect, self.status, self.message, code=self.code)
        return web.Response(
            status=self.status, body=body, headers={"Content-Type": JSON_TYPE, **self.headers}
        )


def answer_json(value: Mapping[str, Any], *, status: int = 200) -> web.Response:
    """Makes a response of an object of ours."""
    body = json.dumps(value, ensure_ascii=False).encode(errors="replace") + b"\n"
    return web.Response(status=status, body=body, headers={"Content-Type": JSON_TYPE})
