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
from functools import partial
from urllib.parse import urlsplit

from paddock.endpoint.conduit import Conduit
from paddock.endpoint.lanes import Lanes, lanes_of
from paddock.errors import SettingsError

_PORTS = {"http": 80, "https": 443}
MAX_WAITING = 64
_BUFFER_BYTES = 64 * 1024
MAX_WAIT_S = 55.0  # shorter than what stands between usually allows, so that few are found dead

Headers = Iterable[tuple[bytes, bytes]]


class Pool:
    """The connections that wait; the one that waits the shortest is taken first."""

    def __init__(self) -> None:
        # One for all: what was read is taken out before the next read.
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._since_s: dict[Conduit, float] = {}  # the one that waits the longest first
        self._sweeper: asyncio.TimerHandle | None = None  # one for all of them
        self._closed = False
        self._lanes: Lanes | None = None

    def lanes(self) -> Lanes | None:
        """Gives what answers are read in, if this loop can have it."""
        if self._lanes is None:
            self._lanes = lanes_of(asyncio.get_running_loop())
        return self._lanes

    def take(self) -> Conduit | None:
        """Takes an open connection out, if there is one."""
        while self._since_s:
            conduit, _ = self._since_s.popitem()
            if conduit.is_idle:
                return conduit
            conduit.close()
        return None

    def put(self, conduit: Conduit) -> None:
        """Keeps a connection on which nothing is under way, or closes it where there are enough."""
        if self._closed or len(self._since_s) >= MAX_WAITING:
            conduit.close()
            return
        drop = partial(self.drop, conduit)
        conduit.hand(drop, drop)  # whatever comes was not asked for
        conduit.resume()
        self._since_s[conduit] = time.monotonic()
        if self._sweeper is None:
            self._sweep_later(MAX_WAIT_S)

    def drop(self, conduit: Conduit, data: bytes = b"") -> bool:  # noqa: ARG002 - not asked for
        """Closes and forgets one connection."""
        self._since_s.pop(conduit, None)
        conduit.close()
        return False

    def close(self) -> None:
        """Closes all of them, and whatever is put back later."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for conduit in tuple(self._since_s):
            self.drop(conduit)

    def _sweep(self) -> None:
        """Closes those that have waited too long."""
        self._sweeper = None
        now_s = time.monotonic()
        for conduit, since_s in tuple(self._since_s.items()):
            left_s = since_s + MAX_WAIT_S - now_s
            if left_s > 0:
                self._sweep_later(left_s)
                return
            self.drop(conduit)

    def _sweep_later(self, left_s: float) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(left_s, self._sweep)


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
        lines += map(b": ".join, headers)
        if method != "GET":
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", body])
