"""Worlds and files for properties of the planner: whatever may have happened before.

A world is made by events in any order (files written, models created, copied and removed by others,
Paddock applying one file or another and being killed), so that ledgers claim names that are gone,
links are broken, and several names share a GGUF.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from paddock.core.hub import HubFile
from paddock.core.manifest import SYSTEM_TYPE, Descriptor, Manifest
from paddock.core.names import Name, scratch_name
from paddock.core.observed import Owned, RegularBlob, SmallLayer, Unknown
from worlds import RefusedError, World, desire, gguf

DECLARED = ["a", "b", "c", "d"]
REGISTRY = ["llama3.2:3b", "r"]
STRANGERS = ["mine", "example.com/someone/theirs:8b"]
PATHS = ["/m/a.gguf", "/m/b.gguf", "/m/far/c.gguf"]
HUB = "Org/Repo"
HUB_FILES = ["a-q4.gguf", "*q4.gguf", "*q8.gguf", "*.gguf"]  # the last one is never one file
CACHED = [f"/hub/{HUB}/a-q4.gguf", f"/hub/{HUB}/a-q8.gguf"]
CONTENTS = ["A", "B", "Long"]
PARTS = ["tags", "running", "manifests", "blobs", "ledger"]

Event = Callable[[World], None]
Models = Mapping[str, Any]


def sources() -> st.SearchStrategy[dict[str, Any]]:
    """Where a model comes from, cycles included."""
    return st.one_of(
        st.builds(lambda path: {"gguf": path}, st.sampled_from(PATHS)),
        st.builds(lambda path: {"gguf": path}, st.sampled_from(PATHS)),
        st.builds(lambda base: {"model": base}, st.sampled_from([*DECLARED, "mine", "r"])),
        st.builds(lambda name: {"registry": name}, st.sampled_from(REGISTRY)),
        st.builds(lambda file: {"huggingface": HUB, "file": file}, st.sampled_from(HUB_FILES)),
    )


def overrides() -> st.SearchStrategy[dict[str, Any]]:
    """What the file says over a source, most often nothing."""
    return st.sampled_from(
        [
            {},
            {},
            {"system": "Be terse."},
            {"parameters": {"num_ctx": 2048, "stop": ["</s>"]}},
            {"template": "{{ .Prompt }}", "license": "MIT"},
            {"messages": [{"role": "user", "content": "hi"}], "parameters": {"seed": 1}},
        ]
    )


def residencies() -> st.SearchStrategy[dict[str, Any]]:
    """What the file says about memory."""
    # It is a Friday, 03:04.
    night = {"days": "fri", "from": "03:00", "to": "04:00", "preload": True}
    day = {"days": "daily", "from": "08:00", "to": "19:00", "keep_alive": "1h"}
    return st.sampled_from(
        [
            {},
            {},
            {"preload": True},
            {"preload": True, "keep_alive": "5m"},
            {"keep_alive": 60},
            {"schedule": [night], "priority": 1},
            {"schedule": [day, night | {"keep_alive": "5m"}], "client_keep_alive": {"max": "1h"}},
            {"preload": True, "schedule": [night | {"preload": False}], "priority": -1},
        ]
    )


def present() -> st.SearchStrategy[dict[str, Any]]:
    """One model that shall exist."""
    alone = st.sampled_from([*[{}] * 9, {"suspend": True}])
    return st.builds(
        lambda source, over, stay, alone: {"source": source, **over, **stay, **alone},
        sources(),
        overrides(),
        residencies(),
        alone,
    )


def models() -> st.SearchStrategy[Models]:
    """The models of a file."""
    absent = st.just({"state": "absent"})
    keys = st.sampled_from([*DECLARED, *REGISTRY])
    return st.dictionaries(keys, st.one_of(present(), present(), present(), absent), max_size=5)


def events(without: frozenset[str] = frozenset()) -> st.SearchStrategy[Event]:
    """One thing that happens. `without` leaves out kinds: `paddock`, `unknown`."""
    kinds = {
        "files": [_written(), _gone()],
        "others": [_created(), _copied(), _removed(), _registry(), _used(), _room(), _unclaimed()],
        "store": [_link_broken(), _real_file(), _manifest_gone(), _restarted(), _time()],
        "ledger": [_claimed(), _scratch(), _unnamed(), _paused()],
        "paddock": [_applied(), _applied(), _applied()],
        "unknown": [_unknown()],
    }
    return st.one_of(
        *(event for kind, some in kinds.items() if kind not in without for event in some)
    )


def worlds(without: frozenset[str] = frozenset({"unknown"})) -> st.SearchStrategy[World]:
    """A world after up to nine events."""

    def after(happened: list[Event]) -> World:
        world = World()
        for number, path in enumerate(PATHS[:2]):
            world.put(path, CONTENTS[number])
        world.offer(Name.parse("llama3.2:3b"), "L", SmallLayer(SYSTEM_TYPE, b"of the registry"))
        for number, path in enumerate(CACHED):
            name = path.rpartition("/")[2]
            world.hub[HubFile(HUB, "main", name)] = CONTENTS[number]
        for event in happened:
            event(world)
        return world

    return st.builds(after, st.lists(events(without), max_size=9))


def _written() -> st.SearchStrategy[Event]:
    def put(path: str, content: str) -> Event:
        return lambda world: world.put(path, content)

    return st.builds(put, st.sampled_from([*PATHS, *CACHED]), st.sampled_from(CONTENTS))


def _gone() -> st.SearchStrategy[Event]:
    def gone(path: str) -> Event:
        return lambda world: world.files.pop(path, None) and None

    return st.builds(gone, st.sampled_from([*PATHS, *CACHED]))


def _name() -> st.SearchStrategy[Name]:
    return st.sampled_from([*DECLARED, *REGISTRY, *STRANGERS]).map(Name.parse)


def _created() -> st.SearchStrategy[Event]:
    def create(name: Name, content: str) -> Event:
        return lambda world: world.create(name, content)

    return st.builds(create, _name(), st.sampled_from(CONTENTS))


def _copied() -> st.SearchStrategy[Event]:
    def copied(one: Name, two: Name) -> Event:
        def copy_manifest(world: World) -> None:
            if one in world.manifests and two not in world.manifests:
                world.manifests[two] = world.manifests[one]

        return copy_manifest

    return st.builds(copied, _name(), _name())


def _removed() -> st.SearchStrategy[Event]:
    def removed(name: Name) -> Event:
        return lambda world: world.delete(name)

    return st.builds(removed, _name())


def _registry() -> st.SearchStrategy[Event]:
    def registry(name: Name, content: str, pulled: bool) -> Event:
        def offer(world: World) -> None:
            world.offer(name, content)
            if pulled:
                world.pull(name)

        return offer

    names = st.sampled_from(REGISTRY).map(Name.parse)
    return st.builds(registry, names, st.sampled_from(CONTENTS), st.booleans())


def _used() -> st.SearchStrategy[Event]:
    def used(name: Name, keep_alive_s: float | None) -> Event:
        def load(world: World) -> None:
            try:
                world.load(name, keep_alive_s)
            except RefusedError:
                return  # a model that is not there cannot be used

        return load

    return st.builds(used, _name(), st.sampled_from([None, 0, 60.0, 300.0, 3600.0]))


def _room() -> st.SearchStrategy[Event]:
    """Memory is short: so many models fit."""

    def room(number: int) -> Event:
        def shrink(world: World) -> None:
            world.room = number
            world.running = world.running[-number:]

        return shrink

    return st.builds(room, st.integers(1, 3))


def _unclaimed() -> st.SearchStrategy[Event]:
    """A model as Paddock would make it, made by somebody else."""

    def unclaimed(name: Name) -> Event:
        def strip(world: World) -> None:
            manifest = world.manifest(name)
            if manifest is not None:
                world.manifests[name] = Manifest(manifest.config, manifest.layers).encode()
            owned = {other: o for other, o in world.ledger.owned.items() if other != name}
            world.ledger = replace(world.ledger, owned=owned)

        return strip

    return st.builds(unclaimed, _name())


def _link_broken() -> st.SearchStrategy[Event]:
    def broken(content: str, target: str | None) -> Event:
        def break_link(world: World) -> None:
            digest = gguf(content)
            if digest in world.blobs and target is not None:
                world.blobs[digest] = target
            else:
                world.blobs.pop(digest, None)

        return break_link

    targets = st.sampled_from([None, "/gone.gguf", *PATHS])
    return st.builds(broken, st.sampled_from(CONTENTS), targets)


def _real_file() -> st.SearchStrategy[Event]:
    def real(content: str) -> Event:
        def put(world: World) -> None:
            world.give(content)
            world.blobs[gguf(content)] = RegularBlob(1 << 30)

        return put

    return st.builds(real, st.sampled_from(CONTENTS))


def _manifest_gone() -> st.SearchStrategy[Event]:
    def gone(name: Name) -> Event:
        return lambda world: world.manifests.pop(name, None) and None

    return st.builds(gone, _name())


def _restarted() -> st.SearchStrategy[Event]:
    return st.just(World.prune)


def _time() -> st.SearchStrategy[Event]:
    def time(seconds: int) -> Event:
        def passes(world: World) -> None:
            world.at += timedelta(seconds=seconds)
            there = world.running
            world.running = [r for r in there if r.expires_at is None or r.expires_at > world.at]

        return passes

    return st.builds(time, st.integers(1, 600))


def _claimed() -> st.SearchStrategy[Event]:
    """The ledger claims a name, there or not: adopted, or gone since."""

    def claimed(name: Name) -> Event:
        def claim(world: World) -> None:
            owned = {**world.ledger.owned, name: Owned(3)}
            world.ledger = replace(world.ledger, owned=owned)

        return claim

    return st.builds(claimed, st.sampled_from([*DECLARED, *REGISTRY]).map(Name.parse))


def _scratch() -> st.SearchStrategy[Event]:
    def left(world: World) -> None:
        name = scratch_name("00112233aabbccdd")
        world.create(name, "stub")
        world.ledger = replace(world.ledger, scratch=frozenset({name}))

    return st.just(left)


def _paused() -> st.SearchStrategy[Event]:
    """Somebody pauses a model, or resumes it."""

    def paused(name: Name) -> Event:
        def switch(world: World) -> None:
            world.ledger = replace(world.ledger, paused=world.ledger.paused ^ {name})

        return switch

    return st.builds(paused, st.sampled_from([*DECLARED, *REGISTRY]).map(Name.parse))


def _unnamed() -> st.SearchStrategy[Event]:
    def unnamed(name: Name) -> Event:
        def write(world: World) -> None:
            layer: Descriptor = world.text(SmallLayer(SYSTEM_TYPE, b"of an older file"))
            blobs = {**world.ledger.blobs, layer.digest: name}
            world.ledger = replace(world.ledger, blobs=blobs)

        return write

    return st.builds(unnamed, st.sampled_from(DECLARED).map(Name.parse))


def _applied() -> st.SearchStrategy[Event]:
    """Paddock applies a file for some rounds, and may be killed within one."""

    def applied(declared: Models, rounds: int, first: int | None) -> Event:
        def apply(world: World) -> None:
            desired = desire(declared)
            for number in range(rounds):
                plan = world.plan(desired)
                world.look(desired, plan)
                world.apply(plan, first if number == rounds - 1 else None)

        return apply

    first = st.one_of(st.none(), st.integers(0, 6))
    return st.builds(applied, models(), st.integers(1, 5), first)


def _unknown() -> st.SearchStrategy[Event]:
    def unknown(part: str) -> Event:
        def hide(world: World) -> None:
            world.unknown[part] = Unknown("StoreUnreadable", f"cannot read the {part}")

        return hide

    return st.builds(unknown, st.sampled_from(PARTS))
