"""A model of Ollama's scheduler, as far as the memory of models goes (ollama:server/sched.go).

It is the environment of a pure function, in simulated time, and stands in for Ollama nowhere else:
what needs a server is tested against the real one. Kept: one runner a GGUF; the last keep_alive
wins and a request without one keeps the old; the expiry is set when the last request ends; another
num_ctx reloads, with a new keep_alive; one load at a time; what gives way is the first idle runner
by (keep_alive, path), else the first, at its end; keep_alive 0 lets go after the last request; a
runner that crashed stays listed until the next request for it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

FOREVER_S = 9_223_372_036.0  # of 63 bits of nanoseconds
DEFAULT_S = 300.0


@dataclass(frozen=True)
class Model:
    """A name, the path of its GGUF (which tells GGUFs apart), its num_ctx and its bytes."""

    name: str
    path: str
    num_ctx: int
    size: int

    def takes(self, num_ctx: int) -> int:
        """The bytes of a runner: half of them grow with the context."""
        return self.size // 2 + self.size // 2 * num_ctx // self.num_ctx


@dataclass
class Process:
    """A runner. `expires_at` None: it has not been idle yet."""

    model: Model
    num_ctx: int
    session_s: float
    expires_at: float | None = None
    users: int = 0
    alive: bool = True
    timer: int = 0

    @property
    def size(self) -> int:
        return self.model.takes(self.num_ctx)


@dataclass
class Request:
    """Something that was asked of a model; `ended` hears whether it was loaded. `keep_alive_s`
    None: the request gives none."""

    model: Model
    keep_alive_s: float | None
    num_ctx: int | None
    lasts_s: float
    ended: Callable[[bool], None]
    cancelled: bool = False
    is_ours: bool = False


@dataclass
class Scheduler:
    """Ollama. `gone` is called whenever a process has ended."""

    capacity: int
    most: int
    load_s: float
    gone: Callable[[], None] = lambda: None
    now: float = 0.0
    runners: dict[str, Process] = field(default_factory=dict)
    loading: Request | None = None
    loads: int = 0
    taken: set[str] = field(default_factory=set)  # what went for a request of ours
    _pending: deque[Request] = field(default_factory=deque)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)
    _epoch: int = 0

    # Time.

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Have something happen at a time."""
        heapq.heappush(self._events, (when, next(self._order), what))

    def after(self, wait_s: float, what: Callable[[], None]) -> None:
        """Have something happen after a while."""
        self.at(self.now + wait_s, what)

    def step(self) -> float:
        """Go to the next event, and let it happen; how long that took."""
        when, _, what = heapq.heappop(self._events)
        passed, self.now = when - self.now, when
        what()
        return passed

    # What is asked of it.

    def ask(self, request: Request) -> None:
        """A request with a prompt, or an empty one that only loads (`lasts_s` 0)."""
        process = self.runners.get(request.model.path)
        if process is not None and not self._needs_reload(process, request):
            self._use(process, request)
        else:
            self._pending.append(request)
            self._work()

    def stop(self, path: str, *, is_ours: bool = False) -> None:
        """An empty request with keep_alive 0."""
        process = self.runners.get(path)
        if process is not None:
            if is_ours:
                self.taken.add(path)
            process.expires_at = self.now
            self._expire(process)

    def crash(self, path: str) -> None:
        """A process is killed; nothing else notices."""
        process = self.runners.get(path)
        if process is not None and process.alive:
            process.alive = False
            self.gone()

    def restart(self) -> None:
        """The whole server is killed and started again."""
        self._epoch += 1
        self.runners.clear()
        self.taken.clear()
        asked = self.asked()
        self._pending.clear()
        self.loading = None
        for request in asked:
            request.ended(False)
        self.gone()

    def used(self) -> int:
        """The bytes that are taken."""
        living = sum(p.size for p in self.runners.values() if p.alive)
        return living + (self.size_of(self.loading) if self.loading else 0)

    def asked(self) -> list[Request]:
        """The requests that wait for a load."""
        return [*self._pending, *([self.loading] if self.loading else [])]

    @property
    def is_ours_first(self) -> bool:
        """Whether it is a request of ours that is being loaded, or has its turn to be."""
        first = self.loading or (self._pending[0] if self._pending else None)
        return first is not None and first.is_ours

    # Its rules.

    def _needs_reload(self, process: Process, request: Request) -> bool:
        return process.num_ctx != (request.num_ctx or request.model.num_ctx) or not process.alive

    def size_of(self, request: Request) -> int:
        """The bytes that the runner for a request will take."""
        return request.model.takes(request.num_ctx or request.model.num_ctx)

    def _use(self, process: Process, request: Request) -> None:
        process.users += 1
        process.timer += 1
        if request.keep_alive_s is not None:
            process.session_s = request.keep_alive_s
        epoch = self._epoch
        request.ended(True)

        def done() -> None:
            if epoch == self._epoch:
                self._finish(process)

        self.after(request.lasts_s, done)

    def _finish(self, process: Process) -> None:
        process.users -= 1
        if process.users or self.runners.get(process.model.path) is not process:
            return
        if process.session_s <= 0:
            self._unload(process)
            return
        process.timer += 1
        process.expires_at = self.now + process.session_s
        if process.session_s < FOREVER_S:
            timer = process.timer
            self.after(process.session_s, lambda: self._time_out(process, timer))
        self._work()

    def _time_out(self, process: Process, timer: int) -> None:
        if timer == process.timer and self.runners.get(process.model.path) is process:
            self._unload(process)

    def _expire(self, process: Process) -> None:
        process.session_s = 0
        process.timer += 1
        if process.users == 0:
            self._unload(process)

    def _unload(self, process: Process) -> None:
        if self.runners.get(process.model.path) is process:
            del self.runners[process.model.path]
            process.alive = False
            self.gone()
            self._work()

    def _work(self) -> None:
        """Load what is asked for first, once there is room."""
        while self._pending and self.loading is None:
            request = self._pending[0]
            if request.cancelled:
                self._pending.popleft()
                continue
            process = self.runners.get(request.model.path)
            if process is not None and not self._needs_reload(process, request):
                self._pending.popleft()
                self._use(process, request)
            elif (giver := self._gives_way(request, process)) is not None:
                giver.session_s, giver.timer = 0, giver.timer + 1
                if request.is_ours and giver is not process:
                    self.taken.add(giver.model.path)
                if giver.users and giver.alive:
                    return  # at its end
                self._drop(giver)
            elif self.size_of(request) > self.capacity:
                self._pending.popleft()
                request.ended(False)
            else:
                self._pending.popleft()
                self._begin(request)

    def _gives_way(self, request: Request, process: Process | None) -> Process | None:
        if process is not None:
            return process
        full = self.used() + self.size_of(request) > self.capacity
        if not self.runners or not (full or len(self.runners) >= self.most):
            return None
        by_rank = sorted(self.runners.values(), key=lambda p: (p.session_s, p.model.path))
        return next((p for p in by_rank if p.users == 0), by_rank[0])

    def _drop(self, process: Process) -> None:
        del self.runners[process.model.path]
        if process.alive:
            process.alive = False
            self.gone()

    def _begin(self, request: Request) -> None:
        self.loading = request
        epoch = self._epoch

        def loaded() -> None:
            if epoch == self._epoch:
                self._loaded(request)

        self.after(self.load_s, loaded)

    def _loaded(self, request: Request) -> None:
        self.loading = None
        self.loads += 1
        self.taken.discard(request.model.path)
        session_s = DEFAULT_S if request.keep_alive_s is None else request.keep_alive_s
        process = Process(request.model, request.num_ctx or request.model.num_ctx, session_s)
        if request.cancelled:
            request.lasts_s = 0.0
        self.runners[request.model.path] = process
        self._use(process, request)
        self._work()
