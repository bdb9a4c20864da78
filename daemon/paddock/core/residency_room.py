"""Room: which of the models that want to be in memory have a place there.

Pure. By the file's memory limit, and by what was learnt: a load that ended with a wanted model
gone, or that failed for want of memory, shows that these do not fit together. Then the one that
comes last gives up its place until something changes, so that nothing is loaded in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import Displaced, Memory, Running
from paddock.core.residency_cases import Case, Moment, Runner, alive_digests, came, is_due
from paddock.core.sizes import show_size

# Each try may cost another model its place for a while: the next one comes after twice the time.
TRY_AGAIN, LONGEST = timedelta(minutes=30), timedelta(hours=8)
GRACE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Room:
    """`yields` have no place, and why; of them `leaving` are still in memory. `waits` may be loaded
    once those are gone. `left` went just now, since when: a client may have it loaded anew at this
    moment, with options of its own, and a load of ours would be one more."""

    yields: Mapping[Digest, str]
    leaving: frozenset[Digest]
    waits: frozenset[Digest]
    displaced: Mapping[Digest, Displaced]
    left: Mapping[Digest, datetime]


def room_for(
    cases: Sequence[Case], runners: Sequence[Runner], memory: Memory, moment: Moment
) -> Room:
    """Who has a place: `cases` in the order in which they come first."""
    due = {case.digest for case in cases if is_due(case, memory, moment.at)}
    known = _displaced(cases, due, runners, memory, moment)
    displaced = {digest: found for digest, found in known.items() if moment.at < found.until}
    running = {case.digest for case in cases if case.alive is not None}
    short = due - displaced.keys()  # what would be loaded now
    under_way = memory.loading & short
    given_up = {d: at.why for d, at in displaced.items() if d in due or (d in running and short)}
    leaving = given_up.keys() & running
    left = _left(cases, short, memory, moment)
    waits = left.keys() - under_way
    waits |= short - under_way if leaving or under_way else set()
    yields = given_up
    if moment.limit_bytes is not None:
        others = _others(cases, runners)
        asking = [c for c in cases if c.digest in due | running and c.digest not in given_up]
        yields = given_up | dict(_over_limit(asking, others, memory, moment.limit_bytes))
        used = others + sum(c.alive.size_bytes for c in cases if c.alive is not None)
        loads = [c for c in cases if c.digest in due - yields.keys()]
        waits |= set(_waits(loads, used, memory, moment.limit_bytes)) - under_way
    waiting = frozenset(waits - yields.keys())
    return Room(yields, frozenset(yields.keys() & running), waiting, known, left)


def _left(
    cases: Iterable[Case], short: Collection[Digest], memory: Memory, moment: Moment
) -> Mapping[Digest, datetime]:
    """Those that the last look saw, or that went a moment before it. A dead one is listed."""
    since = dict.fromkeys(memory.shown, moment.at) | dict(memory.left)
    gone = {c.digest for c in cases if c.digest in short and c.runner is None}
    return {d: at for d, at in since.items() if d in gone and moment.at - at < GRACE}


def _others(cases: Iterable[Case], runners: Iterable[Runner]) -> int:
    """The bytes of models that nobody declared: they count, and are let be."""
    declared = {case.digest for case in cases}
    living = (runner for runner in runners if runner.running.alive)
    return sum(r.running.size_bytes for r in living if r.digest not in declared)


def _over_limit(
    cases: Iterable[Case], used: int, memory: Memory, limit: int
) -> Mapping[Digest, str]:
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


def _displaced(
    cases: Sequence[Case],
    due: Collection[Digest],
    runners: Sequence[Runner],
    memory: Memory,
    moment: Moment,
) -> Mapping[Digest, Displaced]:
    """Who has given up its place, with those who do so now: until the file changes, the time is
    over, or one of those it did not fit beside has gone for good. What runs although it did not
    fit, while nobody misses a place, fits by now."""
    alive = alive_digests(runners)
    wanted = {case.digest: case for case in cases if case.speaker.policy.preload}
    known = {d: f for d, f in memory.displaced.items() if d in wanted and _counts(f, moment)}
    held = {d for d, found in known.items() if moment.at < found.until}
    short = set(due) - held
    there = {*alive, *short}
    out = {d for d in held if known[d].beside <= there and not (d in alive and not short)}
    learnt = _learnt([c for d, c in wanted.items() if d not in out], alive, memory, moment)
    return {d: f for d, f in known.items() if d in out or d not in held} | dict(learnt)


def _counts(found: Displaced, moment: Moment) -> bool:
    """Whether it still tells how long the next time is to be: for a while after its own."""
    is_recent = moment.at < found.until + (found.until - found.since)
    return found.generation == moment.generation and is_recent


def _learnt(
    wanted: Sequence[Case], alive: Mapping[Digest, Running], memory: Memory, moment: Moment
) -> Mapping[Digest, Displaced]:
    """What the loads that have ended since the last look showed."""
    failed = [c for c in wanted if c.digest in memory.loads and not memory.loads[c.digest].done]
    if failed:
        return {c.digest: _gives_up(c, alive, memory, moment, _FAILED) for c in failed}
    done = {digest for digest, load in memory.loads.items() if load.done}
    was = memory.beside | done
    group = [c for c in wanted if c.digest in was and _is_met(c, done, memory, moment)]
    gone = [c for c in group if c.digest not in alive]
    if not done or came(alive, memory) or not gone or len(group) < 2:
        return {}
    # Ollama does not know priorities: what it put out need not be what comes last.
    rivals = {c.digest: c for c in (*group, *(c for c in wanted if c.digest in alive))}
    last = max(rivals.values(), key=lambda case: case.rank)
    beside = alive.keys() | rivals.keys()
    names = sorted(str(case.speaker.name) for case in rivals.values() if case is not last)
    why = f"does not fit beside {', '.join(names)}"
    return {last.digest: _gives_up(last, beside, memory, moment, why)}


_FAILED = "Ollama had too little memory to load it"


def _is_met(case: Case, done: Collection[Digest], memory: Memory, moment: Moment) -> bool:
    """Whether a case took part: it was loaded, or went while another one was. One whose runner is
    dead, or has expired, did not give way."""
    if case.digest in done:
        return True
    return case.runner is None and is_due(case, memory, moment.at)


def _gives_up(
    case: Case, beside: Collection[Digest], memory: Memory, moment: Moment, why: str
) -> Displaced:
    before = memory.displaced.get(case.digest)
    wait = TRY_AGAIN if before is None else min(2 * (before.until - before.since), LONGEST)
    until = moment.at + wait
    what = f"{why}; it is tried again when the file or what runs beside it changes"
    what = f"{what}, or at {until:%H:%M} UTC"
    others = frozenset(beside) - {case.digest}
    return Displaced(moment.at, until, moment.generation, others, what)
