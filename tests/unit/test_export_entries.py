"""What models.yaml says of what is installed: the shortest that makes the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from paddock.core.composition import from_manifest, probe_key
from paddock.core.desired import Overrides
from paddock.core.digest import Digest, digest_of
from paddock.core.export import (
    FilePlace,
    Installed,
    Inventory,
    Pull,
    export,
    export_head,
    remote_of,
    skipped_lines,
)
from paddock.core.export_layers import Said, over, parts_of, read_layers
from paddock.core.manifest import (
    ADAPTER_TYPE,
    DRAFT_TYPE,
    LICENSE_TYPE,
    MESSAGES_TYPE,
    MODEL_TYPE,
    PARAMS_TYPE,
    PROJECTOR_TYPE,
    SYSTEM_TYPE,
    TEMPLATE_TYPE,
    Descriptor,
    Manifest,
)
from paddock.core.names import Name
from paddock.core.observed import ProbeAnswer, SmallLayer

STUB = digest_of(b"stub")


@dataclass
class Host:
    """An inventory in the making."""

    models: list[Installed] = field(default_factory=list)
    texts: dict[Digest, bytes] = field(default_factory=dict)
    places: dict[Digest, FilePlace] = field(default_factory=dict)
    probes: dict[Digest, ProbeAnswer] = field(default_factory=dict)

    def manifest(self, files: Mapping[str, str], *layers: tuple[str, Any]) -> Manifest:
        """A manifest of files (media type by path) and small layers."""
        made = []
        for path, kind in files.items():
            digest = digest_of(path.encode())
            self.places[digest] = FilePlace(path)
            made.append(Descriptor(kind, digest, 1))
        for kind, said in layers:
            content = said if isinstance(said, bytes) else _content(said)
            self.texts[digest_of(content)] = content
            made.append(Descriptor(kind, digest_of(content), len(content)))
        return Manifest(None, tuple(made))

    def add(self, name: str, manifest: Manifest, **more: Any) -> Manifest:
        self.models.append(Installed(Name.parse(name), manifest, **more))
        return manifest

    def pull(self, name: str, manifest: Manifest) -> Pull:
        return Pull(Name.parse(name), digest_of(manifest.encode()), manifest)

    def answer(self, key: Digest, *layers: tuple[str, Any]) -> None:
        small = tuple(SmallLayer(kind, _content(said)) for kind, said in layers)
        self.probes[key] = ProbeAnswer(b"{}", small)

    def say(self, *names: str, digests: bool = False) -> dict[str, Any]:
        chosen = [Name.parse(name) for name in names] or [model.name for model in self.models]
        inventory = Inventory(self.models, self.texts, self.places, self.probes)
        found = export(inventory, chosen, digests=digests)
        return {**found.models, **found.skipped}


def _content(said: Any) -> bytes:
    return said.encode() if isinstance(said, str) else json.dumps(said).encode()


A = {"/m/a.gguf": MODEL_TYPE}
ONE = digest_of(b"/m/a.gguf").removeprefix("sha256:")


def test_a_file_brings_all_that_its_layers_say() -> None:
    host = Host()
    messages = [{"role": "user", "content": "hi"}]
    layers = [
        *[(LICENSE_TYPE, "L1"), (LICENSE_TYPE, "L2"), (SYSTEM_TYPE, "S"), (TEMPLATE_TYPE, "T")],
        *[(PARAMS_TYPE, {"top_k": 1, "stop": ["x"]}), (MESSAGES_TYPE, messages)],
    ]
    host.add("a", host.manifest(A, *layers), is_pinned=True)
    assert list(host.say(digests=True)["a"].items()) == [
        ("source", {"gguf": "/m/a.gguf", "sha256": ONE}),
        ("template", "T"),
        ("system", "S"),
        ("parameters", {"stop": ["x"], "top_k": 1}),
        ("messages", messages),
        ("license", ["L1", "L2"]),
        ("preload", True),
        ("keep_alive", "forever"),
    ]


def test_each_file_has_its_key() -> None:
    host = Host()
    kinds = [MODEL_TYPE, PROJECTOR_TYPE, ADAPTER_TYPE, DRAFT_TYPE]
    host.add("a", host.manifest(dict(zip(["/m/a.gguf", "/p", "/l", "/d"], kinds, strict=True))))
    assert host.say()["a"]["source"] == {
        "gguf": "/m/a.gguf",
        "projector": "/p",
        "draft": "/d",
        "adapters": ["/l"],
    }
    pinned = host.say(digests=True)["a"]["source"]["projector"]
    assert pinned == {"path": "/p", "sha256": digest_of(b"/p").removeprefix("sha256:")}


def test_a_split_model_is_named_by_its_first_part() -> None:
    host = Host()
    parts = {f"/m/x-0000{n}-of-00003.gguf": MODEL_TYPE for n in (1, 2, 3)}
    host.add("whole", host.manifest(parts))
    host.add("loose", host.manifest({"/m/a.gguf": MODEL_TYPE, "/m/b.gguf": MODEL_TYPE}))
    said = host.say()
    assert said["whole"] == {"source": {"gguf": "/m/x-00001-of-00003.gguf"}}
    assert said["loose"] == "it has 2 gguf files, and models.yaml takes one"


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (Manifest(None, ()), "it is not made of GGUF files"),
        (Manifest(None, (Descriptor(MODEL_TYPE, STUB, 1),)), f"its blob {STUB[:19]} is missing"),
    ],
)
def test_what_is_not_made_of_files_that_are_there_is_left_out(manifest: Manifest, why: str) -> None:
    host = Host()
    host.add("a", manifest)
    assert host.say()["a"].startswith(why)


def test_a_nul_character_is_told_of() -> None:
    host = Host()
    host.add("a", host.manifest(A, (SYSTEM_TYPE, "\0")))
    assert "NUL" in host.say()["a"]


def test_a_pulled_model_is_its_reference_and_what_was_said_over_it() -> None:
    host = Host()
    plain = host.manifest(A, (SYSTEM_TYPE, "S"), (PARAMS_TYPE, {"top_k": 1}))
    ours = host.manifest(A, (SYSTEM_TYPE, "Mine"), (PARAMS_TYPE, {"top_k": 1, "seed": 2}))
    host.add("r:1", plain, pull=host.pull("r:1", plain))
    host.add("localhost:5000/a/r", ours, pull=host.pull("localhost:5000/a/r", plain))
    said = host.say(digests=True)
    digest = digest_of(plain.encode())
    assert said["r:1"] == {"source": {"registry": "r:1", "digest": digest}}
    assert said["localhost:5000/a/r"] == {
        "source": {"registry": "localhost:5000/a/r", "digest": digest, "insecure": True},
        "system": "Mine",
        "parameters": {"seed": 2},
    }


def test_files_of_a_pulled_model_are_had_by_its_name() -> None:
    host = Host()
    plain = host.manifest(A, (SYSTEM_TYPE, "S"))
    host.add("r", plain, pull=host.pull("r", plain))
    host.add("mine", host.manifest(A, (SYSTEM_TYPE, "Mine")))
    host.add("bare", host.manifest(A))
    said = host.say()
    assert said["mine"] == {"source": {"model": "r"}, "system": "Mine"}
    assert said["bare"] == {"source": {"gguf": "/m/a.gguf"}}, "a system cannot be taken away"
    assert host.say("mine")["mine"] == {"source": {"registry": "r"}, "system": "Mine"}


def test_what_ollama_adds_by_itself_is_left_out_where_that_is_known() -> None:
    host = Host()
    own = [(TEMPLATE_TYPE, "T"), (PARAMS_TYPE, {"stop": ["x"]})]
    both = [(TEMPLATE_TYPE, "T"), (PARAMS_TYPE, {"stop": ["x"], "seed": 1})]
    host.answer(probe_key((STUB,), None, Overrides()), *own)
    host.answer(probe_key((STUB,), None, Overrides(parameters={"seed": 1})), *both)
    host.add("a", host.manifest(A, *own), stubs=(STUB,))
    host.add("b", host.manifest(A, *both), stubs=(STUB,))
    host.add("c", host.manifest(A, *both))
    said = host.say()
    source = {"source": {"gguf": "/m/a.gguf"}}
    assert said["a"] == source
    assert said["b"] == {**source, "parameters": {"seed": 1}}
    assert said["c"] == {**source, "template": "T", "parameters": {"seed": 1, "stop": ["x"]}}


def test_a_model_that_was_derived_here_names_its_base() -> None:
    host = Host()
    base = host.add("base", host.manifest(A, (SYSTEM_TYPE, "S")), stubs=(STUB,))
    key = probe_key((STUB,), from_manifest(base), Overrides(system="Mine"))
    host.answer(key, (SYSTEM_TYPE, "Mine"))
    host.add("mine", host.manifest(A, (SYSTEM_TYPE, "Mine")), stubs=(STUB,))
    assert host.say()["mine"] == {"source": {"model": "base"}, "system": "Mine"}
    assert host.say("mine")["mine"] == {"source": {"gguf": "/m/a.gguf"}, "system": "Mine"}


def test_what_models_yaml_cannot_hold_is_left_out_and_said() -> None:
    host = Host()
    params = {"top_k": 1, "mirostat": 2, "stop": ["\ud83d"], "seed": None, "num_ctx": "many"}
    messages = [{"role": "user", "content": "see", "images": ["AAAA"]}]
    manifest = host.manifest(
        A,
        (PARAMS_TYPE, params),
        (MESSAGES_TYPE, messages),
        (SYSTEM_TYPE, b"\xff"),
        (LICENSE_TYPE, ""),
    )
    said = read_layers(manifest, host.texts)
    assert said.keys == {"system": "\ufffd", "parameters": {"stop": ["\ufffd"], "top_k": 1}}
    assert [note[:28] for note in said.notes] == [
        "its parameter mirostat is le",
        "its parameter num_ctx is lef",
        "its messages are left out: t",
    ]


@pytest.mark.parametrize("content", [b"", b"[1", b"[" * 100_000, b"7"])
def test_layers_that_are_no_json_are_told_of(content: bytes) -> None:
    host = Host()
    manifest = host.manifest(A, (PARAMS_TYPE, content), (MESSAGES_TYPE, content))
    said = read_layers(manifest, host.texts)
    assert said.keys == {}
    assert len(said.notes) == 2
    assert remote_of(content) == ""


@pytest.mark.parametrize(
    ("said", "base", "written"),
    [
        ({"system": "a"}, {"system": "a"}, {}),
        ({}, {"template": "t"}, None),
        ({"parameters": {"seed": 1}}, {"parameters": {"top_k": 1}}, None),
        ({"license": ["a", "b", "c"]}, {"license": "a"}, {"license": ["b", "c"]}),
        ({"license": ["b", "a"]}, {"license": "a"}, None),
        ({"license": "a"}, {}, {"license": "a"}),
        ({"messages": [1]}, {"messages": [2]}, {"messages": [1]}),
    ],
)
def test_what_is_said_over_a_base_follows_the_rules_of_merging(
    said: dict[str, Any], base: dict[str, Any], written: dict[str, Any] | None
) -> None:
    found = over(Said(said), Said(base))
    assert (None if found is None else dict(found.keys)) == written


def test_the_least_that_may_have_been_written_is_tried_first() -> None:
    said = Said({"template": "t", "system": "s", "parameters": {"stop": ["x"], "seed": 1}})
    tried = [dict(part.keys) for part in parts_of(said)]
    assert tried[0] == {}
    assert tried[-1] == said.keys
    assert len(tried) == 12


def test_remote_models_are_known_by_their_config() -> None:
    assert remote_of(b'{"remote_host": "https://x"}') == "https://x"
    assert remote_of(b'{"remote_host": ""}') == ""
    assert remote_of(None) == ""


def test_a_note_on_a_file_is_a_comment_of_its_model() -> None:
    host = Host()
    manifest = host.add("a", host.manifest(A))
    place = replace(host.places[manifest.layers[0].digest], note="bring it along")
    inventory = Inventory(host.models, host.texts, {manifest.layers[0].digest: place})
    assert export(inventory, [Name.parse("a")]).comments == {"a": "bring it along"}


def test_comments_say_when_where_and_what_is_not_there() -> None:
    head = export_head(at="2026-01-01T00:00:00+00:00", host="box", version="0.34.4")
    assert head.startswith("What box had on 2026-01-01T00:00:00+00:00, with Ollama 0.34.4. ")
    assert "did not answer" in export_head(at="x", host="box", version="")
    assert skipped_lines({"a": "it is gone"}) == "a: left out, it is gone"
