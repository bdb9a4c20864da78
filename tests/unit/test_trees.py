"""Publish trees: which links there are, and that nothing of others is ever touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from forests import blob_path
from paddock.core.check_plan import check_plan
from paddock.core.desired import Desired
from paddock.core.failures import learn, runnable
from paddock.core.manifest import (
    CONFIG_TYPE,
    PROJECTOR_TYPE,
    Descriptor,
    Manifest,
)
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import SmallLayer, Unknown
from paddock.core.outcome import Outcome
from paddock.core.plan import Plan, PublishLink, UnpublishLink
from paddock.core.planner import make_plan
from paddock.core.summarize import summarize
from paddock.core.tree_facts import FOLDER, Published, Thing
from worlds import World, desire, gguf

A: dict[str, Any] = {"a": {"source": {"gguf": "/m/a.gguf"}}}
TREE = [{"path": "/t"}]
MINE = Name.parse("mine:8b")


def wish(models: Mapping[str, Any] = A, publish: Any = TREE) -> Desired:
    return desire(models, publish=publish)


@pytest.fixture
def world() -> World:
    """A file that becomes `a`, somebody's model `mine:8b`, and a folder to publish to."""
    world = World()
    world.put("/m/a.gguf", "A")
    world.create(MINE, "X")
    world.forest.devices["/t"] = 1
    return world


def links(world: World) -> dict[str, str]:
    things = world.forest.things.items()
    return {path: thing.content for path, thing in things if thing.kind == "link"}


def settled(world: World, desired: Desired) -> Plan:
    end = world.converge(desired)
    assert end.actions == ()
    return end


def published(world: World, desired: Desired) -> tuple[str, str, str]:
    plan = world.plan(desired)
    cycle = Cycle(desired, world.at, world.observe(desired), plan)
    conditions = {c.type: c for c in summarize(cycle).conditions}
    found = conditions["Published"]
    return found.status, found.reason, found.message


def reasons(world: World, desired: Desired) -> set[tuple[str, str]]:
    return {(note.path, note.reason) for note in world.plan(desired).notes}


def test_every_installed_model_is_published_straight_to_where_its_bytes_are(world: World) -> None:
    settled(world, wish())
    assert links(world) == {"/t/a.gguf": "/m/a.gguf", "/t/mine-8b.gguf": blob_path(gguf("X"))}
    assert published(world, wish()) == ("True", "AsDeclared", "2 links")


def test_only_models_that_are_included_are_published(world: World) -> None:
    publish = [{"path": "/t", "include": ["*"], "exclude": ["MINE*"]}]
    settled(world, wish(publish=publish))
    assert links(world) == {"/t/a.gguf": "/m/a.gguf"}


def test_links_that_are_no_longer_included_go(world: World) -> None:
    settled(world, wish())
    settled(world, wish(publish=[{"path": "/t", "include": ["mine*"]}]))
    assert links(world).keys() == {"/t/mine-8b.gguf"}


def test_a_new_folder_is_made_and_goes_with_its_entry(world: World) -> None:
    publish = [{"path": "/new", "layout": "lmstudio"}]
    settled(world, wish(publish=publish))
    assert world.forest.things["/new/ollama"] == FOLDER
    assert links(world).keys() == {"/new/ollama/a/a.gguf", "/new/ollama/mine-8b/mine-8b.gguf"}
    settled(world, wish(publish=[]))
    assert world.forest.things == {}
    assert "/new" not in world.forest.devices
    assert world.ledger.published == {}


def test_a_folder_that_was_there_stays_when_its_entry_goes(world: World) -> None:
    settled(world, wish())
    settled(world, wish(publish=[]))
    assert "/t" in world.forest.devices
    assert world.forest.things == {}
    assert world.ledger.published == {}


def test_the_link_of_a_model_that_somebody_removed_goes(world: World) -> None:
    settled(world, wish())
    world.delete(MINE)
    settled(world, wish())
    assert links(world).keys() == {"/t/a.gguf"}


def test_the_link_of_a_model_that_shall_be_absent_goes_in_the_same_plan(world: World) -> None:
    settled(world, wish())
    plan = world.plan(wish({"a": {"state": "absent"}}))
    assert [type(a).__name__ for a in plan.actions] == ["RemoveManifest", "UnpublishLink"]
    settled(world, wish({"a": {"state": "absent"}}))
    assert links(world).keys() == {"/t/mine-8b.gguf"}


