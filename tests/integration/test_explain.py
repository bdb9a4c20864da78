"""`paddock explain` and `paddock events`, as people use them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from paddock_cli import COMMAND, Daemon, User

MODELS = "  Smol:\n    source: {gguf: ./smol.gguf}\n    preload: true\n    system: Be kind.\n"


@pytest.fixture
def user(tiny_user: User) -> User:
    """A user with a tiny model, declared."""
    tiny_user.declare(MODELS)
    return tiny_user


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    with user.daemon() as running:
        running.wait_ready()
        yield running


def explained(user: User, name: str = "smol") -> Any:
    result = user.paddock("explain", name, "-o", "json")
    assert result.code == 0, result
    return result.json


def events(user: User, *arguments: str) -> list[dict[str, Any]]:
    result = user.paddock("events", "-o", "json", *arguments)
    assert (result.code, result.err) == (0, ""), result
    return [json.loads(line) for line in result.out.splitlines()]


def test_a_model_is_explained_by_the_daemon(user: User, daemon: Daemon) -> None:
    """From where it is declared to what happened last."""
    found = explained(user, "SMOL")
    assert found["format_version"] == 1
    assert found["wanted"]["declared_at"] == f"{user.file}:3"
    assert found["wanted"]["overrides"] == {"system": "Be kind."}
    model = next(blob for blob in found["found"]["blobs"] if blob["what"] == "model")
    assert (model["kind"], model["target"], model["readable"]) == ("link", str(user.gguf), True)
    assert found["found"]["manifest"] == f"sha256:{user.server.tags()['Smol:latest']['digest']}"
    assert found["found"]["running"]["expires_at"] is None
    assert {c["type"]: c["status"] for c in found["conditions"]}["Ready"] == "True"
    done = [event["kind"] for event in found["events"] if event["result"] == "done"]
    assert {"LinkBlob", "WriteManifest", "LoadModel"} <= set(done)
    user.gguf.rename(user.folder / "away.gguf")
    daemon.wait(lambda: explained(user)["found"]["withdrawn"], "it is withdrawn")
    text = user.paddock("explain", "smol")
    assert (text.code, text.err) == (0, "")
    assert text.out.startswith("Smol: Ready False, SourceMissing: ")
    assert "  manifest   none: withdrawn until its source is back\n" in text.out


def test_without_a_daemon_a_model_is_explained_by_looking(user: User) -> None:
    result = user.paddock("explain", "smol")
    assert result.err == "no daemon answers: this is what can be seen without one\n"
    assert "  +  HashSource  SourceNew  hash and link " in result.out
    user.apply()
    found = explained(user)
    assert (found["events"], found["next"]["actions"]) == (None, [])
    assert user.paddock("explain", "smol", "-o", "yaml").out.startswith("format_version: 1\n")
    user.server.cli("cp", "smol", "copy")
    assert explained(user, "copy")["wanted"] is None


def test_a_model_that_is_nowhere_is_told_in_one_line(user: User) -> None:
    user.apply()
    result = user.paddock("explain", "other")
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines()[1].startswith("paddock: other is neither declared in ")
    with user.daemon():
        result = user.paddock("explain", "other")
        assert (result.code, result.out) == (1, "")
        what = "paddock: other: neither declared nor installed; paddock status shows all\n"
        assert result.err == what


def test_events_are_told_one_a_line_and_from_the_one_after_another(
    user: User, daemon: Daemon
) -> None:
    found = events(user)
    ids = [event["id"] for event in found]
    assert ids == sorted(set(ids))
    assert [e["model"] for e in found if e["kind"] == "WriteManifest"] == ["Smol"]
    assert [event["id"] for event in events(user, "--since", str(ids[-2]))] == ids[-1:]
    assert events(user, "--since", str(ids[-1])) == []
    lines = user.paddock("events").out.splitlines()
    assert len(lines) == sum(event["result"] != "progress" for event in found)
    (line,) = [line for line in lines if "WriteManifest" in line]
    when, model, kind, result, why = line.split(maxsplit=4)
    assert (when[-1], model, kind, result) == ("Z", "Smol", "WriteManifest", "done")
    assert why == "New: write its manifest"


def test_events_need_a_daemon(user: User) -> None:
    result = user.paddock("events")
    what = "paddock: no daemon answers, and only a daemon has events; start paddock run\n"
    assert (result.code, result.out, result.err) == (1, "", what)
    assert user.paddock("events", "-o", "yaml").code == 64


def test_a_reader_of_events_that_goes_away_is_no_trouble(user: User, daemon: Daemon) -> None:
    with _following(user) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        following.stdout.readline()
        following.stdout.close()
        user.server.generate("smol", keep_alive=0)  # what follows has nowhere to go
        assert following.wait(20) == 1
        assert following.stderr.read() == ""


def test_events_are_followed_over_a_restart_of_the_daemon(user: User, daemon: Daemon) -> None:
    """None is told twice, and none is lost."""
    with _following(user, "-o", "json") as following:
        assert following.stdout is not None
        assert following.stderr is not None
        seen = [json.loads(following.stdout.readline())]
        daemon.stop()
        assert following.stderr.readline() == "paddock: the daemon has gone; waiting for it\n"
        user.declare(MODELS + "  terse:\n    source: {model: smol}\n    system: Be terse.\n")
        daemon.start()
        while not (seen[-1]["model"] == "terse" and seen[-1]["kind"] == "WriteManifest"):
            seen.append(json.loads(following.stdout.readline()))
        ids = [event["id"] for event in seen]
        assert ids == sorted(set(ids))
        assert set(ids) >= {event["id"] for event in events(user) if event["id"] <= ids[-1]}
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130


@contextlib.contextmanager
def _following(user: User, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`paddock events -f` meanwhile."""
    with subprocess.Popen(
        [*COMMAND, "events", "-f", *arguments],
        env=user.environment,
        cwd=user.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        try:
            yield following
        finally:
            following.kill()
