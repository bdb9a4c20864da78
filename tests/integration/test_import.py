"""A GGUF becomes a model by a link: Ollama shows what create would give, and nobody touches it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from paddock.core.gguf import Header, read_header
from paddock_cli import SMOL, User
from real import RealOllama
from recording_proxy import RecordingProxy
from snapshots import store_snapshot

SMALL = 64 * 1024
LINKED = "created:latest", "linked:latest"


def _facts(path: Path) -> tuple[object, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns


def _header(path: Path) -> Header:
    with path.open("rb") as file:

        def read_at(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return read_header(read_at, path.stat().st_size)


def _changed_by_create(user: User, created: str) -> set[str]:
    """The metadata that `ollama create` itself changes in the copy that it makes of a GGUF."""
    modelfile = user.server.show(created)["modelfile"]
    copy = next(line[5:] for line in modelfile.splitlines() if line.startswith("FROM /"))
    ours, theirs = _header(user.gguf), _header(Path(copy))
    return {
        key for key in ours.kv.keys() | theirs.kv.keys() if _value(ours, key) != _value(theirs, key)
    }


def _value(header: Header, key: str) -> tuple[object, object]:
    return header.types.get(key), header.kv.get(key)


def _shown(server: RealOllama, name: str, without: set[str]) -> dict[str, Any]:
    shown = server.show(name)
    details = dict(shown["details"])
    details.pop("parent_model")
    info = {k: v for k, v in shown["model_info"].items() if k not in without}
    plain = {k: v for k, v in shown.items() if k not in {"modified_at", "modelfile", "tensors"}}
    return plain | {"details": details, "model_info": info}


def _listed(server: RealOllama, name: str) -> dict[str, Any]:
    tag = server.tags()[name]
    details = dict(tag["details"])
    details.pop("parent_model")
    return {"details": details, "capabilities": tag.get("capabilities")}


def test_ollama_shows_a_linked_model_as_it_shows_one_that_create_made(user: User) -> None:
    user.server.create_from_gguf("created", user.gguf)
    without = _changed_by_create(user, "created")
    user.declare("  linked:\n    source: {gguf: ./smol.gguf}\n")
    user.apply()
    created, linked = (_shown(user.server, name, without) for name in LINKED)
    assert linked == created
    assert created["template"]
    assert created["parameters"]
    assert created["capabilities"]
    assert created["model_info"]["general.parameter_count"] == 134515008
    created, linked = (_listed(user.server, name) for name in LINKED)
    assert linked == created
    assert created["details"]["parameter_size"] == "134.52M"


def test_a_linked_model_answers_as_the_created_one(user: User) -> None:
    user.server.create_from_gguf("created", user.gguf)
    user.declare("  linked:\n    source: {gguf: ./smol.gguf}\n")
    user.apply()
    answers = [user.server.chat(name, "Say hello.")["message"] for name in LINKED]
    assert answers[0] == answers[1]
    assert answers[0]["content"]


def test_the_users_file_is_the_same_after_import_load_and_removal(user: User) -> None:
    user.gguf.chmod(0o640)
    before = _facts(user.gguf)
    user.declare(
        f"{SMOL}    preload: true\n    parameters: {{num_ctx: 512}}\n    system: Be kind.\n"
    )
    user.apply()
    assert user.server.ps()["smol:latest"]["context_length"] == 512
    assert _facts(user.gguf) == before
    user.declare("  smol: {state: absent}\n")
    user.apply()
    assert user.server.tags() == {}
    assert _facts(user.gguf) == before
    assert user.gguf.read_bytes() == user.server.gguf.read_bytes()


def test_a_file_that_may_only_be_read_is_linked_all_the_same(user: User) -> None:
    user.gguf.chmod(0o444)
    user.declare(SMOL)
    user.apply()
    assert user.server.generate("smol", "Hi")["response"]


def test_an_import_writes_less_than_64_kib_and_create_gets_a_stub_only(user: User) -> None:
    user.declare(SMOL)
    with RecordingProxy(user.server.url) as proxy:
        result = user.paddock("apply", OLLAMA_HOST=proxy.host)
    assert result.code == 0, result
    written = sum(
        entry.size_bytes
        for path, entry in store_snapshot(user.server.models_dir).items()
        if entry.kind == "file"
    )
    assert 0 < written < SMALL
    bodies = {seen.path: seen.body_bytes for seen in proxy.seen if seen.body_bytes}
    uploads = [size for path, size in bodies.items() if path.startswith("/api/blobs/sha256:")]
    assert uploads
    assert "/api/create" in bodies
    assert sum(bodies.values()) < SMALL


def test_a_converged_apply_writes_nothing_and_asks_nothing_that_changes_anything(
    user: User,
) -> None:
    user.declare(
        f"{SMOL}    preload: true\n  terse:\n    source: {{model: smol}}\n    system: Be terse.\n"
        "  copy:\n    source: {model: terse}\n"
    )
    user.apply()
    store, state = user.server.models_dir, user.server.models_dir / ".paddock"
    before = store_snapshot(store), store_snapshot(state)
    with user.server.recorded() as requests, RecordingProxy(user.server.url) as proxy:
        result = user.paddock("apply", OLLAMA_HOST=proxy.host)
    assert result == (0, f"No changes. 3 models match {user.file}.\n", "")
    after = store_snapshot(store), store_snapshot(state)
    assert after[0] == before[0]
    assert {path for path in before[1] | after[1] if before[1].get(path) != after[1].get(path)} == {
        "lock"
    }
    assert [seen for seen in proxy.seen if seen.mutates] == []
    assert [request for request in requests if request.mutates] == []
    assert len(requests) == len(proxy.seen) > 0


def test_a_plan_of_what_is_new_writes_nothing_at_all_and_asks_nothing_that_changes_anything(
    user: User,
) -> None:
    user.declare(SMOL)
    user.server.tags()  # Ollama makes its folders when it is first asked
    before = store_snapshot(user.server.models_dir)
    with user.server.recorded() as requests:
        result = user.paddock("plan", "--detailed-exitcode")
    assert result.code == 2, result
    assert "Plan: 1 to add, 0 to change, 0 to remove, 0 blocked." in result.out
    assert store_snapshot(user.server.models_dir) == before
    assert not (user.server.models_dir / ".paddock").exists()
    assert not any(request.mutates for request in requests)


def test_a_file_that_is_replaced_moves_the_model_to_the_new_digest(user: User) -> None:
    """The stale runner goes first: afterwards no name reaches it."""
    user.declare(f"{SMOL}    preload: true\n")
    user.apply()
    old = user.paddock("status", "-o", "json").json["models"][0]["digest"]
    new = user.folder / "new.gguf"
    shutil.copy(user.gguf, new)
    with new.open("r+b") as file:  # another file with the same header: its last weights differ
        file.seek(-64, 2)
        file.write(bytes(64))
    new.replace(user.gguf)
    assert "SourceChanged" in user.paddock("plan").out
    user.apply()
    model = user.paddock("status", "-o", "json").json["models"][0]
    assert model["digest"] != old
    assert model["loaded"]
    assert list(user.server.ps()) == ["smol:latest"]
    blobs = {path for path in store_snapshot(user.server.models_dir) if path.startswith("blobs/")}
    assert f"blobs/{model['digest'].replace(':', '-')}" in blobs
    assert f"blobs/{old.replace(':', '-')}" not in blobs


def test_a_moved_file_is_linked_anew_and_the_model_answers(user: User) -> None:
    user.declare(SMOL)
    user.apply()
    user.gguf.rename(user.folder / "elsewhere.gguf")
    result = user.apply(code=3)
    assert "SourceMissing" in result.out
    user.declare("  smol:\n    source: {gguf: ./elsewhere.gguf}\n")
    user.apply()
    assert user.server.generate("smol", "Hi")["response"]