def test_a_link_follows_its_blob(world: World) -> None:
    settled(world, wish())
    world.blobs[gguf("X")] = "/m/x.gguf"
    world.put("/m/x.gguf", "X")
    plan = world.plan(wish())
    (action,) = plan.actions
    assert isinstance(action, PublishLink)
    assert action.reason == "TargetMoved"
    assert action.replaces == Thing("link", blob_path(gguf("X")))
    settled(world, wish())
    assert links(world)["/t/mine-8b.gguf"] == "/m/x.gguf"


def test_a_link_that_somebody_removed_is_made_again(world: World) -> None:
    settled(world, wish())
    del world.forest.things["/t/a.gguf"]
    assert [a.reason for a in world.plan(wish()).actions] == ["LinkMissing"]
    settled(world, wish())
    assert "/t/a.gguf" in links(world)


@pytest.mark.parametrize("thing", [Thing("file"), Thing("link", "/elsewhere"), FOLDER], ids=str)
def test_what_somebody_put_in_the_place_of_a_link_stays(world: World, thing: Thing) -> None:
    settled(world, wish())
    world.forest.things["/t/a.gguf"] = thing
    end = settled(world, wish())
    assert [note.reason for note in end.notes] == ["PathTaken"]
    assert published(world, wish())[:2] == ("True", "PathTaken")
    settled(world, wish(publish=[]))
    assert world.forest.things == {"/t/a.gguf": thing}


def test_what_was_there_before_stays_and_keeps_no_model_from_being_ready(world: World) -> None:
    world.forest.things["/t/a.gguf"] = Thing("file")
    end = settled(world, wish())
    assert [note.path for note in end.notes] == ["/t/a.gguf"]
    assert links(world).keys() == {"/t/mine-8b.gguf"}
    assert summarize(Cycle(wish(), world.at, world.observe(wish()), end)).ready


def test_a_link_of_others_to_the_right_place_is_used_and_never_removed(world: World) -> None:
    world.forest.things["/t/a.gguf"] = Thing("link", "/m/a.gguf")
    assert settled(world, wish()).notes == ()
    settled(world, wish(publish=[]))
    assert links(world) == {"/t/a.gguf": "/m/a.gguf"}


def test_a_folder_of_others_with_our_name_is_used_and_stays(world: World) -> None:
    publish = [{"path": "/t", "layout": "lmstudio"}]
    world.forest.things |= {"/t/ollama": FOLDER, "/t/ollama/notes": Thing("file")}
    settled(world, wish(publish=publish))
    assert "/t/ollama/a/a.gguf" in links(world)
    settled(world, wish(publish=[]))
    assert world.forest.things == {"/t/ollama": FOLDER, "/t/ollama/notes": Thing("file")}


def test_a_file_in_the_place_of_a_folder_is_told(world: World) -> None:
    publish = [{"path": "/t", "layout": "lmstudio"}]
    world.forest.things["/t/ollama"] = Thing("file")
    settled(world, wish(publish=publish))
    assert reasons(world, wish(publish=publish)) == {("/t/ollama", "PathTaken")}
    assert links(world) == {}


def test_our_folder_stays_while_others_have_something_in_it(world: World) -> None:
    publish = [{"path": "/t", "layout": "transformerlab"}]
    settled(world, wish(publish=publish))
    world.forest.things["/t/a.gguf/notes"] = Thing("file")
    settled(world, wish(publish=[]))
    assert world.forest.things == {"/t/a.gguf": FOLDER, "/t/a.gguf/notes": Thing("file")}


def test_a_tree_that_is_gone_is_not_made_anew_and_changes_nothing(world: World) -> None:
    settled(world, wish())
    remembered = world.ledger.published
    del world.forest.devices["/t"]
    world.delete(MINE)
    end = settled(world, wish())
    assert [note.reason for note in end.notes] == ["TreeMissing"]
    assert published(world, wish())[:2] == ("Unknown", "TreeMissing")
    assert settled(world, wish(publish=[])).notes == ()
    assert world.ledger.published == remembered
    world.forest.devices["/t"] = 1
    settled(world, wish())
    assert links(world).keys() == {"/t/a.gguf"}


def test_an_empty_folder_on_another_device_is_not_filled(world: World) -> None:
    """The place where a drive was mounted."""
    settled(world, wish())
    there, world.forest.things = world.forest.things, {}
    world.forest.devices["/t"] = 2
    assert [note.reason for note in settled(world, wish()).notes] == ["TreeElsewhere"]
    world.forest.things = there
    assert settled(world, wish()).notes == ()


def test_links_are_told_from_a_device_that_only_has_another_number(world: World) -> None:
    settled(world, wish())
    world.forest.devices["/t"] = 2
    world.delete(MINE)
    settled(world, wish())
    assert links(world).keys() == {"/t/a.gguf"}


