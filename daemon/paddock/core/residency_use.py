"""Use: which runners are in use, and how much does not fit, as far as ps lets it be told.

Pure. ps does not say who is in use. But a runner shows one expiry for as long as it is, and until
its first use has ended one that is counted from each look (ollama:server/routes.go PsHandler). And
Ollama puts out what is idle, and of that what has the shortest keep_alive (ollama:server/sched.go
ByDurationAndName): where a pin went for what has come, all that has less of a claim was in use, and
together they did not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from paddock.core.digest import Digest
from paddock.core.observed import Full, Memory, Running, Went
from paddock.core.residency_cases import Case, Moment, Runner, alive_digests, is_due

# Each try may cost another model its place for a while: the next one comes after twice the time.
TRY_AGAIN, LONGEST = timedelta(minutes=30), timedelta(hours=8)
PATIENCE = timedelta(minutes=5)
_JITTER = timedelta(seconds=0.2)


@dataclass(frozen=True, slots=True)
class Use:
    """In use, as far as that is known, are `fresh` runners, since they were loaded, and `stale`
    ones, for as long as they show the same. `went` are wanted and away, and `came` what has
    come meanwhile. `most_bytes` were in memory at once; `full` did not fit."""

    fresh: frozenset[Digest]
    stale: Mapping[Digest, datetime | None]
    went: Mapping[Digest, Went]
    came: frozenset[Digest]
    most_bytes: int
    full: Full | None

    @property
    def busy(self) -> frozenset[Digest]:
        """All that are known to be in use."""
        return self.fresh | self.stale.keys()

    def kept(self, memory: Memory) -> Memory:
        """The memory with what was told now."""
        return replace(
            memory,
            fresh=self.fresh,
            busy=self.stale,
            went=self.went,
            came=self.came,
            most_bytes=self.most_bytes,
            full=self.full,
        )


def with_coming(memory: Memory, moment: Moment) -> tuple[Memory, Moment]:
    """The memory and the moment, with what others have been having loaded for a while at most: what
    is never listed may be another Ollama's."""
    if not moment.coming and not memory.coming:
        return memory, moment
    coming = {d: memory.coming.get(d, moment.at) for d in moment.coming - memory.loading}
    recent = frozenset(d for d, since in coming.items() if moment.at - since < PATIENCE)
    return replace(memory, coming=coming), replace(moment, coming=recent)


def use_of(cases: Sequence[Case], runners: Sequence[Runner], memory: Memory, moment: Moment) -> Use:
    """What can be told of it now. What went is judged once nothing is being loaded any more."""
    alive = alive_digests(runners)
    use = _seen(cases, alive, memory, moment)
    failed = [c for c in cases if c.digest in memory.loads and not memory.loads[c.digest].done]
    if failed:
        return _learnt(use, failed, cases, alive, memory, moment)
    if memory.loading | moment.coming:
        return use
    lost = [case for case in cases if case.digest in use.went and use.came]
    if not lost:
        return replace(use, came=frozenset()) if use.came else use
    taken = _bytes(alive)
    if taken + _largest(lost, use, memory) <= use.most_bytes:
        # They did fit: somebody stopped it just then. Or there is less room now: once more tells.
        return replace(use, went={}, came=frozenset(), most_bytes=taken)
    return _learnt(use, lost, cases, alive, memory, moment)


def _seen(
    cases: Sequence[Case], alive: Mapping[Digest, Running], memory: Memory, moment: Moment
) -> Use:
    is_first = memory.polled_at is None
    new = frozenset() if is_first else frozenset(alive) - memory.shown.keys()
    stale = {d: stamp for d, stamp in memory.busy.items() if d in alive and alive[d].stamp == stamp}
    fresh = new | {d for d, running in alive.items() if _is_moving(d, running, memory, moment)}
    away = (case.digest for case in cases if _is_away(case, memory, moment))
    total, full = _bytes(alive), memory.full
    return Use(
        fresh=fresh - memory.loading - memory.loads.keys(),
        stale=stale,
        went={digest: _went(digest, alive, memory, moment) for digest in away},
        came=memory.came | new,
        most_bytes=max(memory.most_bytes, total),
        full=None if full is not None and full.size_bytes <= total else full,
    )


