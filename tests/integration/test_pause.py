"""`suspend: true`, and `paddock pause` and `resume`: a model is left alone, and says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from paddock_cli import Daemon, UnixConnection, User
from real import OPTIONS
from stores import links
from tiny_models import chat_model

PINNED = "  Smol:\n    source: {gguf: ./smol.gguf}\n    preload: true\n"
SUSPENDED = PINNED + "    suspend: true\n"


@pytest.fixture
def user(tiny_user: User) -> User:
    """A user with a tiny model, declared."""
    tiny_user.declare(PINNED)
    return tiny_user


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    with user.daemon() as running:
        running.wait_ready()
        yield running


def conditions(document: Any, name: str = "Smol") -> dict[str, tuple[str, str]]:
    (model,) = [model for model in document["models"] if model["name"] == name]
    return {c["type"]: (c["status"], c["reason"]) for c in model["conditions"]}


def post(user: User, path: str, body: object) -> tuple[int, Any]:
    connection = UnixConnection(user.socket)
    connection.request("POST", path, json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_a_model_paused_through_the_daemon_is_left_alone_until_it_is_resumed(
    user: User, daemon: Daemon
) -> None:
    """Over a restart of the daemon too; and whoever chats with it gets what the store has."""
    result = user.paddock("pause", "smol")
    assert (result.code, result.out, result.err) == (0, "Smol: paused\n", "")
    found = conditions(daemon.status())
    assert found["Suspended"] == ("True", "Paused")
    assert found["Ready"] == ("Unknown", "Suspended")
    assert daemon.condition("Ready") == ("True", "Converged")
    user.server.generate("smol", keep_alive=0)
    (link,) = links(user.server.models_dir)
    link.unlink()
    daemon.stop()
    daemon.start()
    daemon.wait(lambda: daemon.condition("OllamaReachable")[0] == "True", "it has looked")
    assert user.apply().out.startswith("note: Smol is left alone since it was paused; paddock res")
    assert conditions(daemon.status())["Ready"] == ("False", "BlobsMissing")
    assert not link.is_symlink()
    assert user.server.ps() == {}
    link.symlink_to(user.gguf)
    body = {"model": "SMOL", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    status, answer = post(user, "/api/chat", {**body, "options": OPTIONS, "keep_alive": 0})
    assert (status, answer["done"]) == (200, True), answer
    link.unlink()
    assert user.paddock("resume", "SMOL").out == "Smol: resumed\n"
    daemon.wait_ready()
    assert link.is_symlink()
    assert list(user.server.ps()) == ["Smol:latest"]
    assert "Suspended" not in conditions(daemon.status())


def test_without_a_daemon_the_ledger_is_written_under_the_lock(user: User) -> None:
    user.apply()
    assert user.paddock("pause", "smol").out == "Smol: paused\n"
    assert user.paddock("pause", "Smol").out == "Smol is paused already\n"
    user.server.generate("smol", keep_alive=0)
    plan = user.paddock("plan", "--detailed-exitcode")
    assert (plan.code, plan.out.splitlines()[0]) == (
        0,
        "note: Smol is left alone since it was paused; paddock resume Smol",
    )
    assert user.paddock("plan", "-o", "json").json["suspended"][0]["reason"] == "Paused"
    document = user.paddock("resume", "SMOL", "-o", "json").json
    assert document["models"] == [
        {"name": "Smol", "paused": False, "changed": True, "suspended_in_file": False}
    ]
    assert user.paddock("resume", "smol").out == "Smol was not paused\n"
    assert user.paddock("plan", "--detailed-exitcode").code == 2


def test_a_model_that_nobody_knows_is_told_in_one_line_and_no_other_is_paused(user: User) -> None:
    user.apply()
    for context in ("alone", "daemon"):
        with user.daemon() if context == "daemon" else _Nothing():
            result = user.paddock("pause", "smol", "other")
            assert (result.code, result.out) == (1, "")
            assert result.err == (
                f"paddock: other: not declared in {user.file}, and not made by paddock; "
                "paddock status shows what is\n"
            )
            assert user.paddock("pause", "not a name").code == 1
            assert user.paddock("resume", "smol").out == "Smol was not paused\n"


class _Nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def test_what_the_file_suspends_is_neither_made_nor_removed(user: User) -> None:
    user.declare(SUSPENDED)
    assert user.apply().out.splitlines() == [
        f"note: Smol is left alone, as {user.file} says suspend: true",
        f"No changes. 0 models match {user.file}.",
    ]
    assert user.server.tags() == {}
    user.declare(PINNED)
    user.apply()
    user.declare("  Smol: {state: absent, suspend: true}\n")
    user.apply()
    assert list(user.server.tags()) == ["Smol:latest"]
    result = user.paddock("resume", "Smol")
    assert (result.code, result.out) == (3, "Smol was not paused\n")
    assert result.err == f"paddock: Smol stays suspended: {user.file} says suspend: true\n"
    user.declare("  Smol: {state: absent}\n")
    user.apply()
    assert user.server.tags() == {}


def test_a_model_is_made_over_a_suspended_base_as_the_store_has_it(user: User) -> None:
    user.apply()
    user.gguf.write_bytes(chat_model() + b"\0" * 32)
    user.declare(SUSPENDED + "  terse:\n    source: {model: smol}\n    system: Be terse.\n")
    user.apply()
    assert user.server.show("terse")["system"] == "Be terse."


def test_only_admins_may_pause(user: User, daemon: Daemon) -> None:
    bodies: tuple[Any, ...] = ({}, [], {"models": "smol"}, {"models": [5]}, {"models": []})
    for body in bodies:
        assert post(user, "/paddock/pause", body)[0] == 400
    assert post(user, "/paddock/pause", {"models": ["other"]})[0] == 404
    assert daemon.get("/paddock/pause")[0] == 405
    status, answer = post(user, "/paddock/pause", {"models": ["SMOL"]})
    assert (status, answer["models"][0]["paused"]) == (200, True)
