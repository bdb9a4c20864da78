"""Declaring a name does not claim it: what others made is compared, reported, and left alone."""

from __future__ import annotations

import pytest

from paddock_cli import SMOL, User
from snapshots import Entry, store_snapshot
from stores import belongings

ABSENT = "  smol: {state: absent}\n"
NOT_OWNED = "claim it with: paddock adopt smol (NotOwned)"


def _files(user: User) -> dict[str, Entry]:
    """The files and links, without what Ollama writes by itself: `metadata/` when it lists models,
    and the time of a layer that a create shares (ollama:manifest/layer.go touchLayer)."""
    found = store_snapshot(user.server.models_dir).items()
    return {
        path: entry if "manifests/" in path else entry._replace(mtime_ns=0)
        for path, entry in found
        if entry.kind != "folder" and not path.startswith("metadata/")
    }


def _is_linked(user: User, digest: str) -> bool:
    return (user.server.models_dir / "blobs" / digest.replace(":", "-")).is_symlink()


def _digest(user: User) -> str:
    digest: str = user.paddock("status", "-o", "json").json["models"][0]["digest"]
    return digest


def test_an_equal_model_that_create_made_is_ready_and_left_as_it_is(user: User) -> None:
    user.server.create_from_gguf("smol", user.gguf)
    before = _files(user)
    user.declare(SMOL)
    user.apply()
    assert _files(user) == before
    assert user.statuses() == {"smol": ("True", "AsDeclared")}
    assert user.apply().out.startswith("No changes.")


def test_the_residency_of_an_equal_model_is_held(user: User) -> None:
    user.server.create_from_gguf("smol", user.gguf, ["PARAMETER num_ctx 512"])
    user.declare(f"{SMOL}    preload: true\n    parameters: {{num_ctx: 512}}\n")
    user.apply()
    assert user.server.ps()["smol:latest"]["context_length"] == 512
    assert "stop" in user.server.show("smol")["parameters"]


def test_a_different_model_is_not_owned_until_it_is_adopted(user: User) -> None:
    user.server.create_from_gguf("smol", user.gguf, ["SYSTEM Mine."])
    user.declare(f"{SMOL}    system: Be kind.\n")
    manifest = user.server.models_dir / "manifests/registry.ollama.ai/library/smol/latest"
    before = manifest.read_bytes()
    result = user.apply(code=3)
    assert NOT_OWNED in result.out
    assert manifest.read_bytes() == before
    assert user.server.show("smol")["system"] == "Mine."
    assert user.statuses() == {"smol": ("False", "NotOwned")}
    again = _files(user)
    user.apply(code=3)
    assert _files(user) == again, "a second apply does nothing"

    assert user.paddock("adopt", "smol") == (0, "smol: adopted\n", "")
    user.apply()
    assert user.server.show("smol")["system"] == "Be kind."
    assert user.statuses() == {"smol": ("True", "AsDeclared")}


def test_absent_removes_ours_and_keeps_the_users_file(user: User) -> None:
    user.declare(f"{SMOL}    preload: true\n")
    user.apply()
    digest = _digest(user)
    assert _is_linked(user, digest)
    user.declare(ABSENT)
    assert user.paddock("plan").out.endswith(
        "Plan: 0 to add, 0 to change, 1 to remove, 0 blocked.\n"
    )
    user.apply()
    assert user.server.tags() == {}
    assert user.server.ps() == {}
    assert not any(path.startswith("blobs/") for path in _files(user))
    assert user.gguf.read_bytes() == user.server.gguf.read_bytes()
    assert user.statuses()["smol"][0] == "True"
    assert user.apply().out.startswith("No changes.")


def test_absent_leaves_what_others_made_until_it_is_adopted(user: User) -> None:
    user.server.create_from_gguf("smol", user.gguf)
    before = _files(user)
    user.declare(ABSENT)
    result = user.apply(code=3)
    assert NOT_OWNED in result.out
    assert _files(user) == before
    user.paddock("adopt", "smol")
    user.apply()
    assert user.server.tags() == {}


def test_a_blob_that_another_model_shares_outlives_ours(user: User) -> None:
    user.declare(SMOL)
    user.apply()
    digest = _digest(user)
    user.server.cli("cp", "smol", "theirs")
    user.declare(ABSENT)
    user.apply()
    assert list(user.server.tags()) == ["theirs:latest"]
    assert _is_linked(user, digest)
    assert user.server.generate("theirs", "Hi")["response"]


def test_a_foreign_model_is_untouched_through_everything(user: User) -> None:
    user.server.create_from_gguf("theirs", user.gguf, ["SYSTEM Theirs.", "PARAMETER top_k 3"])
    before = belongings(user.server.models_dir, "theirs")

    def untouched() -> bool:
        return belongings(user.server.models_dir, "theirs") == before

    user.declare(f"{SMOL}    preload: true\n    system: Ours.\n")
    user.apply()
    assert untouched()
    user.declare(
        f"{SMOL}    system: Other.\n  child:\n    source: {{model: theirs}}\n    system: C.\n"
    )
    user.apply()
    assert untouched()
    user.declare("  smol: {state: absent}\n  child: {state: absent}\n")
    user.apply()
    assert untouched()
    assert list(user.server.tags()) == ["theirs:latest"]
    assert user.server.show("theirs")["system"] == "Theirs."


def test_a_model_that_somebody_makes_over_ours_is_drift(user: User) -> None:
    """The ledger holds the name, so the file's word counts: what differs is drift. Their create
    changes the file's time through the link, so it is hashed again first."""
    user.declare(f"{SMOL}    system: Ours.\n")
    user.apply()
    user.server.create_from_gguf("smol", user.gguf, ["SYSTEM Theirs."])
    assert user.paddock("plan", "--detailed-exitcode").code == 2
    user.apply()
    assert user.server.show("smol")["system"] == "Ours."


def test_what_is_adopted_must_exist(user: User) -> None:
    user.declare(SMOL)
    result = user.paddock("adopt", "nobody")
    assert result.code == 1
    assert result.err.startswith("paddock: nobody is not installed in ")
    assert len(result.err.splitlines()) == 1
    assert user.paddock("adopt").code == 64


@pytest.mark.parametrize("running", [False, True])
def test_adopt_works_beside_a_running_daemon(user: User, running: bool) -> None:
    user.server.create_from_gguf("smol", user.gguf, ["SYSTEM Mine."])
    user.declare(f"{SMOL}    system: Be kind.\n")
    if not running:
        user.paddock("adopt", "smol")
    with user.daemon() as daemon:
        if running:
            daemon.wait(lambda: user.statuses()["smol"][1] == "NotOwned", "it is not owned")
            assert user.paddock("adopt", "smol").code == 0
        daemon.wait_ready()
    assert user.server.show("smol")["system"] == "Be kind."