def test_a_tree_that_cannot_be_looked_at_changes_nothing(world: World) -> None:
    settled(world, wish())
    world.forest.away.add("/t")
    world.delete(MINE)
    for publish in (TREE, []):
        assert world.plan(wish(publish=publish)).actions == ()
    assert reasons(world, wish()) == {("/t", "TreeUnreadable")}


@pytest.mark.parametrize("part", ["tags", "running", "manifests", "blobs", "ledger"])
def test_nothing_is_removed_on_half_a_look(world: World, part: str) -> None:
    settled(world, wish())
    world.delete(MINE)
    world.unknown = {part: Unknown("StoreUnreadable", "cannot read it")}
    plan = world.plan(wish(publish=[]))
    assert not [a for a in plan.actions if isinstance(a, UnpublishLink)]


@pytest.mark.parametrize("half", [b"", b"half of a manifest"])
def test_links_of_a_model_whose_manifest_cannot_be_read_stay(world: World, half: bytes) -> None:
    settled(world, wish())
    world.manifests[MINE] = half
    assert world.plan(wish()).actions == ()
    assert "/t/mine-8b.gguf" in links(world)


def test_links_of_a_model_whose_blob_cannot_be_read_stay(world: World) -> None:
    settled(world, wish())
    world.blobs[gguf("X")] = "/gone.gguf"
    assert world.plan(wish()).actions == ()
    assert "/t/mine-8b.gguf" in links(world)


def test_links_of_a_paused_model_are_left_alone(world: World) -> None:
    settled(world, wish())
    world.ledger = replace(world.ledger, paused=frozenset({MINE}))
    world.blobs[gguf("X")] = "/m/a.gguf"
    assert world.plan(wish()).actions == ()


def test_a_model_whose_bytes_lie_in_the_tree_is_not_published_there(world: World) -> None:
    world.put("/t/lib/a.gguf", "A")
    models = {"a": {"source": {"gguf": "/t/lib/a.gguf"}}}
    publish = [*TREE, {"path": "/u"}]
    settled(world, wish(models, publish))
    assert links(world) == {
        "/t/mine-8b.gguf": blob_path(gguf("X")),
        "/u/mine-8b.gguf": blob_path(gguf("X")),
        "/u/a.gguf": "/t/lib/a.gguf",
    }


def test_a_projector_lies_beside_its_model_and_only_the_first(world: World) -> None:
    name = Name.parse("llava")
    layers = [replace(world.give(c)[0], media_type=PROJECTOR_TYPE) for c in ("P", "Q")]
    config = world.text(SmallLayer(CONFIG_TYPE, b"{}"))
    world.manifests[name] = Manifest(config, (*world.give("V"), *layers)).encode()
    settled(world, wish({}, [{"path": "/t", "include": ["llava"]}]))
    assert links(world) == {
        "/t/llava/llava.gguf": blob_path(gguf("V")),
        "/t/llava/mmproj-llava.gguf": blob_path(gguf("P")),
    }


def test_a_model_in_parts_is_told_and_not_published(world: World) -> None:
    name = Name.parse("split")
    config = world.text(SmallLayer(CONFIG_TYPE, b"{}"))
    world.manifests[name] = Manifest(config, (*world.give("V"), *world.give("W"))).encode()
    settled(world, wish({}, [{"path": "/t", "include": ["split"]}]))
    assert links(world) == {}
    assert reasons(world, wish({})) == {("/t", "SplitModel")}


def test_what_is_no_gguf_is_not_published(world: World) -> None:
    layer = Descriptor("application/vnd.ollama.image.tensor", gguf("T"), 1)
    world.manifests[Name.parse("tensors")] = Manifest(None, (layer,)).encode()
    world.manifests[Name.parse_api("cloudy:cloud")] = Manifest(None, ()).encode()
    settled(world, wish({}, [{"path": "/t", "include": ["tensors", "cloudy*"]}]))
    assert world.forest.things == {}


def test_a_text_that_its_program_has_written_to_is_left_alone(world: World) -> None:
    publish = [{"path": "/t", "layout": "transformerlab", "include": ["a"]}]
    settled(world, wish(publish=publish))
    edited = Thing("file", "sha256:edited")
    world.forest.things["/t/a.gguf/index.json"] = edited
    assert settled(world, wish(publish=publish)).notes == ()
    assert world.forest.things["/t/a.gguf/index.json"] == edited


def test_another_layout_in_the_same_folder_takes_the_place_of_the_first(world: World) -> None:
    for layout in ("transformerlab", "directory", "transformerlab", "lmstudio", "directory"):
        end = settled(world, wish(publish=[{"path": "/t", "layout": layout}]))
        assert end.notes == ()
    assert links(world).keys() == {"/t/a.gguf", "/t/mine-8b.gguf"}


