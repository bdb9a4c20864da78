"""The manifest: what Ollama could read is read, and our bytes are always the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paddock.core.digest import Digest, digest_of
from paddock.core.manifest import (
    ADAPTER_TYPE,
    CONFIG_TYPE,
    GENERATION_MARK,
    LICENSE_TYPE,
    MAX_MANIFEST_BYTES,
    MODEL_TYPE,
    SYSTEM_TYPE,
    Descriptor,
    Manifest,
    manifest_digests,
    parse_manifest,
)
from paddock.errors import InvalidManifest

A, B, C = (digest_of(letter) for letter in (b"a", b"b", b"c"))


def manifest(*layers: tuple[str, Digest], generation: str | None = None) -> Manifest:
    marks = {} if generation is None else {GENERATION_MARK: generation}
    return Manifest(
        Descriptor(CONFIG_TYPE, C, 3),
        tuple(Descriptor(kind, digest, 1) for kind, digest in layers),
        marks,
    )


def document(**changes: Any) -> bytes:
    layer = {"mediaType": MODEL_TYPE, "digest": A, "size": 5}
    return json.dumps({"schemaVersion": 2, "layers": [layer], **changes}).encode()


def test_our_bytes_have_no_newline_and_sorted_marks() -> None:
    written = Manifest(None, (Descriptor(MODEL_TYPE, A, 5),), {"b": "2", "a": "1"}).encode()
    assert written == (
        b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        b'"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"'
        + A.encode()
        + b'","size":5}],"annotations":{"a":"1","b":"2"}}'
    )


def test_a_manifest_of_ollama_is_read_with_the_keys_that_we_do_not_know() -> None:
    config = {"mediaType": CONFIG_TYPE, "digest": B, "size": 2}
    layer = {"mediaType": MODEL_TYPE, "digest": A, "size": 5, "from": "/x", "name": "y"}
    found = parse_manifest(document(config=config, layers=[layer], extra=[1]))
    assert found == Manifest(Descriptor(CONFIG_TYPE, B, 2), (Descriptor(MODEL_TYPE, A, 5),))


@pytest.mark.parametrize("config", [None, {}, {"digest": ""}, "none"])
def test_a_manifest_may_lack_a_config(config: object) -> None:
    assert parse_manifest(document(config=config)).config is None


def test_keys_are_found_in_any_case_as_go_finds_them() -> None:
    text = f'{{"Layers":[{{"MediaType":"{MODEL_TYPE}","DIGEST":"{A}","Size":5}}]}}'
    assert parse_manifest(text.encode()).layers == (Descriptor(MODEL_TYPE, A, 5),)


def test_annotations_keep_the_case_of_their_keys() -> None:
    marks = {"Some.Key": "1", "some.key": "2"}
    assert parse_manifest(document(annotations=marks)).annotations == marks


def test_a_digest_with_a_dash_or_capitals_takes_the_one_form() -> None:
    layer = {"mediaType": MODEL_TYPE, "digest": A.replace(":", "-").upper().replace("SHA", "sha")}
    assert parse_manifest(document(layers=[layer])).model_digest == A


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (document(layers={"a": 1}), "layers that are not a list"),
        (document(layers=["x"]), "a layer that is not a JSON object"),
        (document(layers=[{"digest": "sha256:abc"}]), "a layer with an invalid digest"),
        (document(layers=[{"digest": A, "size": -1}]), "a layer with the size -1"),
        (document(layers=[{"digest": A, "size": True}]), "a layer with the size True"),
        (document(layers=[{"digest": A, "size": "5"}]), "a layer with the size '5'"),
        (document(layers=[{"digest": A, "size": 1.5}]), "a layer with the size 1.5"),
        (document(layers=[{"digest": A, "size": 1 << 63}]), "a layer with the size 9223372036"),
        (document(layers=[{"digest": A, "size": 10**4000}]), "a layer with the size 1000000000"),
        (document(layers=[{"digest": A, "mediaType": 5}]), "a layer whose mediatype is not text"),
        (document(layers=[{"digest": 5}]), "a layer whose digest is not text"),
        (document(layers=[{"digest": f"{A}/../x"}]), "a layer with an invalid digest"),
        (document(layers=[{"digest": f"{A}\n"}]), "a layer with an invalid digest"),
        (document(config={"digest": "sha256:../../etc/passwd"}), "an invalid digest"),
        (b'{"layers":[],"layers":[]}', "the key 'layers' twice"),
        (b'{"layers":[],"LAYER\xc5\xbf":[]}', "twice"),
        (b'{"layers":[{"digest":"' + A.encode() + b'","Digest":"x"}]}', "the key 'Digest' twice"),
        (b'{"layers":[],"x":NaN}', "is not JSON"),
        (b'{"layers":[],"x":"\xff"}', "is not JSON"),
        ('{"layers":[]}'.encode("utf-16"), "is not JSON"),
        (b'{"layers":[]}x', "is not JSON"),
        (b'{"layers":[' + b" " * MAX_MANIFEST_BYTES + b"]}", "more than 4194304 bytes"),
    ],
)
def test_what_ollama_could_not_serve_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(InvalidManifest, match="manifest") as caught:
        parse_manifest(data)
    assert what in caught.value.message


def test_of_several_model_layers_the_first_one_runs() -> None:
    """The others are the further parts of a split GGUF."""
    assert manifest((MODEL_TYPE, A), (MODEL_TYPE, B)).model_digest == A
    assert manifest((SYSTEM_TYPE, A)).model_digest is None


def test_all_blobs_are_needed() -> None:
    found = manifest((MODEL_TYPE, A), (SYSTEM_TYPE, B))
    assert found.digests == {A, B, C}


def test_models_are_the_same_whatever_their_licence_order_and_marks() -> None:
    one = manifest((MODEL_TYPE, A), (SYSTEM_TYPE, B), (LICENSE_TYPE, C))
    two = manifest((SYSTEM_TYPE, B), (MODEL_TYPE, A), generation="7")
    assert one.same_model(two)


@pytest.mark.parametrize("kind", [MODEL_TYPE, SYSTEM_TYPE, ADAPTER_TYPE])
def test_models_differ_by_a_file_or_a_text(kind: str) -> None:
    one = manifest((MODEL_TYPE, A))
    assert not one.same_model(manifest((MODEL_TYPE, A), (kind, B)))


@pytest.mark.parametrize(
    ("text", "generation"),
    [("3", 3), ("0", 0), ("-1", 0), ("x", 0), ("", 0), ("9" * 5000, 0), (None, 0)],
)
def test_a_generation_that_is_no_number_counts_as_none(text: str | None, generation: int) -> None:
    assert manifest(generation=text).generation == generation


def test_annotations_that_are_no_text_are_passed_over() -> None:
    found = parse_manifest(document(annotations={"a": "1", "b": 2, "c": None}))
    assert found.annotations == {"a": "1"}
    assert parse_manifest(document(annotations=["a"])).annotations == {}


def test_text_that_is_no_unicode_can_be_written_again() -> None:
    """A pulled manifest may hold anything; deriving from it must not end the cycle."""
    layer = {"mediaType": "\ud800", "digest": A, "size": 1}
    found = parse_manifest(document(layers=[layer]))
    assert parse_manifest(found.encode()) == found


def test_ollama_may_report_a_manifest_with_or_without_its_last_newline() -> None:
    data = document()
    assert manifest_digests(data + b"\n") == {digest_of(data), digest_of(data + b"\n")}
    assert manifest_digests(data) == {digest_of(data)}
