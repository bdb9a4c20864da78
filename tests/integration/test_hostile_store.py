"""Hostile things in a store: they cost nobody but themselves, and nothing is done to them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paddock_cli import SMOL, User
from real import RealOllama
from snapshots import store_snapshot

LIBRARY = "manifests/registry.ollama.ai/library"
MODEL = "application/vnd.ollama.image.model"
ABSENT_DIGEST = f"sha256:{'0' * 64}"
BAD = "  bad:\n    source: {gguf: ./smol.gguf}\n"


def _manifest(*layers: Any, **more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "layers": layers, **more}).encode()


def _layer(digest: str = ABSENT_DIGEST, **more: Any) -> dict[str, Any]:
    return {"mediaType": MODEL, "digest": digest, "size": 1, **more}


MANIFESTS = {
    "a digest that climbs": _manifest(_layer("sha256:../../../../etc/passwd")),
    "a config that climbs": _manifest(_layer(), config=_layer("sha256-/../../../etc/passwd")),
    "a digest with an end of line": _manifest(_layer(f"{ABSENT_DIGEST}\n")),
    "a digest of another kind": _manifest(_layer("md5:d41d8cd98f00b204e9800998ecf8427e")),
    "a digest that is a number": _manifest(_layer(5)),  # type: ignore[arg-type]
    "a negative size": _manifest(_layer(size=-1)),
    "a size beyond any disk": _manifest(_layer(size=1 << 70)),
    "a size that is a fraction": _manifest(_layer(size=1.5)),
    "ten megabytes": _manifest(*[_layer()] * 70_000),
    "a thousand lists in each other": b'{"layers":' + b"[" * 500_000,
    "a key twice": b'{"layers":[],"Layers":[{"digest":"' + ABSENT_DIGEST.encode() + b'"}]}',
    "bytes that are no text": b'{"layers":[],"\xff\xfe":1}',
    "a layer that is text": _manifest("sha256"),
    "nothing": b"",
    "zeros": bytes(4096),
    "half of it": _manifest(_layer())[:40],
    "two models": _manifest(_layer(), _layer(f"sha256:{'1' * 64}")),
    "a config that is gone": _manifest(_layer(), config=_layer()),
}
CONFIGS = {
    "garbage": b"\x00garbage",
    "a list": b"[]",
    "fields of other types": b'{"model_family": 5}',
    "a number that is text": b'{"model_format": "gguf", "context_length": "long"}',
    "cut short": b'{"model_format":"gguf","model_fam',
}


@pytest.fixture(scope="module")
def owner(module_ollama: RealOllama, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user whose model is linked, beside whom somebody puts things into the store."""
    user = User(tmp_path_factory.mktemp("user"), module_ollama)
    user.declare(SMOL)
    user.apply()
    return user


