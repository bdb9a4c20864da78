"""Folders in which every GGUF becomes a model, on a real Ollama: apply, and the daemon beside
downloads, removals and disks that go away."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

import tiny_models as tiny
from gguf_files import adapter_bytes
from paddock_cli import Daemon, UnixConnection, User
from snapshots import store_snapshot
from stores import links

HEAD = "version: 1\ndiscover:\n"
LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def user(user: User) -> User:
    """Their models lie in a folder, and are tiny."""
    user.gguf.unlink()
    return user


def put(path: Path, content: bytes) -> Path:
    """A file as programs leave one that they have finished: written hours ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(content)
    os.utime(temporary, LONG_AGO)
    return temporary.rename(path)


def model(seed: int) -> bytes:
    return tiny.chat_model(seed=seed)


def discover(user: User, *entries: str, more: str = "") -> None:
    user.declare("".join(f"  - {entry}\n" for entry in entries) + more, head=HEAD)


def ready(daemon: Daemon, *names: str) -> None:
    """Waits until exactly these models are declared, and as they shall be."""

    def is_so() -> bool:
        found = {m["name"] for m in daemon.status()["models"]}
        return found == set(names) and daemon.is_ready()

    daemon.wait(is_so, f"{names} are ready")


def reason(daemon: Daemon, name: str) -> str:
    for found in daemon.status()["models"]:
        if found["name"] == name:
            return str(next(c["reason"] for c in found["conditions"] if c["type"] == "Ready"))
    return ""


def notes(user: User) -> dict[str, str]:
    plan: Any = user.paddock("plan", "-o", "json").json
    return {Path(note["path"]).name: note["reason"] for note in plan["notes"]}


def chat(user: User, name: str) -> tuple[int, Any]:
    """What the socket answers to a chat."""
    body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    with contextlib.closing(UnixConnection(user.socket)) as connection:
        connection.request("POST", "/api/chat", json.dumps(body))
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def targets(user: User) -> set[str]:
    """Where the links of the store lead."""
    return {str(link.readlink()) for link in links(user.server.models_dir)}


def test_a_folder_of_lm_studio_becomes_models_that_answer_and_nothing_is_copied(
    user: User,
) -> None:
    folder = user.folder / "lmstudio"
    one = put(folder / "The.Publisher/Repo-GGUF/One-Q4_0.gguf", model(1))
    two = put(folder / "other/two/Two.gguf", model(2))
    discover(
        user,
        "{layout: lmstudio, path: lmstudio, name: '{publisher}/{stem}:{quant}', system: Hi.}",
    )
    user.apply()
    assert set(user.server.tags()) == {"the-publisher/one:q4_0", "other/two:latest"}
    assert targets(user) == {str(one), str(two)}
    assert user.server.show("other/two")["system"] == "Hi."
    assert user.server.chat("the-publisher/one:q4_0", "Hi")["message"]["content"]
    before = store_snapshot(user.server.models_dir)
    assert user.apply().out.startswith("No changes. 2 models match")
    assert store_snapshot(user.server.models_dir) == before


def test_a_cache_of_hugging_face_is_linked_blob_by_blob(user: User) -> None:
    repo = user.folder / "hub/models--org--repo"
    blob = put(repo / "blobs/abc", model(1))
    snapshot = repo / "snapshots/c0"
    snapshot.mkdir(parents=True)
    (snapshot / "tiny-Q8_0.gguf").symlink_to("../../blobs/abc")
    discover(user, "{layout: huggingface}")
    applied = user.paddock("apply", HF_HUB_CACHE=str(user.folder / "hub"))
    assert applied.code == 0, applied
    assert targets(user) == {str(blob)}
    newer = repo / "snapshots/c1"
    snapshot.rename(newer)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("c1")
    applied = user.paddock("apply", HF_HUB_CACHE=str(user.folder / "hub"))
    assert applied.out.startswith("No changes. 1 model"), applied
    assert set(user.server.tags()) == {"org/tiny-q8_0:latest"}


