"""The cases of residency: of each GGUF, who wants what of it and what runs of it.

Pure. Ollama keeps one runner a GGUF, whatever the names (ollama:server/sched.go schedulerModelKey),
so one of the names speaks for all: those that preload before the others, then by priority.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from paddock.core.desired import Clients
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import Memory, Running
from paddock.core.policy import Policy

# Clocks, and the way from the request to our look at ps.
TOLERANCE = timedelta(seconds=2)
# Of a file's bytes, until a runner of it was seen.
_ESTIMATE = 1.2


@dataclass(frozen=True, slots=True)
class Want:
    """A declared model that the store holds (or will, after this plan): its GGUF, the bytes of its
    files, the `num_ctx` that the file gives it, the policy that holds now, and what a client's own
    keep_alive counts."""

    name: Name
    digest: Digest
    policy: Policy
    priority: int = 0
    size_bytes: int = 0
    num_ctx: int | None = None
    clients: Clients = None


@dataclass(frozen=True, slots=True)
class Runner:
    """What ps shows. `digest` None: of a GGUF that nobody knows. `reached` says that the name it is
    shown by still leads to its GGUF."""

    running: Running
    digest: Digest | None
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Moment:
    """When and for what a plan is made: the file's generation, and its memory limit. `coming` is
    seen to be loaded by others, and not listed yet."""

    at: datetime
    generation: str = ""
    limit_bytes: int | None = None
    coming: frozenset[Digest] = frozenset()


@dataclass(frozen=True, slots=True)
class Case:
    """One GGUF that is declared: `wants` in the order in which they speak, at least one."""

    digest: Digest
    wants: tuple[Want, ...]
    runner: Runner | None

    @property
    def speaker(self) -> Want:
        """The name that speaks for it."""
        return self.wants[0]

    @property
    def rank(self) -> tuple[int, bool, Name]:
        """Who comes first where memory is short: by priority, then what is preloaded, then name."""
        return -self.speaker.priority, not self.speaker.policy.preload, self.speaker.name

    @property
    def alive(self) -> Running | None:
        """Its runner, unless that is seen to be dead."""
        runner = None if self.runner is None else self.runner.running
        return runner if runner is not None and runner.alive else None

    def size(self, memory: Memory) -> tuple[int, bool]:
        """The bytes that it takes in memory, and whether that is only estimated."""
        if self.alive is not None:
            return self.alive.size_bytes, False
        known = {ctx: size for (digest, ctx), size in memory.sizes.items() if digest == self.digest}
        if not known:
            return round(self.speaker.size_bytes * _ESTIMATE), True
        return known.get(self.speaker.num_ctx, max(known.values())), False


def cases_of(wants: Iterable[Want], runners: Sequence[Runner]) -> tuple[Case, ...]:
    """The cases of all wants, in the order in which they come first."""
    by_digest: defaultdict[Digest, list[Want]] = defaultdict(list)
    for want in sorted(wants, key=_turn):
        by_digest[want.digest].append(want)
    running = {runner.digest: runner for runner in runners}
    found = (Case(d, tuple(said), running.get(d)) for d, said in by_digest.items())
    return tuple(sorted(found, key=lambda case: case.rank))


def is_due(case: Case, memory: Memory, at: datetime) -> bool:
    """Whether it shall be in memory and is not. With a finite keep_alive a model is loaded once,
    and may then expire: that is no drift, but an eviction or a crash before its time is."""
    if not case.speaker.policy.preload or case.alive is not None:
        return False
    return not has_expired(case.speaker, memory, at)


def has_expired(want: Want, memory: Memory, at: datetime) -> bool:
    """Whether a model was loaded, and its finite keep_alive has run out since."""
    keep_alive = want.policy.keep_alive
    if keep_alive is None or keep_alive.is_forever or (want.name, want.digest) not in memory.loaded:
        return False
    expires_at = memory.expires.get(want.digest)
    return expires_at is not None and expires_at - TOLERANCE <= at


def is_told(running: Running, at: datetime) -> bool:
    """Whether a runner was asked to go: it shows the time of that for as long as it is busy
    (ollama:server/sched.go expireRunner). One that is busy past its expiry cannot be told apart;
    once it is idle it shows another."""
    return running.expires_at is not None and running.expires_at <= at


def _turn(want: Want) -> tuple[bool, int, Name]:
    return not want.policy.preload, -want.priority, want.name


def alive_digests(runners: Iterable[Runner]) -> Mapping[Digest, Running]:
    """The runners that live and are known, by GGUF."""
    living = (runner for runner in runners if runner.running.alive)
    return {found.digest: found.running for found in living if found.digest is not None}
