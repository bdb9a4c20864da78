"""Room: which of the models that want to be in memory have a place there.

Pure. By the file's memory limit, and by what is known not to fit (`core/residency_use.py`): what
comes last gives up its place until something changes, so that nothing is loaded in a circle, and
what has no place only because others are in use waits for the end of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta

from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import Full, Memory
from paddock.core.residency_cases import Case, Moment, Runner, alive_digests, is_due, is_told
from paddock.core.residency_use import Use
from paddock.core.sizes import show_size

GRACE = timedelta(seconds=1)
_ALONE = "Ollama had too little memory to load it"


@dataclass(frozen=True, slots=True)
class Room:
    """`yields` have no place, and why; of them `leaving` are still in memory. `waits` may be loaded
    once those are gone, or others are not in use any more. `left` went just now: a client may have
    it loaded anew at this moment, with options of its own, and a load of ours would be one more."""

    yields: Mapping[Digest, str]
    leaving: frozenset[Digest]
    waits: frozenset[Digest]
    left: frozenset[Digest]


def room_for(
    cases: Sequence[Case], runners: Sequence[Runner], memory: Memory, use: Use, moment: Moment
) -> Room:
    """Who has a place: `cases` in the order in which they come first."""
    due = {case.digest for case in cases if is_due(case, memory, moment.at)}
    running = {case.digest for case in cases if case.alive is not None}
    asking = [case for case in cases if case.digest in due | running]
    beyond = dict(_beyond(asking, runners, memory, use, moment))
    short = due - beyond.keys()  # what would be loaded now
    under_way = memory.loading & short
    yields = {digest: why for digest, why in beyond.items() if digest in due or short}
    left = frozenset(d for d, went in use.went.items() if moment.at - went.at < GRACE) & short
    waits = set(short if under_way or moment.coming else left)
    in_use = use.busy | (yields.keys() & running)
    held_up = (c for c in cases if _is_held_up(c, cases, runners, memory, use.full, in_use))
    waits |= {case.digest for case in held_up} & short
    if moment.limit_bytes is not None:
        asking = [case for case in asking if case.digest not in yields]
        others = _others(cases, runners)
        yields |= _over_limit(asking, others, memory, moment.limit_bytes)
        yields |= _give_way(asking, yields, others, memory, use, moment)
        used = others + sum(c.alive.size_bytes for c in cases if c.alive is not None)
        loads = [c for c in cases if c.digest in due - yields.keys()]
        waits |= set(_waits(loads, used, memory, moment.limit_bytes))
    waiting = frozenset(waits - under_way - yields.keys())
    return Room(yields, frozenset(yields.keys() & running), waiting, left)


def _beyond(
    asking: Iterable[Case], runners: Sequence[Runner], memory: Memory, use: Use, moment: Moment
) -> Iterator[tuple[Digest, str]]:
    """The pins that do not fit beside those before them and what others keep for ever."""
    full = use.full
    if full is None or full.generation != moment.generation or moment.at >= full.until:
        return
    pins = [case for case in asking if case.speaker.policy.preload]
    others = alive_digests(runners).keys() - {case.digest for case in pins}
    used = sum(size for d, size in _lasting(runners).items() if d in others)
    kept: list[str] = []
    for case in pins:
        size, _ = case.size(memory)
        if used + size < full.size_bytes:
            used += size
            kept.append(str(case.speaker.name))
        else:
            why = f"does not fit beside {', '.join(kept)}" if kept else _ALONE
            what = f"{why}; it is tried again when the file or what runs beside it changes"
            yield case.digest, f"{what}, or at {full.until:%H:%M} UTC"


def _is_held_up(
    case: Case,
    cases: Sequence[Case],
    runners: Iterable[Runner],
    memory: Memory,
    full: Full | None,
    in_use: Set[Digest],
) -> bool:
    """Whether a load of it would put out what does not come after it, since others are in use."""
    if full is None or not in_use - {case.digest}:
        return False
    after = {c.digest for c in cases if c.speaker.priority < case.speaker.priority}
    stays = {d: size for d, size in _lasting(runners).items() if d not in after}
    stays |= {d: r.size_bytes for d, r in alive_digests(runners).items() if d in in_use}
    return sum(stays.values()) + case.size(memory)[0] >= full.size_bytes


def _lasting(runners: Iterable[Runner]) -> Mapping[Digest, int]:
    """What stays until somebody unloads it, or Ollama does for a load."""
    alive = alive_digests(runners).items()
    return {digest: r.size_bytes for digest, r in alive if r.expires_at is None}


def _others(cases: Iterable[Case], runners: Iterable[Runner]) -> int:
    """The bytes of models that nobody declared: they count, and are let be."""
    declared = {case.digest for case in cases}
    living = (runner for runner in runners if runner.running.alive)
    return sum(r.running.size_bytes for r in living if r.digest not in declared)


def _over_limit(cases: Iterable[Case], used: int, memory: Memory, limit: int) -> dict[Digest, str]:
    yields: dict[Digest, str] = {}
    kept: list[Name] = []
    for case in cases:
        size, is_estimated = case.size(memory)
        if used + size <= limit:
            used += size
            kept.append(case.speaker.name)
        else:
            yields[case.digest] = _told(size, is_estimated, limit - used, limit, kept)
    return yields


def _give_way(
    asking: Sequence[Case],
    yields: Mapping[Digest, str],
    others: int,
    memory: Memory,
    use: Use,
    moment: Moment,
) -> dict[Digest, str]:
    """Those at rest that go for one before them, since what was told to go is in use yet."""
    told = [c.alive for c in asking if c.digest in yields and c.alive is not None]
    busy = sum(runner.size_bytes for runner in told if is_told(runner, moment.at))
    if not busy or moment.limit_bytes is None:
        return {}
    rest = [case for case in asking if case.digest not in yields]
    pressed = _over_limit(rest, others + busy, memory, moment.limit_bytes)
    if all(case.alive is not None or case.digest in pressed for case in rest):
        return {}
    running = {case.digest for case in rest if case.alive is not None}
    return {d: why for d, why in pressed.items() if d in running - use.busy}


def _told(size: int, is_estimated: bool, left: int, limit: int, kept: Sequence[Name]) -> str:
    about = " (estimated)" if is_estimated else ""
    by = f" beside {', '.join(map(str, kept))}" if kept else ""
    room = f"{show_size(max(left, 0))} of the memory_limit of {show_size(limit)} are left{by}"
    if size > limit:
        room = f"the memory_limit is {show_size(limit)}"
    return f"needs {show_size(size)}{about}, and {room}; raise one of memory_limit and its priority"


def _waits(cases: Iterable[Case], used: int, memory: Memory, limit: int) -> Iterator[Digest]:
    """Those that fit only once others are gone; the first of them comes first then too."""
    for case in cases:
        used += case.size(memory)[0]
        if used > limit:
            yield case.digest
