"""A running daemon's events, for a command that follows them, or wants those there are.

Owns one connection to `/paddock/events`, from an event or from the moment at which it was opened
on. Whoever reads it may be another thread than the one that closes it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paddock.edges.daemon_client import Address, check

# A daemon sends something every 15 s.
_SILENCE_S = 60.0
_LINE_BYTES = 1 << 20


class EventStream:
    """What happens from now on, or `after` an event; without `follow` what has happened so far.
    Use as a context manager. Raises DaemonUnreachable or DaemonRefused."""

    def __init__(self, path: Path, *, after: int | None = None, follow: bool = True):
        since = "now" if after is None else after
        self._route = f"/paddock/events?follow={int(follow)}&after={since}"
        self._address = Address(path)
        self._connection = self._address.connect(_SILENCE_S)
        self._response: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        try:
            self._connection.request("GET", self._route)
            self._response = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._address.unreachable(error) from error
        check(self._address, self._response)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The events as they come, until the daemon or `stop` ends them."""
        assert self._response is not None
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            while line := self._response.readline(_LINE_BYTES):
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def stop(self) -> None:
        """End it, from any thread: whoever reads gets no more."""
        # Closed already by the daemon's end: that is the same to who reads.
        with contextlib.suppress(OSError):
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
