"""When an old Ollama may be asked what is in memory.

Below v0.32.4 `/api/ps` walks the scheduler's runners without a lock (ollama:server/routes.go
PsHandler, mended by its #15528): asked while a runner comes or goes it can end the whole server.
Such a one is asked seldom, and never while a load or an unload of ours is under way. Asks nothing
itself.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

GAP_S = 5.0
_SAFE = (0, 32, 4)
_UNKNOWN = (0, 0, 0)
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class Gate:
    """What stands before ps. Open for as long as the server is not known to be an old one."""

    def __init__(self) -> None:
        self._is_safe = True
        self._changing = 0
        self._changed = True
        self._asked_s = -GAP_S

    def meet(self, version: str) -> None:
        """Take note of the server's version. One that was built without has the newest rules."""
        found = _VERSION.match(version)
        parts = tuple(map(int, found.groups())) if found else _UNKNOWN
        self._is_safe = parts == _UNKNOWN or parts >= _SAFE

    @property
    def poll_s(self) -> float:
        """The least time between two looks."""
        return 0.0 if self._is_safe else GAP_S

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """The time of a load or an unload of ours."""
        self._changing += 1
        try:
            yield
        finally:
            self._changing -= 1
            self._changed = True

    @property
    def wait_s(self) -> float | None:
        """How long to wait before ps may be asked; None: what it said the last time has to do."""
        if self._is_safe:
            return 0.0
        rest_s = max(0.0, self._asked_s + GAP_S - time.monotonic())
        if self._changing or (rest_s and not self._changed):
            return None
        return rest_s

    def asked(self) -> None:
        """Take note that ps is being asked."""
        self._asked_s, self._changed = time.monotonic(), False
