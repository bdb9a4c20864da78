"""Looks that may hang: each in a thread of its own, and waited for no longer than a limit.

One look at a time for each mount: while one hangs there, no other is begun there, so that a server
that is away costs one thread and not one for each file and cycle. None of these threads keeps the
process from ending.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

LIMIT_S = 2.0
WALK_S = 5.0
KEPT_S = 30.0
END_S = 2.0


class SlowLooks:
    """The looks under way, by the mount that they are at. May be used by several threads."""

    def __init__(self, limit_s: float = LIMIT_S):
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._under_way: dict[str, _UnderWay] = {}
        self._walks: dict[object, _Walk[Any]] = {}

    def run(self, mount: str, look: Callable[[], T], limit_s: float | None = None) -> T:
        """What `look` returns or raises. Raises TimeoutError when it takes too long, and at once
        while another look at the same mount has taken too long and has not returned."""
        limit_s = self.limit_s if limit_s is None else limit_s
        found: _Found[T] = _Found(look)
        thread = self._begin(mount, found, limit_s)
        thread.join(limit_s)
        if thread.is_alive():
            raise TimeoutError(f"a look at {mount} takes longer than {limit_s:g} s")
        return found.result()

    def _begin(self, mount: str, found: _Found[Any], limit_s: float) -> threading.Thread:
        """Begin once the look before is over; each of those that wait has its turn."""
        until_s = time.monotonic() + limit_s
        while True:
            with self._lock:
                before = self._under_way.get(mount)
                if before is None or not before.thread.is_alive():
                    thread = found.begin(f"look at {mount}")
                    self._under_way[mount] = _UnderWay(thread, time.monotonic() + limit_s)
                    return thread
            before.thread.join(max(min(until_s, before.until_s) - time.monotonic(), 0))
            if before.thread.is_alive():
                raise TimeoutError(f"a look at {mount} has not returned yet")

    def walk(self, key: object, look: Callable[[], T], limit_s: float = WALK_S) -> T:
        """What a look at many files returns or raises, or what it did the last time, where it has
        gone on for longer than that and not for too long. Raises TimeoutError."""
        with self._lock:
            walk: _Walk[T] = self._walks.setdefault(key, _Walk())
        return walk.look(look, limit_s)


@dataclass(slots=True)
class _UnderWay:
    """A look, and until when it may take."""

    thread: threading.Thread
    until_s: float


@dataclass(slots=True)
class _Found(Generic[T]):
    """What came of a look."""

    work: Callable[[], T]
    values: list[T] = field(default_factory=list)
    error: BaseException | None = None

    def begin(self, name: str) -> threading.Thread:
        # A daemon, so that one that never returns does not keep the process.
        thread = threading.Thread(target=self.look, name=name, daemon=True)
        thread.start()
        return thread

    def look(self) -> None:
        try:
            self.values.append(self.work())
        except BaseException as error:  # noqa: BLE001  raised again by whoever waits
            self.error = error

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self.values[0]


@dataclass(slots=True)
class _Walk(Generic[T]):
    """One walk after another over the same: the one that goes on, and what the last one found."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None
    began_s: float = 0.0
    found: _Found[T] | None = None
    last: _Found[T] | None = None

    def look(self, work: Callable[[], T], limit_s: float) -> T:
        """One that took longer than its limit is not waited for again."""
        with self.lock:
            if self.thread is None or self.found is None:
                self.found, self.began_s = _Found(work), time.monotonic()
                self.thread = self.found.begin("walk")
            self.thread.join(max(self.began_s + limit_s - time.monotonic(), 0))
            if not self.thread.is_alive():
                self.last, self.thread, self.found = self.found, None, None
            elif self.last is None or time.monotonic() - self.began_s > KEPT_S:
                self.last = None
                raise TimeoutError(f"a walk takes longer than {limit_s:g} s")
            return self.last.result()


def use_threads() -> None:
    """Have this event loop's `to_thread` use Threads."""
    asyncio.get_running_loop().set_default_executor(Threads())


class Threads(ThreadPoolExecutor):
    """Threads for asyncio.to_thread: one for each call, so that no hung one takes the place of
    another call, and at the end they are waited for a moment and no longer."""

    def __init__(self, end_s: float = END_S):
        super().__init__(max_workers=1)  # asyncio takes no other class; its own are never started
        self._end_s = end_s
        self._alive: set[threading.Thread] = set()

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin a call at once."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                if future.set_running_or_notify_cancel():
                    _settle(future, lambda: work(*args, **kwargs))
            finally:
                self._alive.discard(threading.current_thread())

        thread = threading.Thread(target=run, name="call", daemon=True)
        self._alive.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait a moment for what is under way, such as a file that is being written."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        until_s = time.monotonic() + self._end_s
        for thread in tuple(self._alive) if wait else ():
            thread.join(max(until_s - time.monotonic(), 0))


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  raised again by whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)
