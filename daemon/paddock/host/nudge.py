"""Nudge: cycles that requests ask for, at once but not one for each request.

Owns the gap between two of them: a thousand clients that want one broken model are one reason for a
cycle. To be used on the event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

GAP_S = 1.0


class Nudge:
    """Calls `wake` at once after a quiet time, else when the gap since the last call is over."""

    def __init__(self, wake: Callable[[], None], *, gap_s: float = GAP_S) -> None:
        self._wake = wake
        self._gap_s = gap_s
        self._free_at_s = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def give(self) -> None:
        """Asks for a cycle that begins after this, within the gap."""
        late_s = time.monotonic() - self._free_at_s
        if late_s >= 0:
            self._fire()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(-late_s, self._fire)

    def _fire(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._free_at_s = time.monotonic() + self._gap_s
        self._wake()