def test_of_two_entries_for_one_folder_the_second_is_told(world: World) -> None:
    publish = [*TREE, {"path": "/t", "layout": "lmstudio"}]
    settled(world, wish(publish=publish))
    assert reasons(world, wish(publish=publish)) == {("/t", "TreeTwice")}
    assert "/t/a.gguf" in links(world)


def test_a_tree_within_a_tree_is_no_part_of_it(world: World) -> None:
    both = [*TREE, {"path": "/t/sub"}]
    world.forest.devices["/t/sub"] = 1
    settled(world, wish(publish=both))
    assert "/t/sub/a.gguf" in links(world)
    settled(world, wish(publish=both[1:]))
    assert links(world).keys() == {"/t/sub/a.gguf", "/t/sub/mine-8b.gguf"}


def test_a_kill_at_any_action_changes_nothing_about_the_end(world: World) -> None:
    """Also while links are replaced, and after the ledger was written and nothing made."""
    publish = [{"path": "/new", "layout": "transformerlab"}]
    for first in range(12):
        desired = wish(publish=publish if first % 2 else TREE)
        for _ in range(5):
            world.apply(world.plan(desired), first)
        settled(world, desired)
        assert len(links(world)) == 2
    name = Name.parse("a")
    claims = {"/new/x.gguf": Published(Thing("link", "/m/x.gguf"), name), **world.ledger.published}
    world.ledger = replace(world.ledger, published=claims)
    settled(world, wish(publish=publish))
    assert "/new/x.gguf" not in world.ledger.published


def test_the_generation_changes_with_what_is_published() -> None:
    generations = {
        wish(publish=publish).generation
        for publish in ([], TREE, [{"path": "/u"}], [{"path": "/t", "exclude": ["x"]}])
    }
    assert len(generations) == 4


def test_a_plan_that_touches_what_is_not_ours_breaks_the_rules(world: World) -> None:
    desired = wish()
    settled(world, desired)
    world.forest.things["/t/other.gguf"] = Thing("link", "/elsewhere")
    words: dict[str, Any] = {"name": MINE, "reason": "Test", "message": "test", "symbol": "~"}
    link = Thing("link", "/m/a.gguf")
    broken: list[PublishLink | UnpublishLink] = [
        PublishLink(**words, tree="/u", path="/u/x.gguf", thing=link),
        PublishLink(**words, tree="/t", path="/u/x.gguf", thing=link),
        PublishLink(**words, tree="/t", path="/t/../x.gguf", thing=link),
        PublishLink(**words, tree="/t", path="/t/y.gguf", thing=Thing("link", "/t/a.gguf")),
        PublishLink(**words, tree="/t", path="/t/a.gguf", thing=Thing("link", "/x")),
        PublishLink(**words, tree="/t", path="/t/z", thing=link, replaces=Thing("link", "/x")),
        UnpublishLink(**words, tree="/t", path="/t/other.gguf", thing=Thing("link", "/elsewhere")),
    ]
    observed = world.observe(desired)
    for action in broken:
        plan = Plan(desired.generation, desired.file, 1, (action,))
        assert check_plan(plan, desired, observed), action
    assert make_plan(desired, observed).actions == ()


def test_a_link_that_cannot_be_made_holds_back_neither_its_model_nor_other_links(
    world: World,
) -> None:
    world.converge(wish(publish=[]))
    plan = world.plan(wish())
    first, second = plan.actions
    failed = Outcome(first, "failed", 0.0, "ReadOnly", "the file system is read-only")
    failures = learn({}, plan, [failed], world.at, 0.0)
    assert runnable(plan, failures, world.at) == (second,)
    cycle = Cycle(wish(), world.at, world.observe(wish()), plan, failures)
    status = summarize(cycle)
    said = {c.type: (c.status, c.reason, c.message) for c in status.conditions}
    assert said["Published"] == ("False", "ReadOnly", "the file system is read-only")
    assert said["Ready"][0] == "True"
    assert status.ready


def test_nothing_is_said_of_trees_where_there_are_none(world: World) -> None:
    desired = wish(publish=[])
    plan = world.converge(desired)
    status = summarize(Cycle(desired, world.at, world.observe(desired), plan))
    assert "Published" not in {c.type for c in status.conditions}


def test_before_the_first_look_trees_are_unknown() -> None:
    said = {c.type: c for c in summarize(Cycle(wish(), World().at)).conditions}
    assert (said["Published"].status, said["Published"].reason) == ("Unknown", "NotObserved")
