"""Paddock under a service manager: when it says that it is ready, that it lives, how it stands.

Owns the timing of what systemd is told. The watchdog is fed from the event loop, and only while the
cycles get on: a blocked loop is silent at once, a cycle that never ends once no action may take
that long. Changes nothing, and without a manager does nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import structlog

from paddock.core.progress import Progress
from paddock.core.unit_state import one_line, status_line
from paddock.edges.systemd import Notifier, watchdog_s
from paddock.engine.loop import Finished, Loop
from paddock.engine.progress import Board

log = structlog.get_logger()

TICK_S, START_TICK_S = 5.0, 1.0
# Longer than the longest action, which is a load (LOAD_S of edges/ollama), and than a poll.
HANG_S = 1200.0
# So long is waited for a start whose work does not get on; then it is as ready as it will be.
STUCK_S = 120.0
MORE_S = 30.0
STOP_S = 15.0
LOOKS = 5


@dataclass(frozen=True, slots=True)
class _Followed:
    """A loop, its work that takes long, and the end of its start: the first cycle has ended, and
    left no such work under way."""

    loop: Loop
    board: Board
    settled: asyncio.Future[Finished]


class Supervised:
    """What the manager of one service knows of it."""

    def __init__(
        self, notifier: Notifier, *, watchdog_s: float | None, poll_s: float, drain_s: float
    ):
        self._notifier = notifier
        self._tick_s = min(TICK_S, (watchdog_s or TICK_S) / 3)
        self._hang_s = HANG_S + poll_s
        self._drain_s = drain_s
        self._ready = False
        self._reloads = set[asyncio.Task[None]]()
        self._hangs = False
        self._looks = 0
        self._moved_s = self._worked_s = time.monotonic()
        self._followed: _Followed | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], *, poll_s: float, drain_s: float) -> Self:
        """As the environment says: outside systemd it does nothing."""
        watchdog = watchdog_s(environ, os.getpid())
        return cls(Notifier.of(environ), watchdog_s=watchdog, poll_s=poll_s, drain_s=drain_s)

    def waits_for_store(self, what: str) -> None:
        """The models folder is not there yet. A while later the service is as ready as it can be:
        an Ollama that is not there shall not hold up the start of a host."""
        self._looks += 1
        if self._looks > LOOKS:
            self._notifier.tell("READY=1", "WATCHDOG=1", f"STATUS={one_line(what)}")
        else:
            self._notifier.tell(f"STATUS={one_line(what)}", _more(MORE_S))

    def cycle_ended(self, _: Finished) -> None:
        """Takes note that the cycles get on."""
        self._moved_s = time.monotonic()

    def begin(self, loop: Loop, board: Board) -> None:
        """Follow a loop that has not run yet, and what it does; on the event loop."""
        if not self._notifier.listens:
            return
        board.listen(self._progressed, self._progressed)
        self._moved_s = self._worked_s = time.monotonic()
        self._followed = _Followed(loop, board, asyncio.ensure_future(loop.ask()))

    async def run(self) -> None:
        """Tell how things stand until cancelled."""
        if (followed := self._followed) is None:
            return
        try:
            while True:
                self._tick(followed)
                if self._ready:
                    await asyncio.sleep(self._tick_s)
                else:
                    tick_s = min(self._tick_s, START_TICK_S)
                    await asyncio.wait({followed.settled}, timeout=tick_s)
        finally:
            followed.settled.cancel()

    def reload(self, loop: Loop) -> None:
        """Ask for a cycle, and say when it has ended."""
        if self._followed is None or not self._ready:
            loop.wake.set()
            return
        task = asyncio.ensure_future(self._reload(loop))
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    def stopping(self) -> None:
        """The service ends, within the time that streams are given and a little more."""
        self._notifier.tell("STOPPING=1", "STATUS=stopping", _more(self._drain_s + STOP_S))
        for task in self._reloads:
            task.cancel()

    async def _reload(self, loop: Loop) -> None:
        self._notifier.tell_reloading()
        await loop.turn()
        if len(self._reloads) == 1:  # a later one says it for all
            self._notifier.tell("READY=1", f"STATUS={status_line(loop.status)}")

    def _progressed(self, _: Progress) -> None:
        self._moved_s = self._worked_s = time.monotonic()

    def _tick(self, followed: _Followed) -> None:
        now_s = time.monotonic()
        if now_s - self._moved_s > self._hang_s:
            if not self._hangs:
                log.error("cycle hangs", since_s=round(now_s - self._moved_s))
            self._hangs = True
            return
        self._hangs = False
        status = status_line(followed.loop.status, followed.board.under_way)
        told = ["WATCHDOG=1", f"STATUS={status}"]
        if not self._ready and (followed.settled.done() or self._is_stuck(now_s)):
            self._ready = True
            told.append("READY=1")
        if not self._ready or self._reloads:
            told.append(_more(MORE_S))
        self._notifier.tell(*told)

    def _is_stuck(self, now_s: float) -> bool:
        return now_s - self._worked_s > STUCK_S


def _more(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"
