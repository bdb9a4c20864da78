"""Listing: what lies at a depth below a folder, at the cost of one `stat` a folder that stands.

Remembers the names in a folder by its own state, which every change of them changes; of one that
changed a moment ago nothing is kept, for its times may not tell that change from the next one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from paddock.edges.store.files import listed, scan

SETTLED_NS = 2_000_000_000

_State = tuple[int, int, int, int]


class Listing:
    """The entries at `depth` below `top`, as Ollama globs its manifests."""

    def __init__(self, top: Path, depth: int):
        self._top = os.fspath(top)
        self._depth = depth
        self._known: dict[str, tuple[_State, list[str]]] = {}

    def paths(self) -> list[str]:
        """Their paths, as they are now. Raises StoreError."""
        folders = [self._top]
        for _ in range(self._depth - 1):
            folders = [entry.path for at in folders for entry in scan(at) if entry.is_dir()]
        before, self._known = self._known, {}
        return [path for at in folders for path in listed(at, lambda at: self._in(at, before))]

    def _in(self, folder: str, before: dict[str, tuple[_State, list[str]]]) -> list[str]:
        found = os.stat(folder)  # noqa: PTH116
        state = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
        known = before.get(folder)
        if known is None or known[0] != state:
            is_settled = found.st_mtime_ns < time.time_ns() - SETTLED_NS
            known = state, [f"{folder}/{name}" for name in os.listdir(folder)]  # noqa: PTH208
            if not is_settled:
                return known[1]
        self._known[folder] = known
        return known[1]
