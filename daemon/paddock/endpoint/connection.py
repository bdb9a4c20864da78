"""The server's connections: what aiohttp cannot read is answered as JSON too, and not logged loud.

Owns nothing but that one answer: the path is not known then, so it is in Ollama's own dialect.
"""

from __future__ import annotations

import structlog
from aiohttp import web

from paddock.endpoint.answers import Problem
from paddock.endpoint.dialects import Dialect

log = structlog.get_logger()


class Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - given by aiohttp
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers a request that is no HTTP, or one that failed where nothing else could tell."""
        log.info("request not read", status=status, error=repr(exc))
        told = (message or "paddock failed; its log says more").partition("\n")[0].rstrip(": ")
        answer = Problem(status, told).answer(Dialect.OLLAMA)
        answer.headers["Server"] = "paddock"
        answer.force_close()
        return answer


class ConnectionServer(web.Server):
    """A server whose connections are ours."""

    def __call__(self) -> web.RequestHandler:
        """Makes the protocol of one new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)
