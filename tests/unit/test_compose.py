"""What a model is made of: parts that are linked, written, or in the store already."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from paddock.core.compose import Composer
from paddock.core.compose_files import Composed, Pending
from paddock.core.composition import Composition, from_manifest, probe_key, with_model_type
from paddock.core.desired import Overrides
from paddock.core.digest import digest_of
from paddock.core.manifest import LICENSE_TYPE, MODEL_TYPE, PARAMS_TYPE, SYSTEM_TYPE, TEMPLATE_TYPE
from paddock.core.names import Name
from paddock.core.observed import SourceFile
from paddock.core.plan import Blocked, HashSource, ProbeModel, PullModel, Stub
from paddock.core.view import View, view_of
from worlds import World, desire, gguf

A = {"source": {"gguf": "/m/a.gguf"}}


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    return world


def compose(world: World, models: dict[str, Any], name: str) -> Composed:
    desired = desire(models)
    view = view_of(world.observe(desired))
    assert isinstance(view, View)
    return Composer(desired, view).compose(Name.parse(name))


def made(world: World, models: dict[str, Any], name: str) -> Composition:
    world.converge(desire(models))
    composed = compose(world, models, name)
    assert isinstance(composed, Composition)
    return composed


def texts(composed: Composition) -> dict[str, list[bytes | None]]:
    found: dict[str, list[bytes | None]] = {}
    for part in composed.texts:
        found.setdefault(part.descriptor.media_type, []).append(part.content)
    return found


def test_a_file_is_asked_for_its_digest_and_then_for_its_probe(world: World) -> None:
    first = compose(world, {"a": A}, "a")
    assert isinstance(first, Pending)
    assert isinstance(first.actions[0], HashSource)
    assert (first.actions[0].path, first.actions[0].linked_bytes) == ("/m/a.gguf", 1_000_000_000)
    world.do(first.actions[0])
    second = compose(world, {"a": A}, "a")
    assert isinstance(second, Pending)
    assert isinstance(second.actions[0], ProbeModel)
    assert second.actions[0].stubs == (Stub("model.gguf", b"stub A"),)


def test_a_linked_model_has_the_probes_texts_and_the_size_of_the_real_file(world: World) -> None:
    composed = made(world, {"a": A}, "a")
    assert composed.model_digest == gguf("A")
    assert texts(composed) == {TEMPLATE_TYPE: [b"template of stub A"]}
    assert composed.config is not None
    assert composed.config.content is not None
    assert json.loads(composed.config.content)["model_type"] == "134.52M"


def test_a_derived_model_adds_to_its_bases_texts(world: World) -> None:
    child = {"source": {"model": "a"}, "parameters": {"seed": 1}, "license": "two"}
    base = A | {"parameters": {"num_ctx": 8, "seed": 0}, "system": "s", "license": "one"}
    found = texts(made(world, {"a": base, "b": child}, "b"))
    assert found[SYSTEM_TYPE] == [b"s"]
    assert found[LICENSE_TYPE] == [b"one", b"two"]
    assert found[PARAMS_TYPE] == [b'{"num_ctx": 8, "seed": 1}']


def test_a_derived_model_shares_the_link_of_its_base(world: World) -> None:
    composed = made(world, {"a": A, "b": {"source": {"model": "a"}, "system": "s"}}, "b")
    assert [part.link.real_path for part in composed.files if part.link] == ["/m/a.gguf"]


def test_a_derived_model_without_overrides_has_its_bases_parts(world: World) -> None:
    models = {"a": A, "b": {"source": {"model": "a"}}}
    assert made(world, models, "b") == replace(made(world, models, "a"))


@pytest.mark.parametrize(
    ("header", "reason", "hint"),
    [
        ({"split_count": 3}, "SplitPart", "…-00001-of-00003.gguf"),
        ({"byte_order": "big"}, "BigEndian", "big-endian"),
        ({"kind": "projector"}, "NotAModel", "name the model's own file"),
        ({"kind": "adapter"}, "NotAModel", '"adapter"'),
        ({"kind": "imatrix"}, "NotAModel", '"imatrix"'),
    ],
)
def test_a_header_that_is_no_model_blocks(
    world: World, header: dict[str, Any], reason: str, hint: str
) -> None:
    world.put("/m/a.gguf", "A", **header)
    composed = compose(world, {"a": A}, "a")
    assert isinstance(composed, Blocked)
    assert composed.reason == reason
    assert hint in composed.message


def test_a_gguf_of_one_part_is_no_split_gguf(world: World) -> None:
    world.put("/m/a.gguf", "A", split_count=1, split_no=0)
    assert isinstance(compose(world, {"a": A}, "a"), Pending)


def test_a_source_that_nobody_looked_at_is_told() -> None:
    desired = desire({"a": A})
    observed = replace(World().observe(desired), sources={})
    view = view_of(observed)
    assert isinstance(view, View)
    composed = Composer(desired, view).compose(Name.parse("a"))
    assert isinstance(composed, Blocked)
    assert composed.reason == "SourceUnknown"


def test_a_source_without_facts_or_a_problem_is_told(world: World) -> None:
    desired = desire({"a": A})
    observed = world.observe(desired)
    source = observed.sources["/m/a.gguf"]
    assert isinstance(source, SourceFile)
    view = view_of(replace(observed, sources={"/m/a.gguf": replace(source, facts=None)}))
    assert isinstance(view, View)
    composed = Composer(desired, view).compose(Name.parse("a"))
    assert isinstance(composed, Blocked)
    assert composed.reason == "SourceUnreadable"


def test_a_cycle_ends(world: World) -> None:
    """The file is refused for it; the composer does not rely on that."""
    models = {"a": {"source": {"model": "b"}}, "b": {"source": {"model": "a"}}}
    composed = compose(world, models, "a")
    assert isinstance(composed, Blocked)
    assert composed.reason == "BaseBlocked"
    assert "derived from itself" in composed.message


def test_a_pinned_pull_carries_its_pin(world: World) -> None:
    digest = "sha256:" + "1" * 64
    source = {"registry": "r", "digest": digest, "insecure": True}
    composed = compose(world, {"r": {"source": source}}, "r")
    assert isinstance(composed, Pending)
    assert isinstance(composed.actions[0], PullModel)
    assert (composed.actions[0].digest, composed.actions[0].insecure) == (digest, True)
    assert composed.actions[0].copied_bytes is None


def test_a_pin_that_the_registry_kept_stands(world: World) -> None:
    world.offer(Name.parse("r"), "R")
    pin = digest_of(world.registry[Name.parse("r")].encode())
    composed = made(world, {"r": {"source": {"registry": "r", "digest": pin}}}, "r")
    assert composed.stands


def test_a_model_whose_name_is_what_another_pulls_is_told(world: World) -> None:
    world.offer(Name.parse("r"), "R")
    for taken in (A, {"state": "absent"}, {"source": {"registry": "other"}}):
        composed = compose(world, {"r": taken, "mine": {"source": {"registry": "r"}}}, "mine")
        assert isinstance(composed, Blocked)
        assert composed.reason == "SourceTaken"


def test_the_key_of_a_probe_is_all_that_its_answer_depends_on(world: World) -> None:
    stub = digest_of(b"stub")
    base = made(world, {"a": A}, "a")
    says = [
        Overrides(),
        Overrides(template=""),
        Overrides(system=""),
        Overrides(parameters={"a": 1}),
        Overrides(parameters={"a": 1, "b": 2}),
        Overrides(license=("x",)),
    ]
    keys = {probe_key(stub, on, say) for say in says for on in (None, base)}
    assert len(keys) == 2 * len(says)
    assert probe_key(digest_of(b"other"), None, Overrides()) not in keys
    swapped = Overrides(parameters={"b": 2, "a": 1})
    assert probe_key(stub, None, swapped) in keys


def test_the_key_does_not_depend_on_the_files_of_the_base(world: World) -> None:
    """The stub stands for them: a file with the same header gets the same answer."""
    base = made(world, {"a": A}, "a")
    without = Composition(base.config, base.texts)
    stub = digest_of(b"stub")
    assert probe_key(stub, base, Overrides()) == probe_key(stub, without, Overrides())


def test_a_config_keeps_its_keys_and_takes_the_parameter_size() -> None:
    config = with_model_type(b'{"b": 1, "model_type": "32", "a": "\xc3\xa9"}', "7B")
    assert config == '{"b":1,"model_type":"7B","a":"é"}'.encode()


def test_a_part_is_lost_only_if_nobody_can_provide_it(world: World) -> None:
    composed = made(world, {"a": A}, "a")
    assert composed.lost(lambda _: False) == ()
    in_store = from_manifest(composed.manifest({}))
    assert len(in_store.lost(lambda _: False)) == 3
    assert in_store.lost(lambda digest: digest != gguf("A"))[0].descriptor.media_type == MODEL_TYPE


def test_the_header_of_an_installed_base_that_cannot_be_read_is_told(world: World) -> None:
    world.create(Name.parse("theirs"), "X")
    world.headers.clear()
    composed = compose(world, {"b": {"source": {"model": "theirs"}, "system": "s"}}, "b")
    assert isinstance(composed, Blocked)
    assert composed.reason == "BaseUnreadable"
