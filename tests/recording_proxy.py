"""A reverse proxy that keeps a record of what went through it: method, path, size of the body.

Stands between a client and a real Ollama on a loopback port of its own, passes everything on as it
is, and answers nothing by itself.
"""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_READ_BYTES = 65536


class Seen(NamedTuple):
    """One request that was passed on."""

    method: str
    path: str
    body_bytes: int

    @property
    def mutates(self) -> bool:
        """Whether it may change the store or what is loaded."""
        return self.method not in {"GET", "HEAD"} and self.path != "/api/show"


class RecordingProxy:
    """A proxy in front of the server at `upstream` (a URL); use as a context manager."""

    def __init__(self, upstream: str):
        self.seen: list[Seen] = []
        self._server = _Server(urlsplit(upstream).netloc, self.seen)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> RecordingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def host(self) -> str:
        """Where it listens, as OLLAMA_HOST takes it."""
        address, port = self._server.server_address[:2]
        return f"{address!s}:{port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str, seen: list[Seen]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.seen = seen


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        """Passes one request on. A client that has gone ends its connection."""
        self.close_connection = True
        try:
            self.raw_requestline = self.rfile.readline(_READ_BYTES)
            if self.raw_requestline and self.parse_request():
                self._pass_on()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""

    def _pass_on(self) -> None:
        body = self._body()
        self.server.seen.append(Seen(self.command, self.path, len(body)))
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            upstream.request(self.command, self.path, body or None, headers)
            self._answer(upstream.getresponse())
        finally:
            upstream.close()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status, response.reason)
        for key, value in response.getheaders():
            if key.lower() not in _HOP:
                self.send_header(key, value)
        self.send_header("Connection", "keep-alive" if not self.close_connection else "close")
        length = response.getheader("Content-Length")
        if self.command == "HEAD" or response.status in {204, 304}:
            self.end_headers()
            return
        self.send_header(*_framing(length))
        self.end_headers()
        while data := response.read1(_READ_BYTES):
            self.wfile.write(data if length else b"%x\r\n%b\r\n" % (len(data), data))
        if not length:
            self.wfile.write(b"0\r\n\r\n")


def _framing(length: str | None) -> tuple[str, str]:
    return ("Content-Length", length) if length else ("Transfer-Encoding", "chunked")
