"""Where Ollama listens, and the connections to it that are open and wait for their next request.

Owns the address, the writing of a request, and each connection from the clean end of one answer
until it is taken again, has waited too long, or is closed by Ollama. Sends and reads nothing. A new
connection costs a sixth of a millisecond of the loop's time, which 64 chats that begin at once
would wait for one after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from paddock.endpoint.lanes import Lanes, lanes_of
from paddock.errors import SettingsError

_PORTS = {"http": 80, "https": 443}
MAX_WAITING = 64
_BUFFER_BYTES = 64 * 1024
MAX_WAIT_S = 55.0  # shorter than what stands between usually allows, so that few are found dead

Headers = Iterable[tuple[bytes, bytes]]


def new_buffer() -> memoryview:
    """Makes what connections of one loop read into."""
    return memoryview(bytearray(_BUFFER_BYTES))


class Pool:
    """The connections that wait; the one that waits the shortest is taken first."""

    def __init__(self) -> None:
        self.buffer = new_buffer()  # one for all: what was read is taken out before the next read
        self._waiting: list[_Waiting] = []  # the one that waits the longest first
        self._sweeper: asyncio.TimerHandle | None = None  # one for all of them
        self._closed = False
        self._lanes: Lanes | None = None

    def lanes(self) -> Lanes | None:
        """Gives what answers are read in, if this loop can have it."""
        if self._lanes is None:
            self._lanes = lanes_of(asyncio.get_running_loop())
        return self._lanes

    def take(self) -> asyncio.Transport | None:
        """Takes an open connection out, if there is one."""
        while self._waiting:
            transport = self._waiting.pop().transport
            if not transport.is_closing():
                return transport
        return None

    def put(self, transport: asyncio.Transport) -> None:
        """Keeps a connection on which nothing is under way, or closes it where there are enough."""
        if self._closed or len(self._waiting) >= MAX_WAITING:
            transport.abort()
            return
        self._waiting.append(_Waiting(self, transport))
        if self._sweeper is None:
            self._sweep_later(MAX_WAIT_S)

    def drop(self, waiting: _Waiting) -> None:
        """Closes and forgets one connection."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        waiting.transport.abort()

    def close(self) -> None:
        """Closes all of them, and whatever is put back later."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        while self._waiting:
            self._waiting.pop().transport.abort()

    def _sweep(self) -> None:
        """Closes those that have waited too long."""
        self._sweeper = None
        now_s = time.monotonic()
        while self._waiting:
            left_s = self._waiting[0].since_s + MAX_WAIT_S - now_s
            if left_s > 0:
                self._sweep_later(left_s)
                return
            self.drop(self._waiting[0])

    def _sweep_later(self, left_s: float) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(left_s, self._sweep)


class _Waiting(asyncio.Protocol):
    """One connection that waits: whatever comes on it was not asked for, so it is closed."""

    def __init__(self, pool: Pool, transport: asyncio.Transport) -> None:
        self.transport, self.since_s = transport, time.monotonic()
        self._pool = pool
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing was asked
        self._pool.drop(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it only waited
        self._pool.drop(self)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where Ollama listens, and the connections to it that wait."""

    host: str
    port: int
    tls: bool
    pool: Pool = field(default_factory=Pool, compare=False, repr=False)

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """Reads `http://host[:port]` or `https://…`. Raises SettingsError."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
            raise SettingsError(f'ollama\'s address "{url}" is not http://HOST:PORT')
        return cls(parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "https")

    @property
    def authority(self) -> bytes:
        """The Host header; Ollama checks it (`ollama:server/routes.go allowedHostsMiddleware`)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode()

    @property
    def url(self) -> str:
        """The address for messages."""
        return f"{'https' if self.tls else 'http'}://{self.authority.decode()}"

    def request(self, method: str, target: str, headers: Headers, body: bytes) -> bytes:
        """Writes one whole request."""
        lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: " + self.authority]
        lines += [name + b": " + value for name, value in headers]
        if method != "GET":
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", body])
