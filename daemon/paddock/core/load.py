"""Load: how far the load of a model is, of which Ollama says nothing until it is done.

Pure. What the same file took the last time is the best guess; else what its process has in memory,
where that can be seen; else only how long it has been going on. No guess says that it is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from paddock.core.progress import duration, size

_MOST = 0.99


@dataclass(frozen=True, slots=True)
class Load:
    """A load of so many bytes after `elapsed_s`; it `usual_s` took the last time, and `seen_bytes`
    of it are in memory as far as that can be seen."""

    size_bytes: int
    elapsed_s: float
    usual_s: float | None = None
    seen_bytes: int = 0

    @property
    def done_bytes(self) -> int:
        """How many bytes are in memory by now, at a guess; 0 where nobody can tell."""
        if self.usual_s:
            share = self.elapsed_s / self.usual_s
        else:
            share = self.seen_bytes / self.size_bytes if self.size_bytes else 0.0
        return int(self.size_bytes * min(share, _MOST))

    @property
    def phase(self) -> str:
        """What is told in words, where bytes would mislead."""
        if self.usual_s is not None and self.elapsed_s > self.usual_s:
            return f"{self._so_far}, longer than the {duration(self.usual_s)} of the last time"
        return "" if self.done_bytes else self._so_far

    @property
    def _so_far(self) -> str:
        return f"{size(self.size_bytes)}, {duration(self.elapsed_s)} so far"