def test_a_model_gets_the_projector_that_lies_beside_it(user: User) -> None:
    folder = user.folder / "lms/p/r"
    put(folder / "seer.gguf", model(1))
    projector = put(folder / "mmproj-f16.gguf", tiny.projector())
    discover(user, "{layout: lmstudio, path: lms}")
    user.apply()
    assert set(user.server.tags()) == {"p/seer:latest"}
    assert str(projector) in targets(user)


def test_what_is_no_model_is_told_and_keeps_no_other_from_being_one(user: User) -> None:
    folder = user.folder / "models"
    put(folder / "good.gguf", model(1))
    put(folder / "lora.gguf", adapter_bytes())
    put(folder / "page.gguf", b"<html>not found</html>")
    put(folder / "cut.gguf", model(2)[:-100])
    put(folder / "coming.gguf.part", b"GGUF")
    (folder / "young.gguf").write_bytes(model(3))
    os.utime(folder / "young.gguf")
    discover(user, "{path: models}")
    told = notes(user)
    assert told.pop("young.gguf", "StillWritten") == "StillWritten"
    assert told == {
        "lora.gguf": "NotAModel",
        "page.gguf": "NotGGUF",
        "cut.gguf": "Truncated",
        "coming.gguf.part": "HalfWritten",
    }
    os.utime(folder / "young.gguf")
    applied = user.apply()
    assert set(user.server.tags()) == {"good:latest", "young:latest"}, "it waited for the young one"
    assert f"note: {folder}/cut.gguf: truncated" in applied.err


def test_a_declared_model_comes_before_the_files_of_a_folder(user: User) -> None:
    folder = user.folder / "models"
    put(folder / "a.gguf", model(1))
    put(folder / "b.gguf", model(2))
    put(folder / "c.gguf", model(3))
    more = (
        "models:\n  mine:\n    source: {gguf: models/a.gguf}\n"
        "  b:\n    source: {model: c}\n    system: Other.\n"
    )
    discover(user, "{path: models}", more=more)
    user.apply()
    assert set(user.server.tags()) == {"mine:latest", "b:latest", "c:latest"}
    assert user.server.show("b")["system"] == "Other."


def test_plan_writes_nothing(user: User) -> None:
    put(user.folder / "models/a.gguf", model(1))
    discover(user, "{path: models}")
    user.apply()
    put(user.folder / "models/b.gguf", model(2))
    before = store_snapshot(user.server.models_dir)
    assert user.paddock("plan").out.count("b") > 0
    assert store_snapshot(user.server.models_dir) == before


def test_names_stay_with_their_files_from_apply_to_apply(user: User) -> None:
    folder = user.folder / "models"
    put(folder / "z/x.gguf", model(1))
    discover(user, "{path: models}")
    user.apply()
    digest = user.server.tags()["x:latest"]["digest"]
    put(folder / "a/x.gguf", model(2))
    user.apply()
    tags = user.server.tags()
    assert tags["x:latest"]["digest"] == digest
    assert len(tags) == 2
    assert all(name.startswith("x") for name in tags)


def test_files_that_come_become_models_while_the_daemon_runs(user: User) -> None:
    folder = user.folder / "models"
    put(folder / "a.gguf", model(1))
    discover(user, "{path: models}")
    with user.daemon() as daemon:
        ready(daemon, "a")
        put(folder / "new/b.gguf", model(2))
        ready(daemon, "a", "b")
        with (folder / "c.gguf.part").open("wb") as part:
            part.write(model(3))
        daemon.wait(lambda: notes(user).get("c.gguf.part") == "HalfWritten", "the part is told of")
        ready(daemon, "a", "b")
        (folder / "c.gguf.part").rename(folder / "c.gguf")
        ready(daemon, "a", "b", "c")
    assert set(user.server.tags()) == {"a:latest", "b:latest", "c:latest"}


