"""Lanes: the sockets that streams are read from, past the transports that hold them.

Owns which descriptor belongs to which stream, and the calls when something has come on one. In a
`LaneLoop` they are served within the very call in which the loop waits, so that a chunk costs a
read and a write and none of the loop's own bookkeeping; in any other loop all of them together are
one more descriptor that it watches. Reads and writes nothing itself; knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from typing import TypeAlias

import structlog

log = structlog.get_logger()

MOST_EVENTS = 256
_READ_BYTES, _LARGE_READ_BYTES = 4096, 65536  # a chunk of text has some hundred bytes

# Takes what has come. False: more than bytes moved, so that the loop must look at its own affairs.
Lane: TypeAlias = Callable[[], bool]
Receive: TypeAlias = Callable[[bytes], bool]  # the same, given what has come


class Lanes:
    """The lanes of one loop."""

    def __init__(self, epoll: select.epoll) -> None:
        self.by_descriptor: dict[int, Lane] = {}
        self._epoll = epoll

    def open(self, descriptor: int, lane: Lane) -> None:
        """Calls `lane` whenever something can be read from `descriptor`, or its end."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self.by_descriptor[descriptor] = lane

    def close(self, descriptor: int) -> None:
        """Calls nobody any more. The descriptor must still be open."""
        if self.by_descriptor.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def serve(self) -> None:
        """Serves the lanes on which something has come."""
        for descriptor, _ in self._epoll.poll(0, MOST_EVENTS):
            lane = self.by_descriptor.get(descriptor)
            if lane is not None:  # one that was served before it may have closed it
                lane()


class LaneReader:
    """Reads a descriptor of its own in a lane, which is closed at first: `receive` takes what has
    come, and `ended` is called at its end, once."""

    __slots__ = ("_descriptor", "_ended", "_is_open", "_lanes", "_receive", "_size_bytes")

    def __init__(
        self, lanes: Lanes, descriptor: int, receive: Receive, ended: Callable[[], object]
    ) -> None:
        self._lanes, self._descriptor = lanes, descriptor
        self._receive, self._ended = receive, ended
        self._size_bytes = _READ_BYTES
        self._is_open = False

    def hand(self, receive: Receive) -> None:
        """Gives what comes from now on to another one."""
        self._receive = receive
        self._size_bytes = _READ_BYTES

    def resume(self) -> None:
        """Reads from now on."""
        if not self._is_open:
            self._is_open = True
            self._lanes.open(self._descriptor, self._read)

    def pause(self) -> None:
        """Reads no more."""
        if self._is_open:
            self._is_open = False
            self._lanes.close(self._descriptor)

    def close(self) -> None:
        """Reads no more, ever."""
        self.pause()
        os.close(self._descriptor)

    def _read(self) -> bool:
        try:
            data = os.read(self._descriptor, self._size_bytes)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if len(data) == self._size_bytes:
            self._size_bytes = _LARGE_READ_BYTES
        try:
            if data:
                return self._receive(data)
        except Exception as error:  # must not end the loop: one stream's trouble stays its own
            log.error("stream failed", exc_info=error)
        self.pause()
        self._ended()
        return False


def lanes_of(loop: asyncio.AbstractEventLoop) -> Lanes | None:
    """Gives the lanes of a loop; where it has none, they are made; None where there is no epoll."""
    own = getattr(loop, "lanes", None)
    if isinstance(own, Lanes):
        return own
    if not hasattr(select, "epoll"):
        return None
    epoll = select.epoll()
    lanes = Lanes(epoll)
    loop.add_reader(epoll.fileno(), lanes.serve)
    return lanes
