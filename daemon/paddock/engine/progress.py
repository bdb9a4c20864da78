"""Progress: the board on which long work says how far it is, for whoever wants to know.

Owns what is under way now and the bytes moved in all; nothing is kept of what has ended. A meter
may be fed from any thread, thousands of times a second; those who listen are told on the event
loop, at most four times a second for each, and never of work that is over within a quarter.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from paddock.core.plan import Action
from paddock.core.progress import Progress

TELL_S = 0.25
MAX_UNDER_WAY = 256

Told = Callable[[Progress], None]


class Meter:
    """One action's feed. Byte counts only grow: what a server takes back is not counted twice."""

    def __init__(self, board: Board, number: int, action: Action, what: str):
        self._board = board
        self._number = number
        self._name, self._kind = action.name.display, type(action).__name__
        self._what = what
        self._numbers: tuple[int, int, int] = (0, 0, 0)
        self._phase = ""
        self._moved_bytes = 0
        self._began_s = self._told_s = time.monotonic()

    def report(self, done_bytes: int, total_bytes: int, *, first_bytes: int = 0) -> None:
        """So much is done of so much; `first_bytes` of it were there before."""
        self._numbers = (done_bytes, total_bytes, first_bytes)
        moved = done_bytes - first_bytes
        if moved > self._moved_bytes:
            self._board.count(self._kind, moved - self._moved_bytes)
            self._moved_bytes = moved
        self._tell_soon()

    def estimate(self, done_bytes: int, total_bytes: int, phase: str) -> None:
        """It is about so far, which counts as nothing moved; `phase` in words where that is less
        than nothing."""
        self._numbers, self._phase = (done_bytes, total_bytes, 0), phase
        self._tell_soon()

    def turn_to(self, phase: str) -> None:
        """It does something else now (`verifying`); the empty text is its bytes again."""
        if phase != self._phase:
            self._phase = phase
            self._tell_soon()

    def now(self) -> Progress:
        """How far it is."""
        done, total, first = self._numbers
        return Progress(
            self._number,
            self._name,
            self._kind,
            self._what,
            done,
            total,
            first,
            time.monotonic() - self._began_s,
            datetime.now(UTC),
            self._phase,
        )

    def _tell_soon(self) -> None:
        if time.monotonic() - self._told_s >= TELL_S:
            self._told_s = time.monotonic()
            self._board.tell(self._number)


class Board:
    """What is under way. `moved_bytes` gives the bytes moved by each kind of action, ever."""

    def __init__(self) -> None:
        self.moved_bytes: dict[str, int] = {}
        self._meters: dict[int, Meter] = {}
        self._numbers = itertools.count(1)
        self._listeners: list[tuple[Told, Told]] = []
        self._counting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def under_way(self) -> tuple[Progress, ...]:
        """How far each is, the longest under way first."""
        return tuple(meter.now() for meter in list(self._meters.values()))

    def left_s(self, name: str) -> float | None:
        """Seconds until what is under way for a model is done, as far as that can be told."""
        found = [meter.now() for meter in list(self._meters.values())]
        known = [progress.left_s for progress in found if progress.name == name]
        return max((left_s for left_s in known if left_s is not None), default=None)

    def listen(self, moved: Told, ended: Told) -> None:
        """Tell `moved` of what goes on, and `ended` of what is over, however it ended."""
        self._listeners.append((moved, ended))

    @contextlib.contextmanager
    def meter(self, action: Action, what: str) -> Iterator[Meter]:
        """A meter for the time of an action; to be entered on the event loop."""
        self._loop = asyncio.get_running_loop()
        number = next(self._numbers)
        meter = Meter(self, number, action, what)
        if len(self._meters) < MAX_UNDER_WAY:
            self._meters[number] = meter
        try:
            yield meter
        finally:
            self._meters.pop(number, None)
            last = meter.now()
            for _, ended in self._listeners:
                ended(last)

    def count(self, kind: str, moved_bytes: int) -> None:
        """Count bytes that an action of a kind has moved."""
        with self._counting:
            self.moved_bytes[kind] = self.moved_bytes.get(kind, 0) + moved_bytes

    def tell(self, number: int) -> None:
        """Have those who listen told of one, from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            # The loop may close between the question and the call: then nobody listens any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._tell, number)

    def _tell(self, number: int) -> None:
        meter = self._meters.get(number)
        if meter is not None:  # it may have ended on the way here
            now = meter.now()
            for moved, _ in self._listeners:
                moved(now)
