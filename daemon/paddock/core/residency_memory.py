"""The memory of residency: what one look leaves for the next, and what actions teach.

Pure. The daemon keeps it, and one apply for its rounds. A look without it loads nothing twice, for
it sees what runs, but may load anew what has expired.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import Load, Memory, Running
from paddock.core.outcome import Outcome
from paddock.core.plan import LoadModel, SetKeepAlive
from paddock.core.residency_cases import Moment, Runner, Want, alive_digests, is_told

# What Ollama and its runners say when memory was short (ollama:llm/server.go IsOutOfMemory).
_OOM = ("memory", "oom", "cudamalloc", "failed to allocate")


def opened(wants: Iterable[Want], memory: Memory) -> Memory:
    """At the opening of a window a model counts as not loaded yet."""
    if memory.polled_at is None:
        return memory
    opened = {(want.name, want.digest) for want in wants if not _was_open(want, memory.polled_at)}
    return replace(memory, loaded=memory.loaded - opened) if opened else memory


def _was_open(want: Want, polled_at: datetime) -> bool:
    """Whether the window that is open was so at a poll, which a clock that was put back since may
    have dated after its end. None is open, or for ever: it was."""
    since, closes = want.policy.since, want.policy.closes
    return (since is None or since <= polled_at) and (closes is None or polled_at < closes)


def remember(
    wants: Sequence[Want],
    runners: Sequence[Runner],
    memory: Memory,
    moment: Moment,
    acting: Collection[Digest] = (),
) -> Memory:
    """What the next look has to know of this one. The expiry of a runner whose keep_alive is just
    being asserted is not judged yet: the assertion may fail."""
    alive, wanted = alive_digests(runners), {want.digest for want in wants}
    judged = {d: running.expires_at for d, running in alive.items() if d not in acting}
    asserted = {d: at for d, at in memory.asserted.items() if d in alive and alive[d].stamp == at}
    loaded = {(want.name, want.digest) for want in wants if want.digest in alive}
    return replace(
        memory,
        polled_at=moment.at,
        expires=dict(memory.expires) | judged,
        loaded=memory.loaded | loaded,
        runners={r.running.manifest_digest: r.digest for r in runners if r.digest is not None},
        shown=alive,
        loads={},
        asserted=asserted,
        released=memory.released - (alive.keys() - memory.shown.keys()),
        sizes=_sizes(alive, wanted, memory),
        held=_held(wants, alive, memory, moment.at),
    )


def learned(memory: Memory, outcomes: Iterable[Outcome], made_of: Mapping[Name, Digest]) -> Memory:
    """The memory after actions: what was loaded or could not be, and which expiry was shown when a
    keep_alive was set."""
    loads, asserted = dict(memory.loads), dict(memory.asserted)
    released = set(memory.released)
    for outcome in outcomes:
        digest = made_of.get(outcome.action.name)
        if digest is None:
            continue
        match outcome.action:
            case LoadModel(num_ctx=num_ctx) if outcome.result == "done" or _is_oom(outcome):
                loads[digest] = Load(outcome.result == "done", num_ctx)
            case SetKeepAlive(keep_alive=0) if outcome.result == "done":
                released.add(digest)
            case SetKeepAlive() if outcome.result == "done" and digest in memory.shown:
                asserted[digest] = memory.shown[digest].stamp
            case _:
                pass
    return replace(memory, loads=loads, asserted=asserted, released=frozenset(released))


def under_way(memory: Memory, names: Iterable[Name], made_of: Mapping[Name, Digest]) -> Memory:
    """The memory while these models are being loaded beside the cycles."""
    return replace(memory, loading=frozenset(made_of[name] for name in names if name in made_of))


def restarted(memory: Memory) -> Memory:
    """The memory once Ollama was started anew: nothing was loaded yet, and nothing gave way."""
    return replace(
        memory,
        loaded=frozenset(),
        expires={},
        shown={},
        loads={},
        asserted={},
        busy={},
        fresh=frozenset(),
        released=frozenset(),
        went={},
        came=frozenset(),
        coming={},
        most_bytes=0,
        full=None,
    )


def _is_oom(outcome: Outcome) -> bool:
    said = outcome.message.lower()
    return outcome.result == "failed" and any(word in said for word in _OOM)


def _sizes(
    alive: Mapping[Digest, Running], wanted: Collection[Digest], memory: Memory
) -> Mapping[tuple[Digest, int | None], int]:
    """What runners take, by the num_ctx that they have, and by that of the file where we have just
    loaded them."""
    found = dict(memory.sizes)
    for digest in set(wanted) & alive.keys():
        size, load = alive[digest].size_bytes, memory.loads.get(digest)
        found[digest, alive[digest].num_ctx] = size
        if load is not None and load.done:
            found[digest, load.num_ctx] = size
    return found


def _held(
    wants: Sequence[Want], alive: Mapping[Digest, Running], memory: Memory, at: datetime
) -> frozenset[Name]:
    """The models that the file keeps in memory, or did until their runners were told to go."""
    running = {want.name for want in wants if _is_there(alive.get(want.digest), at)}
    kept = {want.name for want in wants if want.policy.preload}
    return frozenset(kept | (memory.held & running))


def _is_there(running: Running | None, at: datetime) -> bool:
    return running is not None and not is_told(running, at)
