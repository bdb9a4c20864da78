"""Clock: whether the wall clock was set, or the host has slept.

How long something takes or waits is measured by the monotonic clock, which stands still while a
host sleeps, as do Ollama's and systemd's timers; what is dated (windows, expiries, files) is held
against the wall clock. Where a time of day is remembered only to wait until then, it moves with the
wall clock: this says by how much. Decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

# Time servers let a clock run faster or slower by less than that in an hour; steps are larger.
LEAST = timedelta(seconds=1)


class Clock:
    """The wall clock, beside the monotonic one."""

    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ):
        self._wall_s, self._monotonic_s = wall_s, monotonic_s
        self._ahead_s = wall_s() - monotonic_s()

    def moved_by(self) -> timedelta:
        """By how much the wall clock has moved against the other since this was asked last: zero
        where it has only run a little faster or slower."""
        ahead_s = self._wall_s() - self._monotonic_s()
        by, self._ahead_s = timedelta(seconds=ahead_s - self._ahead_s), ahead_s
        return by if abs(by) >= LEAST else timedelta()
