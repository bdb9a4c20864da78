"""An event loop of asyncio that serves lanes in the very call in which it waits.

Owns how one epoll is shared by the two: what comes on a lane is moved on at once and the wait goes
on, all else is told to the loop. It waits no longer than the loop asked for, and returns as soon as
a lane did more than move bytes. Needs epoll; `new_loop` is asyncio's own loop where there is none.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import time
from typing import Any

from paddock.endpoint.lanes import MOST_EVENTS, Lanes


class LaneSelector(selectors.EpollSelector):
    """What a loop waits with: it serves the lanes itself, and tells the loop of the rest."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._epoll = select.epoll.fromfd(os.dup(self.fileno()))
        self.lanes = Lanes(self._epoll)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Has the loop told of `fileobj`."""
        key = super().register(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Has the loop told no more."""
        key = super().unregister(fileobj)
        self._keys.pop(key.fd, None)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Has the loop told of other events."""
        key = super().modify(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def close(self) -> None:
        """Closes both descriptors of the one epoll."""
        self._epoll.close()
        super().close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Waits until the loop has something to do; meanwhile chunks come and go."""
        wait_s = None if timeout is None else max(0.0, timeout)
        until_s = None if wait_s is None else time.monotonic() + wait_s
        while True:
            found, quiet = self._turn(wait_s)
            if found or not quiet or wait_s == 0:
                return found
            if until_s is not None:
                wait_s = until_s - time.monotonic()
                if wait_s <= 0:
                    return found

    def _turn(self, wait_s: float | None) -> tuple[list[tuple[selectors.SelectorKey, int]], bool]:
        found: list[tuple[selectors.SelectorKey, int]] = []
        lanes, quiet = self.lanes.by_descriptor, True
        for descriptor, events in self._epoll.poll(wait_s, MOST_EVENTS):
            lane = lanes.get(descriptor)
            if lane is not None:
                quiet = lane() and quiet
            elif key := self._keys.get(descriptor):
                found.append((key, _wanted(key, events)))
        return found, quiet


def _wanted(key: selectors.SelectorKey, events: int) -> int:
    """Errors and ends count as both, as in `selectors.EpollSelector`."""
    reads = selectors.EVENT_READ if events & ~select.EPOLLOUT else 0
    writes = selectors.EVENT_WRITE if events & ~select.EPOLLIN else 0
    return (reads | writes) & key.events


class LaneLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio that serves lanes while it waits."""

    def __init__(self) -> None:
        selector = LaneSelector()
        self.lanes = selector.lanes
        super().__init__(selector)


def new_loop() -> asyncio.AbstractEventLoop:
    """Makes the loop that a daemon runs in."""
    return LaneLoop()