def test_a_download_under_its_last_name_waits_until_it_is_whole(user: User) -> None:
    folder = user.folder / "models"
    put(folder / "a.gguf", model(1))
    discover(user, "{path: models}")
    with user.daemon() as daemon:
        ready(daemon, "a")
        data = model(2)
        put(folder / "b.gguf", data[: len(data) // 2])
        daemon.wait(lambda: notes(user).get("b.gguf") == "Truncated", "half of it is told of")
        ready(daemon, "a")
        with (folder / "b.gguf").open("ab") as file:
            file.write(data[len(data) // 2 :])
        ready(daemon, "a", "b")


def test_a_file_that_goes_is_told_and_its_model_is_withdrawn_until_it_is_back(user: User) -> None:
    folder = user.folder / "models"
    put(folder / "a.gguf", model(1))
    gone = put(folder / "b.gguf", model(2))
    discover(user, "{path: models}")
    with user.daemon() as daemon:
        ready(daemon, "a", "b")
        gone.rename(user.folder / "b.gguf")
        daemon.wait(lambda: "b:latest" not in user.server.tags(), "it is withdrawn")
        assert reason(daemon, "b") == "SourceMissing"
        status, answer = chat(user, "b")
        assert (status, answer["error"][:1]) == (503, "b"), "the socket knows it as declared"
        assert reason(daemon, "a") == "AsDeclared"
        (user.folder / "b.gguf").rename(gone)
        ready(daemon, "a", "b")


@pytest.mark.parametrize("how", ["away", "emptied"])
def test_of_a_disk_that_goes_away_nothing_is_withdrawn(user: User, how: str) -> None:
    folder, away = user.folder / "models", user.folder / "away"
    put(folder / "a.gguf", model(1))
    put(folder / "b.gguf", model(2))
    discover(user, "{path: models, keep_alive: 5m}")
    with user.daemon() as daemon:
        ready(daemon, "a", "b")
        before = store_snapshot(user.server.models_dir / "manifests")
        folder.rename(away)
        if how == "emptied":
            folder.mkdir()
        expected = {"away": "FolderMissing", "emptied": "FolderEmpty"}[how]
        daemon.wait(lambda: reason(daemon, "b") == expected, "the folder is known to be no proof")
        looks = daemon.status()["format_version"] and len(user.server.requests_log())
        daemon.wait(lambda: len(user.server.requests_log()) > looks + 8, "it has looked again")
        assert store_snapshot(user.server.models_dir / "manifests") == before
        assert len(links(user.server.models_dir)) == 2
        if how == "emptied":
            folder.rmdir()
        away.rename(folder)
        ready(daemon, "a", "b")


def test_a_folder_may_be_made_after_the_daemon_has_started(user: User) -> None:
    discover(user, "{path: models}", more="models: {}\n")
    with user.daemon() as daemon:
        daemon.wait_ready()
        assert list(notes(user).values()) == ["FolderMissing"]
        put(user.folder / "models/a.gguf", model(1))
        ready(daemon, "a")


def test_what_is_set_over_an_entry_holds_for_its_models(user: User) -> None:
    put(user.folder / "models/a.gguf", model(1))
    discover(user, "{path: models, preload: true, parameters: {num_ctx: 256}}")
    with user.daemon() as daemon:
        ready(daemon, "a")
        assert set(user.server.ps()) == {"a:latest"}
        assert "num_ctx" in user.server.show("a")["parameters"]


def test_a_tree_of_links_to_the_store_is_not_discovered(user: User) -> None:
    put(user.folder / "models/a.gguf", model(1))
    discover(user, "{path: models}")
    user.apply()
    [blob] = links(user.server.models_dir)
    (user.folder / "models/published.gguf").symlink_to(blob)
    assert user.apply().out.startswith("No changes. 1 model matches")


def test_prune_removes_nothing_of_a_disk_that_went_away(user: User) -> None:
    folder, away = user.folder / "models", user.folder / "away"
    put(folder / "a.gguf", model(1))
    discover(user, "{path: models}", more="prune: true\n")
    user.apply()
    folder.rename(away)
    user.apply(code=3)
    assert set(user.server.tags()) == {"a:latest"}
    assert user.statuses()["a"][1] == "FolderMissing"
    away.rename(folder)
    put(folder / "b.gguf", model(2))
    user.apply()
    assert set(user.server.tags()) == {"a:latest", "b:latest"}
    discover(user, "{path: models, exclude: [a.gguf]}", more="prune: true\n")
    user.apply()
    assert set(user.server.tags()) == {"b:latest"}
