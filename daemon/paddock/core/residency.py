"""Residency: what memory shall hold, and how long, against what ps shows.

Pure; the time and what earlier polls saw come in as arguments. Ollama keeps one runner a GGUF,
whatever the names, and the last request that carries a keep_alive wins
(ollama:server/sched.go useLoadedRunner): so a pin is asserted whenever it was lost, and a finite
keep_alive once a use.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from paddock.core.desired import Residency
from paddock.core.digest import Digest
from paddock.core.keep_alive import KeepAlive
from paddock.core.names import Name
from paddock.core.observed import Memory, Running
from paddock.core.plan import LoadModel, SetKeepAlive

# Clocks, and the way from the request to our look at ps.
TOLERANCE = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Want:
    """A declared model that the store holds (or will, after this plan): its name and GGUF."""

    name: Name
    digest: Digest
    residency: Residency


def plan_residency(
    wants: Sequence[Want],
    running: Sequence[tuple[Running, Digest | None]],
    memory: Memory,
    now: datetime,
) -> Iterator[LoadModel | SetKeepAlive]:
    """One action at most for each GGUF: the first name that asks for something speaks for it."""
    runners = {digest: runner for runner, digest in running if digest is not None}
    settled: set[Digest] = set()
    said = (want for want in wants if want.residency != Residency())
    for want in sorted(said, key=lambda want: (not want.residency.preload, want.name)):
        if want.digest in settled:
            continue
        runner = runners.get(want.digest)
        if runner is None:
            if want.residency.preload and not _has_expired(want, memory, now):
                settled.add(want.digest)
                yield _load(want, memory)
        elif want.residency.keep_alive is not None:
            settled.add(want.digest)
            if not _in_policy(want.residency.keep_alive, want.digest, runner, memory, now):
                yield _assert(want, want.residency.keep_alive, runner)


def remember(
    memory: Memory,
    wants: Iterable[tuple[Name, Digest]],
    running: Iterable[tuple[Running, Digest | None]],
    now: datetime,
    asserting: Container[Digest | None] = (),
) -> Memory:
    """What the next poll has to know of this one. The expiry of a runner whose keep_alive is just
    being asserted is not judged yet: the assertion may fail."""
    known = [(runner, digest) for runner, digest in running if digest is not None]
    expires = {digest: runner.expires_at for runner, digest in known if digest not in asserting}
    runners = {runner.manifest_digest: digest for runner, digest in known}
    loaded = {(name, digest) for name, digest in wants if digest in runners.values()}
    kept = {digest: at for digest, at in memory.expires.items() if digest not in expires}
    loaded_ever = memory.loaded | frozenset(loaded)
    return replace(
        memory, polled_at=now, expires=kept | expires, loaded=loaded_ever, runners=runners
    )


def _has_expired(want: Want, memory: Memory, now: datetime) -> bool:
    """With a finite keep_alive a model is loaded once, and may then expire: that is no drift, but
    an eviction or a crash before its time is."""
    if want.residency.keep_alive is None or want.residency.keep_alive.is_forever:
        return False
    if (want.name, want.digest) not in memory.loaded:
        return False
    expires_at = memory.expires.get(want.digest)
    return expires_at is not None and expires_at - TOLERANCE <= now


def _in_policy(
    keep_alive: KeepAlive, digest: Digest, runner: Running, memory: Memory, now: datetime
) -> bool:
    if keep_alive.seconds is None or runner.expires_at is None:
        return keep_alive.seconds is None and runner.expires_at is None
    if runner.expires_at <= now or memory.expires.get(digest) == runner.expires_at:
        return True  # busy: its expiry is stale until the request ends; or judged already
    used_at = runner.expires_at - timedelta(seconds=keep_alive.seconds)
    since = memory.polled_at
    return (since is None or since - TOLERANCE <= used_at) and used_at <= now + TOLERANCE


def _load(want: Want, memory: Memory) -> LoadModel:
    keep_alive = want.residency.keep_alive
    again = (want.name, want.digest) in memory.loaded
    how_long = "" if keep_alive is None else f", keep_alive {keep_alive.display}"
    return LoadModel(
        name=want.name,
        reason="Evicted" if again else "NotLoaded",
        message=f"load{how_long}",
        symbol="~",
        keep_alive=None if keep_alive is None else keep_alive.wire,
    )


def _assert(want: Want, keep_alive: KeepAlive, runner: Running) -> SetKeepAlive:
    expiry = "for ever" if runner.expires_at is None else f"until {runner.expires_at:%H:%M:%S} UTC"
    return SetKeepAlive(
        name=want.name,
        reason="Unpinned" if keep_alive.is_forever else "KeepAliveChanged",
        message=f"set keep_alive {keep_alive.display} (it was: {expiry})",
        symbol="~",
        keep_alive=keep_alive.wire,
        running=runner.name,
    )