def _is_moving(digest: Digest, running: Running, memory: Memory, moment: Moment) -> bool:
    """Whether its expiry is counted from each look. Two looks in a moment do not tell, nor does one
    after another keep_alive was set."""
    since = memory.polled_at
    now, before = running.stamp, memory.shown[digest].stamp if digest in memory.shown else None
    if now is None or before is None or since is None:
        return False
    waited = moment.at - since
    if waited < 2 * _JITTER or (digest in memory.asserted and now != before):
        return digest in memory.fresh
    return now != before and abs(now - before - waited) < _JITTER


def _is_away(case: Case, memory: Memory, moment: Moment) -> bool:
    """Whether it was there, shall be, and is not, and not since we wished so. A dead one is listed,
    and what we load comes back."""
    digest = case.digest
    was_there = digest in memory.shown or digest in memory.went
    if case.runner is not None or not was_there or digest in memory.loading | memory.released:
        return False
    return is_due(case, memory, moment.at)


def _went(digest: Digest, alive: Mapping[Digest, Running], memory: Memory, moment: Moment) -> Went:
    if digest in memory.went:
        return memory.went[digest]
    stamps = {d: running.stamp for d, running in alive.items()}
    return Went(moment.at, memory.shown[digest], stamps)


def _learnt(
    use: Use,
    lost: Sequence[Case],
    cases: Sequence[Case],
    alive: Mapping[Digest, Running],
    memory: Memory,
    moment: Moment,
) -> Use:
    """What it tells that these went for what has come, or could not be loaded beside it."""
    size = _bytes(alive) + _largest(lost, use, memory)
    lesser = _lesser(lost[0], use, cases, alive)
    is_ours = bool(memory.loads.keys() & (use.came | {case.digest for case in lost}))
    return replace(
        use,
        stale=dict(use.stale) | lesser,
        went={},
        came=frozenset(),
        full=_full(size, use.full or memory.full, moment, is_ours=is_ours),
    )


def _lesser(
    case: Case, use: Use, cases: Sequence[Case], alive: Mapping[Digest, Running]
) -> dict[Digest, datetime | None]:
    """What Ollama would have put out before this one, had it not been in use; it is, until it shows
    another expiry. Nothing, where a client had unpinned it."""
    went = use.went.get(case.digest)
    if went is None or went.shown.expires_at is not None:
        return {}
    after = {c.digest for c in cases if c.speaker.priority < case.speaker.priority}
    stayed = {d: r for d, r in alive.items() if went.beside.get(d, r) == r.stamp}
    claims = {d: r for d, r in stayed.items() if r.expires_at is not None or d in after}
    return {d: running.stamp for d, running in claims.items() if d not in use.came}


def _full(size: int, before: Full | None, moment: Moment, *, is_ours: bool) -> Full:
    """What is known of the room once so much did not fit. What a try of ours has found out again
    holds for longer."""
    wait = TRY_AGAIN
    if before is not None and before.generation == moment.generation:
        if moment.at < before.until:
            return replace(before, size_bytes=min(size, before.size_bytes))
        waited = before.until - before.since
        if is_ours and moment.at < before.until + waited:
            wait = min(2 * waited, LONGEST)
    return Full(size, moment.at, moment.at + wait, moment.generation)


def _bytes(alive: Mapping[Digest, Running]) -> int:
    return sum(running.size_bytes for running in alive.values())


def _largest(lost: Sequence[Case], use: Use, memory: Memory) -> int:
    """What the largest of these took when it went, or would have."""
    went = {digest: went.shown.size_bytes for digest, went in use.went.items()}
    return max(went.get(case.digest, case.size(memory)[0]) for case in lost)
