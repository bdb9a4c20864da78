"""Looks that may hang: each in a thread of its own, and waited for no longer than a limit.

One look at a time for each mount: while one hangs there, no other is begun there, so that a server
that is away costs one thread and not one for each file and cycle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

LIMIT_S = 2.0


class SlowLooks:
    """The looks under way, by the mount that they are at. May be used by several threads."""

    def __init__(self, limit_s: float = LIMIT_S):
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Thread] = {}

    def run(self, mount: str, look: Callable[[], T]) -> T:
        """What `look` returns or raises. Raises TimeoutError when it takes too long, and at once
        while another look at the same mount has not returned."""
        found: _Found[T] = _Found(look)
        with self._lock:
            before = self._under_way.get(mount)
            if before is not None and before.is_alive():
                raise TimeoutError(f"a look at {mount} has not returned yet")
            # A daemon, so that one that never returns does not keep the process.
            thread = threading.Thread(target=found.look, name=f"look at {mount}", daemon=True)
            self._under_way[mount] = thread
            thread.start()
        thread.join(self.limit_s)
        if thread.is_alive():
            raise TimeoutError(f"a look at {mount} takes longer than {self.limit_s:g} s")
        return found.result()


@dataclass(slots=True)
class _Found(Generic[T]):
    """What came of a look."""

    work: Callable[[], T]
    values: list[T] = field(default_factory=list)
    error: BaseException | None = None

    def look(self) -> None:
        try:
            self.values.append(self.work())
        except BaseException as error:  # noqa: BLE001  raised again by whoever waits
            self.error = error

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self.values[0]
