"""One open connection to Ollama, and who is told of what comes on it.

Owns the socket: it is used by one exchange at a time, or waits in the pool. Where the loop has
lanes it is read in one from the beginning, past its transport, which writes. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import cast

from paddock.endpoint.lanes import LaneReader, Lanes, Receive


class Conduit(asyncio.BufferedProtocol):
    """A connection; `hand` says who is told.

    Without a lane it reads into one buffer: asyncio's other way makes room for 256 KiB at each
    read, which costs more than all the rest of the way of a chunk.
    """

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._lane: LaneReader | None = None
        self._receive: Receive = _nobody
        self._ended: Callable[[], object] = _nobody

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - a wish, no more
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(bytes(self._buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the end is the end
        self._leave_lane()
        self._has_ended()

    # --- called by its user

    def enter(self, lanes: Lanes | None) -> None:
        """Reads in a lane from now on, where there is one and the transport is a bare socket."""
        transport = self._transport
        assert transport is not None
        if lanes is not None and transport.get_extra_info("sslcontext") is None:
            transport.pause_reading()
            # A second descriptor: the transport may have to watch its own, to write.
            descriptor = os.dup(transport.get_extra_info("socket").fileno())
            self._lane = LaneReader(lanes, descriptor, self._receive, self._has_ended)
            self._lane.resume()

    def hand(self, receive: Receive, ended: Callable[[], object]) -> None:
        """Tells `receive` of all that comes from now on, and `ended` of the end."""
        self._receive, self._ended = receive, ended
        if self._lane is not None:
            self._lane.hand(receive)

    def write(self, data: bytes) -> None:
        """Sends bytes, at once where there is room."""
        if self._transport is not None:
            self._transport.write(data)

    @property
    def is_idle(self) -> bool:
        """Whether it is open, and has sent all."""
        transport = self._transport
        return not (
            transport is None or transport.is_closing() or transport.get_write_buffer_size()
        )

    def pause(self) -> None:
        """Stops reading, so that Ollama's own buffers fill and it waits."""
        if self._lane is not None:
            self._lane.pause()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again, unless the connection was closed meanwhile."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._lane is not None:
            self._lane.resume()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        """Drops the connection at once, so that Ollama stops. Nobody is told any more."""
        self._receive = self._ended = _nobody
        self._leave_lane()
        if self._transport is not None:
            self._transport.abort()

    def _leave_lane(self) -> None:
        if self._lane is not None:
            self._lane.close()
            self._lane = None

    def _has_ended(self) -> None:
        ended, self._ended = self._ended, _nobody
        ended()


def _nobody(data: bytes = b"") -> bool:  # noqa: ARG001 - nobody is told
    return False
