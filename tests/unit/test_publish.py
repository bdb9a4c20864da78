"""From a composition to actions: blobs, link, manifest, and the words that go with them."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.core.manifest import (
    GENERATION_MARK,
    NAME_MARK,
    STORE_MARK,
    SYSTEM_TYPE,
    parse_manifest,
)
from paddock.core.names import Name
from paddock.core.observed import Ledger, RegularBlob
from paddock.core.plan import Action, LinkBlob, WriteBlob, WriteManifest
from worlds import STORE_ID, World, desire, gguf

MODELS: dict[str, Any] = {"a": {"source": {"gguf": "/m/a.gguf"}, "system": "s", "license": "MIT"}}
NAME = Name.parse("a")


@pytest.fixture
def world() -> World:
    """A source that was hashed and probed, and nothing made of it yet."""
    world = World()
    world.put("/m/a.gguf", "A", real_path="/disk/a.gguf")
    for _ in range(2):
        world.apply(world.plan(desire(MODELS)))
    return world


def actions(world: World) -> tuple[Action, ...]:
    return world.plan(desire(MODELS)).actions


def manifest_of(world: World) -> WriteManifest:
    return next(action for action in actions(world) if isinstance(action, WriteManifest))


def test_small_blobs_are_told_by_their_kind(world: World) -> None:
    told = [a.message.rpartition(" ")[0] for a in actions(world) if isinstance(a, WriteBlob)]
    assert told == ["write config", "write template", "write system", "write license"]


def test_the_link_leads_to_the_real_path_and_counts_as_linked(world: World) -> None:
    link = next(action for action in actions(world) if isinstance(action, LinkBlob))
    assert (link.target, link.linked_bytes, link.copied_bytes) == ("/disk/a.gguf", 10**9, 0)
    assert link.stat == world.files["/m/a.gguf"].stat


def test_the_manifest_is_marked_with_its_name_the_store_and_a_generation(world: World) -> None:
    written = parse_manifest(manifest_of(world).content)
    assert written.annotations == {
        NAME_MARK: "registry.ollama.ai/library/a:latest",
        STORE_MARK: STORE_ID,
        GENERATION_MARK: "0",
    }


def test_a_store_without_an_id_yet_is_planned_for_all_the_same(world: World) -> None:
    world.ledger = Ledger()
    assert b"known after apply" in manifest_of(world).content


def test_the_manifest_needs_every_blob_that_it_names(world: World) -> None:
    action = manifest_of(world)
    assert action.needs == parse_manifest(action.content).digests
    assert len(action.needs) == 5
    assert (action.model_digest, action.replaces) == (gguf("A"), None)


def test_each_mended_link_raises_the_generation_once(world: World) -> None:
    desired = desire(MODELS)
    world.converge(desired)
    for generation in (1, 2):
        del world.blobs[gguf("A")]
        action = manifest_of(world)
        assert (action.reason, action.generation) == ("LinkMended", generation)
        world.converge(desired)
        found = world.manifest(NAME)
        assert found is not None
        assert found.generation == generation


def test_a_model_that_was_there_before_gets_other_bytes_when_it_comes_back(world: World) -> None:
    """Ollama may have cached under the old digest what it saw through a broken link."""
    world.converge(desire(MODELS))
    before = world.digest(NAME)
    del world.blobs[gguf("A")]
    del world.manifests[NAME]
    world.converge(desire(MODELS))
    assert world.digest(NAME) != before


def test_a_real_file_is_never_replaced_by_a_link(world: World) -> None:
    world.blobs[gguf("A")] = RegularBlob(10**9)
    assert not any(isinstance(action, LinkBlob) for action in actions(world))


def test_a_lost_small_blob_is_written_again_without_a_new_manifest(world: World) -> None:
    world.converge(desire(MODELS))
    found = world.manifest(NAME)
    assert found is not None
    text = next(layer for layer in found.layers if layer.media_type == SYSTEM_TYPE)
    del world.blobs[text.digest]
    assert [(type(a), a.symbol, a.reason) for a in actions(world)] == [
        (WriteBlob, "~", "BlobMissing")
    ]


def test_a_copy_of_our_manifest_under_another_name_is_not_ours(world: World) -> None:
    """`ollama cp` copies the marks too; they name the model that they were made for."""
    world.converge(desire(MODELS))
    copy = Name.parse("copy")
    world.manifests[copy] = world.manifests[NAME]
    changed = {"copy": MODELS["a"] | {"system": "other"}}
    plan = world.converge(desire(changed))
    assert [(found.name, found.reason) for found in plan.blocked] == [(copy, "NotOwned")]
    assert world.manifests[copy] == world.manifests[NAME]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("removed", "ManifestMissing"),
        ("corrupt", "ManifestCorrupt"),
        ("created", "ManifestForeign"),
        ("edited", "Edited"),
    ],
)
def test_the_reason_says_why_the_manifest_is_written(world: World, event: str, reason: str) -> None:
    world.converge(desire(MODELS))
    match event:
        case "removed":
            del world.manifests[NAME]
        case "corrupt":
            world.manifests[NAME] = b"{"
        case "created":
            world.create(NAME, "A")
        case _:
            world.manifests[NAME] = world.manifests[NAME].replace(b'"size":3', b'"size":4')
    assert manifest_of(world).reason == reason
