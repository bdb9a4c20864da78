"""Pulse: whether the cycles get on.

Owns one time: when something last moved. A cycle that ended, an action that ended and bytes that
moved are beats; that the process still answers is none, so nothing here beats by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Longer than a load or a copy may take without a word, and than any pause between two cycles.
HANG_S = 1200.0


class Pulse:
    """When the work of the daemon last got on."""

    def __init__(
        self, *, hang_s: float = HANG_S, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._hang_s = hang_s
        self._clock_s = clock_s
        self._beat_at_s = clock_s()
        self._mark: object = None

    def beat(self, *_: object) -> None:
        """Takes note that something moved, whatever it was."""
        self._beat_at_s = self._clock_s()

    def see(self, mark: object) -> None:
        """Takes note of a mark that only work moves; another one than before is a beat."""
        if mark != self._mark:
            self._mark = mark
            self.beat()

    @property
    def beats(self) -> bool:
        """Whether something moved within the time that the longest step may take."""
        return self._clock_s() - self._beat_at_s <= self._hang_s
