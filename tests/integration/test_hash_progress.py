"""The hash of a large file is told of while it runs."""

from __future__ import annotations

import json
import os
from typing import Any

from paddock_cli import COMMAND, SMOL, UnixConnection, User
from terminal import Terminal

LARGE_BYTES = 1 << 30  # a hole: it takes no disk, and most of a second to hash


def _enlarge(user: User) -> None:
    os.truncate(user.gguf, LARGE_BYTES)


def _progress(user: User) -> list[dict[str, Any]]:
    """What is told of the first action that is told of, until it has ended."""
    connection = UnixConnection(user.socket)
    connection.request("GET", "/paddock/events")
    found: list[dict[str, Any]] = []
    for line in connection.getresponse():
        if line.startswith(b"data: "):
            event = json.loads(line.removeprefix(b"data: "))
            if event["kind"] == "HashSource":
                found.append(event)
                if event["result"] != "progress":
                    break
    connection.close()
    return found


def test_the_daemon_tells_how_far_a_hash_is(user: User) -> None:
    _enlarge(user)
    user.declare(SMOL)
    with user.daemon():
        *progress, last = _progress(user)
    assert last["result"] == "done"
    assert last["elapsed_s"] > 0
    assert progress
    done = [event["progress"]["done_bytes"] for event in progress]
    assert done == sorted(done)
    assert {event["progress"]["total_bytes"] for event in progress} == {LARGE_BYTES}
    assert progress[0]["message"].startswith(f"hash {user.gguf}: ")
    assert " of 1.1 GB (" in progress[0]["message"]


def test_apply_shows_a_bar_for_a_hash(user: User) -> None:
    os.truncate(user.gguf, 8 * LARGE_BYTES)  # interrupted long before its end
    user.declare(SMOL)
    with Terminal([*COMMAND, "apply"], user.environment, term="xterm") as terminal:
        terminal.wait_for("of 8.6 GB")
        terminal.interrupt()
        assert terminal.ends() == 130