def _put(user: User, content: bytes, name: str = "bad") -> Path:
    path = user.server.models_dir / LIBRARY / name / "latest"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def _take(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()


def _apply(user: User, models: str, code: int) -> str:
    """Applies without anything being written; Ollama's own cache of headers is not counted."""
    user.declare(models)
    user.server.tags()
    before = store_snapshot(user.server.models_dir)
    result = user.apply(code=code)
    assert store_snapshot(user.server.models_dir) == before
    assert result.err == ""
    return result.out


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_hostile_manifest_costs_its_own_model_only(owner: User, case: str) -> None:
    path = _put(owner, MANIFESTS[case])
    try:
        assert _apply(owner, SMOL, 0).startswith("No changes. 1 model matches ")
        out = _apply(owner, SMOL + BAD, 3)
        assert out.splitlines() == [
            (
                "! bad: bad was not made by paddock and differs from what the file declares; "
                "claim it with: paddock adopt bad (NotOwned)"
            ),
            "Applied 0 actions: 1 of 2 models ready.",
        ]
    finally:
        _take(path)


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_ollama_cannot_read_costs_its_own_model_only(owner: User, case: str) -> None:
    """Ollama does not list such a model, and so its manifest proves nothing about the store."""
    content = CONFIGS[case]
    digest = hashlib.sha256(content).hexdigest()
    blob = owner.server.models_dir / "blobs" / f"sha256-{digest}"
    blob.write_bytes(content)
    config = {"digest": f"sha256:{digest}", "size": len(content)}
    path = _put(owner, _manifest(_layer(), config=config))
    try:
        assert "bad:latest" not in owner.server.tags()
        assert _apply(owner, SMOL, 0).startswith("No changes.")
        assert "(NotOwned)" in _apply(owner, SMOL + BAD, 3)
    finally:
        _take(path)
        blob.unlink()


def _folder(path: Path) -> None:
    path.mkdir(parents=True)


def _file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _circle(path: Path) -> None:
    path.symlink_to(path)


STRANGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a manifest named .DS_Store": (f"{LIBRARY}/smol/.DS_Store", _file),
    "a name with a space": (f"{LIBRARY}/smol/a b", _file),
    "a name with an end of line": (f"{LIBRARY}/smol/a\nb", _file),
    "a name of look-alikes": (f"{LIBRARY}/smol/lat\u0435st", _file),
    "a name of 81 characters": (f"{LIBRARY}/smol/{'t' * 81}", _file),
    "a name with a dash first": (f"{LIBRARY}/smol/-rf", _file),
    "a name that is no text": (f"{LIBRARY}/smol/\udcff", _file),
    "a folder for a tag": (f"{LIBRARY}/smol/v2", _folder),
    "a file for a host": ("manifests/host", _file),
    "a blob that is no digest": ("blobs/sha256-xyz", _file),
    "a blob of capitals": (f"blobs/sha256-{'A' * 64}", _file),
    "a blob of another kind": (f"blobs/sha512-{'a' * 64}", _file),
    "a blob with something after it": (f"blobs/sha256-{'a' * 64}-partial", _file),
    "a blob that is a folder": (f"blobs/sha256-{'a' * 64}", _folder),
    "a blob that is a FIFO": (f"blobs/sha256-{'a' * 64}", _fifo),
    "a blob that leads to a device": (f"blobs/sha256-{'a' * 64}", _device),
    "a blob that leads to itself": (f"blobs/sha256-{'a' * 64}", _circle),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_name_and_no_blob_is_passed_over(owner: User, case: str) -> None:
    where, make = STRANGE[case]
    path = owner.server.models_dir / where
    make(path)
    try:
        owner.declare(SMOL)
        listing = sorted(owner.server.models_dir.rglob("*"))
        assert owner.apply().out.startswith("No changes. 1 model matches ")
        assert sorted(owner.server.models_dir.rglob("*")) == listing
        assert owner.statuses() == {"smol": ("True", "AsDeclared")}
    finally:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("make", [_circle, lambda path: path.symlink_to("gone")])
def test_a_manifest_that_leads_nowhere_stops_ollama_and_is_named(
    owner: User, make: Callable[[Path], None]
) -> None:
    """Ollama then lists no model at all (ollama:manifest/manifest.go Manifests)."""
    path = owner.server.models_dir / LIBRARY / "bad" / "latest"
    path.parent.mkdir()
    make(path)
    try:
        owner.declare(SMOL)
        assert owner.server.api("GET", "/api/tags").status == 500
        assert owner.server.api("POST", "/api/show", {"model": "smol"}).status != 200
        before = owner.server.requests_log()
        result = owner.paddock("apply")
        assert (result.code, result.err) == (3, "")
        [line] = [line for line in result.out.splitlines() if line.startswith("!")]
        assert f"the manifest {path} cannot be reached: " in line
        assert line.endswith("; Ollama serves no model while it is there; remove it (StoreBroken)")
        asked = owner.server.requests_log()[len(before) :]
        assert not any(request.mutates for request in asked)
    finally:
        _take(path)


@pytest.mark.parametrize("present", [["AA:q4", "aa:q4"], ["aa:q4", "bb:Q4"]])
def test_names_that_differ_by_case_do_not_make_the_store_anothers(
    owner: User, present: list[str]
) -> None:
    models = owner.server.models_dir
    manifest = (models / LIBRARY / "smol" / "latest").read_bytes()
    paths = [models / LIBRARY / name.replace(":", "/") for name in present]
    for n, path in enumerate(paths):
        path.parent.mkdir()
        path.write_bytes(manifest + b" " * n)
    try:
        assert _apply(owner, SMOL, 0).startswith("No changes.")
        name = f"{present[0].partition(':')[0]}:q4"
        out = _apply(owner, f"{SMOL}  {name}:\n    source: {{gguf: ./smol.gguf}}\n", 3)
        [line] = [line for line in out.splitlines() if line.startswith("!")]
        assert line.endswith("(CaseConflict)")
        assert all(str(part) in line for part in ("in " + present[0], "in " + present[1]))
        assert "1 of 2 models ready" in out
    finally:
        for path in paths:
            _take(path)


def test_a_config_of_ours_that_is_not_what_it_was_is_written_again(user: User) -> None:
    user.declare(SMOL + "  terse:\n    source: {model: smol}\n    system: Be brief.\n")
    user.apply()
    blobs = user.server.models_dir / "blobs"
    manifest = json.loads((user.server.models_dir / LIBRARY / "smol" / "latest").read_bytes())
    config = blobs / manifest["config"]["digest"].replace(":", "-")
    content = config.read_bytes()
    for wrong in (b"", content[:-3], b"x" * len(content)):
        config.write_bytes(wrong)
        assert "smol:latest" not in user.server.tags()
        user.apply()
        assert config.read_bytes() == content
        assert "smol:latest" in user.server.tags()
        assert user.apply().out.startswith("No changes.")


@pytest.mark.parametrize("make", [_folder, _fifo])
def test_a_strange_thing_where_a_blob_must_be_blocks_its_models_and_is_left(
    user: User, make: Callable[[Path], None]
) -> None:
    user.declare(SMOL)
    digest = hashlib.sha256(user.gguf.read_bytes()).hexdigest()
    blob = user.server.models_dir / "blobs" / f"sha256-{digest}"
    make(blob)
    out = user.apply(code=3).out
    assert str(blob) in out
    assert out.count("\n") == 2
    assert user.server.tags() == {}
    assert not blob.is_file()
    assert not blob.is_symlink()


@pytest.mark.parametrize("content", [b"", b'{"schemaVersion":2,"layers":[', b"\0" * 512])
def test_a_broken_manifest_of_ours_can_be_removed(user: User, content: bytes) -> None:
    """Ollama cannot remove what it cannot read."""
    user.declare(SMOL)
    user.apply()
    models = user.server.models_dir
    (models / LIBRARY / "smol" / "latest").write_bytes(content)
    user.declare("  smol: {state: absent}\n")
    user.apply()
    assert not (models / LIBRARY / "smol").exists()
    assert [path for path in (models / "blobs").iterdir() if path.is_symlink()] == []
    assert user.apply().out.startswith("No changes.")
