"""The sentences in which a case of the planner tells what has happened before.

Each pattern is one event in a World. A sentence that no pattern fits is an error, so that a case
cannot say something that does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import yaml

from paddock.core.digest import digest_of
from paddock.core.hub import HubFile
from paddock.core.keep_alive import KeepAlive
from paddock.core.manifest import PARAMS_TYPE, SYSTEM_TYPE, TEMPLATE_TYPE, Manifest
from paddock.core.names import Name, scratch_name
from paddock.core.observed import LinkBlob, RegularBlob, SmallLayer, Unknown
from paddock.core.tree_facts import Thing
from worlds import World, desire, gguf

Event = Callable[[World, re.Match[str]], None]

_EVENTS: list[tuple[re.Pattern[str], Event]] = []
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "big-endian": {"byte_order": "big"},
    "a projector": {"kind": "projector"},
    "an adapter": {"kind": "adapter"},
    **{f"part {number + 1} of 3": {"split_count": 3, "split_no": number} for number in range(3)},
}
_LAYERS = {"template": TEMPLATE_TYPE, "system": SYSTEM_TYPE, "params": PARAMS_TYPE}


def tell(world: World, sentence: str | Mapping[str, Any]) -> None:
    """Let one thing happen. A mapping is a sentence and a models.yaml below it."""
    if isinstance(sentence, Mapping):
        ((words, models),) = sentence.items()
        text = f"{words} {json.dumps(models)}"
    else:
        text = sentence
    for pattern, event in _EVENTS:
        if match := pattern.fullmatch(text):
            return event(world, match)
    raise ValueError(f"no event is told as: {text}")


def models_of(text: str) -> Mapping[str, Any]:
    """The models of the text of a models.yaml, without its head."""
    models: Mapping[str, Any] = yaml.safe_load(text)
    return models


def _event(pattern: str) -> Callable[[Event], Event]:
    def add(event: Event) -> Event:
        _EVENTS.append((re.compile(pattern, re.DOTALL), event))
        return event

    return add


@_event(r"(?P<path>/\S+) holds (?P<content>\w+)(, which is (?P<what>.+))?")
def _holds(world: World, said: re.Match[str]) -> None:
    world.put(said["path"], said["content"], **_HEADERS.get(said["what"], {}))


@_event(r"(?P<path>/\S+) is a link to (?P<real>/\S+)")
def _is_a_link(world: World, said: re.Match[str]) -> None:
    world.files[said["path"]] = replace(world.files[said["real"]])


@_event(r"(?P<path>/\S+) was hashed")
def _was_hashed(world: World, said: re.Match[str]) -> None:
    file = world.files[said["path"]]
    world.hashed[file.stat] = gguf(file.content)


@_event(r"(?P<path>/\S+) is gone")
def _is_gone(world: World, said: re.Match[str]) -> None:
    del world.files[said["path"]]


@_event(r"(?P<path>/\S+) cannot be looked at")
def _cannot_be_looked_at(world: World, said: re.Match[str]) -> None:
    message = f"cannot look at {said['path']}: permission denied"
    world.files[said["path"]].trouble = Unknown("SourceUnreadable", message)


@_event(r"(?P<path>/\S+) is not a GGUF")
def _is_not_a_gguf(world: World, said: re.Match[str]) -> None:
    problem = Unknown("InvalidGGUF", f"{said['path']}: begins with 'PK', not with GGUF")
    world.files[said["path"]].problem = problem


@_event(r"(?P<path>/\S+) is touched")
def _is_touched(world: World, said: re.Match[str]) -> None:
    world.files[said["path"]].version += 1


@_event(r"paddock applied (?P<models>\{.*\})")
def _applied(world: World, said: re.Match[str]) -> None:
    world.converge(desire(json.loads(said["models"])))


@_event(r"paddock trusted (?P<models>\{.*\})")
def _trusted(world: World, said: re.Match[str]) -> None:
    """What it took at its word is not what is there: the world does not mind until it is hashed."""
    world.trusting = True
    world.converge(desire(json.loads(said["models"])))


@_event(r"paddock was killed after (?P<kind>\w+) of (?P<models>\{.*\})")
def _killed(world: World, said: re.Match[str]) -> None:
    desired = desire(json.loads(said["models"]))
    for _ in range(9):
        plan = world.plan(desired)
        world.look(desired, plan)
        kinds = [type(action).__name__ for action in plan.actions]
        if said["kind"] in kinds:
            world.apply(plan, kinds.index(said["kind"]) + 1)
            return
        world.apply(plan)
    raise ValueError(f"no plan has a {said['kind']}")


@_event(r"paddock adopted (?P<name>\S+)")
def _adopted(world: World, said: re.Match[str]) -> None:
    from paddock.core.observed import Owned

    owned = {**world.ledger.owned, Name.parse(said["name"]): Owned()}
    world.ledger = replace(world.ledger, owned=owned)


@_event(r"the ledger was lost(?P<id> and the id with it)?")
def _ledger_lost(world: World, said: re.Match[str]) -> None:
    world.lose_ledger(*(["0" * 32] if said["id"] else []))


@_event(r"paddock was told to pause (?P<name>\S+)")
def _told_to_pause(world: World, said: re.Match[str]) -> None:
    world.ledger = replace(world.ledger, paused=world.ledger.paused | {Name.parse(said["name"])})


@_event(r"paddock was told to resume (?P<name>\S+)")
def _told_to_resume(world: World, said: re.Match[str]) -> None:
    world.ledger = replace(world.ledger, paused=world.ledger.paused - {Name.parse(said["name"])})


@_event(r"the link of (?P<content>\w+) is gone")
def _link_is_gone(world: World, said: re.Match[str]) -> None:
    del world.blobs[gguf(said["content"])]


@_event(r"the link of (?P<content>\w+) leads to (?P<path>/\S+)")
def _link_leads_to(world: World, said: re.Match[str]) -> None:
    assert isinstance(world.observe(desire({})).blobs, dict)
    world.blobs[gguf(said["content"])] = said["path"]


@_event(r"the blob of (?P<content>\w+) is a real file")
def _is_a_real_file(world: World, said: re.Match[str]) -> None:
    world.give(said["content"])
    world.blobs[gguf(said["content"])] = RegularBlob(1_000_000_000)


@_event(r"the (?P<layer>template|system|params) of (?P<name>\S+) is gone from the store")
def _layer_is_gone(world: World, said: re.Match[str]) -> None:
    manifest = world.manifest(Name.parse(said["name"]))
    assert manifest is not None
    for layer in manifest.layers:
        if layer.media_type == _LAYERS[said["layer"]]:
            del world.blobs[layer.digest]


@_event(r"the manifest of (?P<name>\S+) is gone")
def _manifest_is_gone(world: World, said: re.Match[str]) -> None:
    del world.manifests[Name.parse(said["name"])]


@_event(r"the manifest of (?P<name>\S+) is half written")
def _half_written(world: World, said: re.Match[str]) -> None:
    name = Name.parse(said["name"])
    world.manifests[name] = world.manifests[name][:40]


@_event(r"somebody removed (?P<name>\S+)")
def _removed(world: World, said: re.Match[str]) -> None:
    world.delete(Name.parse(said["name"]))


@_event(r"somebody created (?P<name>\S+) from (?P<content>\w+)( with the system (?P<system>.+))?")
def _created(world: World, said: re.Match[str]) -> None:
    texts = [SmallLayer(SYSTEM_TYPE, said["system"].encode())] if said["system"] else []
    world.create(Name.parse(said["name"]), said["content"], *texts)


@_event(r"somebody copied (?P<one>\S+) to (?P<two>\S+)")
def _copied(world: World, said: re.Match[str]) -> None:
    world.manifests[Name.parse(said["two"])] = world.manifests[Name.parse(said["one"])]


@_event(r"(?P<name>\S+) was made by somebody else just so")
def _was_made_by_somebody_else(world: World, said: re.Match[str]) -> None:
    name = Name.parse(said["name"])
    manifest = world.manifest(name)
    assert manifest is not None
    world.manifests[name] = Manifest(manifest.config, manifest.layers).encode()
    owned = {other: o for other, o in world.ledger.owned.items() if other != name}
    world.ledger = replace(world.ledger, owned=owned)


@_event(r"the registry has (?P<name>\S+) with (?P<content>\w+)")
def _offered(world: World, said: re.Match[str]) -> None:
    template = SmallLayer(TEMPLATE_TYPE, f"template of {said['content']}".encode())
    world.offer(Name.parse(said["name"]), said["content"], template)


@_event(r"the hub has (?P<file>\S+) of (?P<repo>\S+) with (?P<content>\w+)")
def _at_the_hub(world: World, said: re.Match[str]) -> None:
    world.hub[HubFile(said["repo"], "main", said["file"])] = said["content"]


@_event(r"somebody pulled (?P<name>\S+)")
def _pulled(world: World, said: re.Match[str]) -> None:
    world.pull(Name.parse(said["name"]))


@_event(r"Ollama was started again, hours later")
def _restarted(world: World, said: re.Match[str]) -> None:
    world.prune()


@_event(r"a client used (?P<name>\S+) with keep_alive (?P<time>\S+)")
def _used(world: World, said: re.Match[str]) -> None:
    world.load(Name.parse(said["name"]), KeepAlive.parse(said["time"]).seconds)


@_event(r"paddock looked, as of (?P<models>\{.*\})")
def _looked(world: World, said: re.Match[str]) -> None:
    desired = desire(json.loads(said["models"]))
    world.look(desired, world.plan(desired))


@_event(r"(?P<time>\w+) passed")
def _passed(world: World, said: re.Match[str]) -> None:
    seconds = KeepAlive.parse(said["time"]).seconds
    assert seconds is not None
    world.at += timedelta(seconds=seconds)
    there = world.running
    world.running = [r for r in there if r.expires_at is None or r.expires_at > world.at]


@_event(r"everything was evicted")
def _evicted(world: World, said: re.Match[str]) -> None:
    world.evict()


@_event(r"Ollama has room for (?P<number>\d+) models?")
def _has_room(world: World, said: re.Match[str]) -> None:
    world.room = int(said["number"])


@_event(r"the runner of (?P<name>\S+) died")
def _runner_died(world: World, said: re.Match[str]) -> None:
    name = Name.parse(said["name"])
    world.running = [replace(r, alive=r.alive and r.name != name) for r in world.running]


@_event(r"a probe left the scratch model (?P<hex>\w{16})")
def _left_behind(world: World, said: re.Match[str]) -> None:
    name = scratch_name(said["hex"])
    world.create(name, "stub")
    world.ledger = replace(world.ledger, scratch=world.ledger.scratch | {name})


@_event(r"paddock wrote a blob for (?P<name>\S+) that nothing names")
def _unnamed(world: World, said: re.Match[str]) -> None:
    content = b"of an older template"
    world.text(SmallLayer(TEMPLATE_TYPE, content))
    blobs = {**world.ledger.blobs, digest_of(content): Name.parse(said["name"])}
    world.ledger = replace(world.ledger, blobs=blobs)


@_event(r"the (?P<part>tags|running|manifests|blobs|ledger) cannot be read")
def _unreadable(world: World, said: re.Match[str]) -> None:
    message = f"cannot read the {said['part']}: input/output error"
    world.unknown[said["part"]] = Unknown("StoreUnreadable", message)


@_event(r"the folder (?P<path>/\S+) is there")
def _folder_is_there(world: World, said: re.Match[str]) -> None:
    world.forest.devices[said["path"]] = 1


@_event(r"the folder (?P<path>/\S+) went away")
def _folder_went_away(world: World, said: re.Match[str]) -> None:
    del world.forest.devices[said["path"]]


@_event(r"somebody put a file at (?P<path>/\S+)")
def _put_a_file(world: World, said: re.Match[str]) -> None:
    world.forest.things[said["path"]] = Thing("file")


@_event(r"paddock published to (?P<path>/\S+) (?P<models>\{.*\})")
def _published(world: World, said: re.Match[str]) -> None:
    world.converge(desire(json.loads(said["models"]), publish=[{"path": said["path"]}]))


def links(world: World) -> set[str]:
    """Where the links of the store lead."""
    blobs = world.observe(desire({})).blobs
    assert isinstance(blobs, Mapping)
    return {blob.target for blob in blobs.values() if isinstance(blob, LinkBlob)}
