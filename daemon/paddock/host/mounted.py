"""The table of mounts, for requests: read again now and then, and never while one waits for it.

Owns the last table and its age. On a host with many mounts it costs more than a whole admission.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from paddock.edges.mounts import mounts

FRESH_S = 10.0


class Mounted:
    """The mounts as they were a short while ago."""

    def __init__(self) -> None:
        self._table: Mapping[str, str] | None = None
        self._read_at_s = 0.0
        self._reading = False

    def table(self) -> Mapping[str, str]:
        """The type of the file system at each mount point; to be asked on the event loop."""
        if self._table is None:
            self._table, self._read_at_s = mounts(), time.monotonic()
        elif not self._reading and time.monotonic() - self._read_at_s > FRESH_S:
            self._reading = True
            asyncio.get_running_loop().run_in_executor(None, mounts).add_done_callback(self._take)
        return self._table

    def _take(self, read: asyncio.Future[Mapping[str, str]]) -> None:
        self._reading, self._read_at_s = False, time.monotonic()
        if not read.cancelled() and read.exception() is None:
            self._table = read.result()
