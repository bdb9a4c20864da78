"""What holds for every plan, whatever the world and the file.

`World.plan` holds each plan to the rules of `core/check_plan.py`, and `World.apply` to what Ollama
and the engine rely on (each manifest keeps its blobs, a runner is unloaded by a name that reaches
it), so that every property here tests those too.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from condition_lint import lint
from paddock.cli.views import plan_text
from paddock.core.conditions import date_transitions
from paddock.core.desired import Desired
from paddock.core.digest import digest_of
from paddock.core.documents import plan_from_json
from paddock.core.manifest import (
    MODEL_TYPE,
    SYSTEM_TYPE,
    Descriptor,
    Manifest,
    manifest_digests,
    parse_manifest,
)
from paddock.core.model_status import Cycle
from paddock.core.names import Name, is_scratch
from paddock.core.observed import Ledger, Observed, Unknown
from paddock.core.plan import (
    Action,
    DownloadFile,
    LinkBlob,
    Plan,
    PullModel,
    RemoveManifest,
    RemoveScratch,
    UnlinkBlob,
    UnloadModel,
    Waiting,
    WriteBlob,
    WriteManifest,
)
from paddock.core.plan_json import plan_to_json
from paddock.core.planner import make_plan
from paddock.core.schema import schema_of
from paddock.core.summarize import summarize
from paddock.core.suspend import left_alone
from paddock.errors import InvalidManifest
from properties.strategies import DECLARED, PARTS, PATHS, Models, models, worlds
from worlds import World, desire

K, V = TypeVar("K"), TypeVar("V")

EXAMPLES = int(os.environ.get("PADDOCK_EXAMPLES", "250"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
usual = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=SLOW,
)
PLAN, STATUS = (Draft202012Validator(schema_of(kind)) for kind in ("plan", "status"))
ANYTHING: frozenset[str] = frozenset()


@usual
@given(worlds(ANYTHING), models(), st.randoms(use_true_random=False))
def test_the_plan_is_the_same_whatever_the_order_of_what_was_seen(
    world: World, declared: Models, chance: random.Random
) -> None:
    desired = desire(declared)
    desired = world.locate(desired)
    observed = world.observe(desired)
    mixed = Desired(_mixed(desired.models, chance), desired.generation, desired.file)
    assert make_plan(mixed, _mixed_observed(observed, chance)) == make_plan(desired, observed)


@usual
@given(worlds(), models())
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(world: World, declared: Models) -> None:
    """`converge` asserts it: within a few rounds no actions, or those that are refused."""
    desired = desire(declared)
    end = world.converge(desired)
    refused = {a.name for a in end.actions if isinstance(a, PullModel | DownloadFile)}
    assert {action.name for action in end.actions} == refused
    waiting = {found.name for found in end.waiting}
    assert not waiting or refused


@usual
@given(worlds(), models(), st.sampled_from(DECLARED), st.sets(st.sampled_from(PARTS)))
def test_nothing_of_others_is_changed_and_nothing_is_destroyed_on_half_a_look(
    world: World, declared: Models, gone: str, hidden: set[str]
) -> None:
    """Until the look everything is as declared; then one model shall go and another move."""
    world.converge(desire(declared))
    world.put(PATHS[0], "Moved")
    for _ in range(2):
        world.apply(world.plan(desire(declared)), 2)
    world.unknown = {part: Unknown("StoreUnreadable", "cannot read it") for part in hidden}
    desired = desire({**declared, gone: {"state": "absent"}})
    plan = world.plan(desired)
    ours = world.ledger.owned
    for action in plan.actions:
        if isinstance(action, WriteManifest | LinkBlob | WriteBlob):
            assert action.name in ours or action.name not in world.manifests
        if isinstance(action, RemoveManifest | UnloadModel):
            assert action.name in ours
        if isinstance(action, RemoveManifest | UnloadModel | UnlinkBlob | RemoveScratch):
            assert not world.unknown


@usual
@given(worlds(), models(), st.integers(0, 40))
def test_a_kill_at_any_action_changes_nothing_about_the_end(
    world: World, declared: Models, first: int
) -> None:
    desired = desire(declared)
    killed = copy.deepcopy(world)
    world.converge(desired)
    for _ in range(3):
        killed.apply(killed.plan(desired), first)
    killed.converge(desired)
    assert _end(killed, desired) == _end(world, desired)


@usual
@given(worlds(ANYTHING), models())
def test_strangers_are_never_named(world: World, declared: Models) -> None:
    desired = desire(declared)
    ledger = world.ledger
    known = {*desired.models, *ledger.owned, *ledger.blobs.values(), *ledger.scratch}
    plan = world.plan(desired)
    for action in plan.actions:
        assert action.name in known
        if isinstance(action, RemoveScratch):
            assert is_scratch(action.name)
    assert {found.name for found in (*plan.blocked, *plan.waiting)} <= desired.models.keys()


@usual
@given(worlds(), models())
def test_strangers_are_the_same_after_all_of_it(world: World, declared: Models) -> None:
    desired = desire(declared)
    strangers = world.manifests.keys() - world.ledger.owned.keys()
    strangers -= {name for name in strangers if is_scratch(name)}
    before = {name: world.manifests[name] for name in strangers}
    lost = world.lost()
    world.converge(desired)
    assert {name: world.manifests.get(name) for name in strangers} == before
    assert {(n, d) for n, d in world.lost() if n in strangers} <= lost


@usual
@given(worlds(ANYTHING), models(), st.sampled_from(["", "Down", "Invalid"]), st.booleans())
def test_every_status_holds_to_the_conventions_of_conditions(
    world: World, declared: Models, trouble: str, stalled: bool
) -> None:
    desired = desire(declared)
    desired = world.locate(desired)
    observed = world.observe(desired)
    plan = make_plan(desired, observed)
    wrong = Unknown(trouble, "line one\nline two")
    cycle = Cycle(
        desired,
        world.at,
        observed if trouble != "Down" else None,
        plan if trouble != "Down" else None,
        trouble=wrong if trouble == "Down" else None,
        stalled=stalled,
        spec_trouble=wrong if trouble == "Invalid" else None,
    )
    status = summarize(cycle)
    assert lint(status, world.at) == []
    before = summarize(Cycle(desired, world.at - timedelta(hours=1)))
    dated = date_transitions(status, before)
    assert lint(dated, world.at) == []
    STATUS.validate(json.loads(json.dumps(dated.to_json())))


@usual
@given(worlds(ANYTHING), models())
def test_every_plan_is_a_document_of_its_schema_that_counts_each_model_once(
    world: World, declared: Models
) -> None:
    plan = world.plan(desire(declared))
    document = json.loads(json.dumps(plan_to_json(plan)))
    PLAN.validate(document)
    assert sum(document["summary"].values()) == len(plan.symbols)
    text = plan_text(document, plan.models, verbose=False)
    told = (*plan.symbols, *plan.suspended, *plan.notes)
    assert len(text.splitlines()) == len(told) + 1


@usual
@given(worlds(ANYTHING), models())
def test_a_plan_is_read_back_from_its_json_as_far_as_that_tells(
    world: World, declared: Models
) -> None:
    plan = world.plan(desire(declared))
    document = json.loads(json.dumps(plan_to_json(plan)))
    told = plan_from_json(document)
    assert told.model_dump() == document
    assert (told.file, told.generation) == (plan.file, plan.generation)
    assert told.summary.model_dump() == plan.summary
    read = [(a.action, Name.parse(a.name), a.symbol, a.reason, a.message) for a in told.actions]
    assert read == [(type(a).__name__, a.name, *_why(a)) for a in plan.actions]
    read_bytes = [(action.linked_bytes, action.copied_bytes) for action in told.actions]
    assert read_bytes == [(action.linked_bytes, action.copied_bytes) for action in plan.actions]
    waiting = [(Name.parse(w.name), w.symbol, w.reason, w.message) for w in told.waiting]
    assert waiting == [(w.name, *_why(w)) for w in plan.waiting]
    blocked = [(Name.parse(b.name), b.reason, b.message) for b in told.blocked]
    assert blocked == [(b.name, b.reason, b.message) for b in plan.blocked]
    assert {Name.parse(s.name): s.reason for s in told.suspended} == plan.suspended


@usual
@given(worlds(), models())
def test_what_is_left_alone_stays_as_it_is(world: World, declared: Models) -> None:
    desired = desire(declared)
    alone = left_alone(desired, world.ledger)
    before = {name: world.manifests.get(name) for name in alone}
    owned = alone & world.ledger.owned.keys()
    lost = world.lost()
    end = world.converge(desired)
    assert {name: world.manifests.get(name) for name in alone} == before
    assert owned == alone & world.ledger.owned.keys()
    assert {found for found in world.lost() if found[0] in alone} <= lost
    assert not alone & {found.name for found in (*end.blocked, *end.waiting)}


descriptors = st.builds(
    Descriptor,
    st.sampled_from([MODEL_TYPE, SYSTEM_TYPE, "application/\ud800", ""]),
    st.binary(max_size=4).map(digest_of),
    st.integers(0, 1 << 62),
)


@given(
    st.builds(
        Manifest,
        st.none() | descriptors,
        st.lists(descriptors, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    )
)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    written = manifest.encode()
    assert parse_manifest(written) == manifest
    assert parse_manifest(written).encode() == written
    assert digest_of(written) in manifest_digests(written + b"\n")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_manifest_or_are_refused(data: bytes) -> None:
    try:
        manifest = parse_manifest(data)
    except InvalidManifest:
        return
    assert parse_manifest(manifest.encode()) == manifest


def _why(planned: Action | Waiting) -> tuple[str, str, str]:
    return planned.symbol, planned.reason, planned.message


def _mixed(mapping: Mapping[K, V], chance: random.Random) -> dict[K, V]:
    items = list(mapping.items())
    chance.shuffle(items)
    return dict(items)


def _mixed_observed(observed: Observed, chance: random.Random) -> Observed:
    parts = {}
    for part in ("tags", "manifests", "blobs", "sources", "facts", "probes"):
        found = getattr(observed, part)
        parts[part] = found if isinstance(found, Unknown) else _mixed(found, chance)
    if not isinstance(observed.running, Unknown):
        parts["running"] = tuple(chance.sample(observed.running, len(observed.running)))
    if not isinstance(observed.ledger, Unknown):
        parts["ledger"] = _mixed_ledger(observed.ledger, chance)
    return replace(observed, **parts)


def _mixed_ledger(ledger: Ledger, chance: random.Random) -> Ledger:
    parts = {part: _mixed(getattr(ledger, part), chance) for part in ("owned", "pulled", "blobs")}
    return replace(ledger, runners=_mixed(ledger.runners, chance), **parts)


def _end(world: World, desired: Desired) -> object:
    """What counts of a world: how each declared model is made, and what is said of the others."""
    made = {name: world.manifest(name) for name in desired.models}
    layers = {name: m.layers if m else None for name, m in made.items()}
    plan: Plan = world.plan(desired)
    blocked = {(found.name, found.reason) for found in plan.blocked}
    names: set[Name] = set(world.manifests)
    return layers, blocked, names, len(plan.actions)
