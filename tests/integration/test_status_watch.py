"""`paddock status --watch`: what changes is shown while somebody looks on."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess

import pytest

from paddock_cli import COMMAND, User

SMOL = "  smol:\n    source: {gguf: ./smol.gguf}\n"
TERSE = SMOL + "  terse:\n    source: {model: smol}\n    system: One word.\n"


@pytest.mark.parametrize("with_daemon", [True, False])
def test_each_change_is_one_line_of_json_until_it_is_interrupted(
    tiny_user: User, with_daemon: bool
) -> None:
    tiny_user.declare(SMOL)
    command = [*COMMAND, "status", "--watch", "-o", "json"]
    with contextlib.ExitStack() as stack:
        if with_daemon:
            stack.enter_context(tiny_user.daemon()).wait_ready()
        watch = stack.enter_context(
            subprocess.Popen(
                command,
                env=tiny_user.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
        assert watch.stdout is not None
        first = json.loads(watch.stdout.readline())
        assert [model["name"] for model in first["models"]] == ["smol"]
        tiny_user.declare(TERSE)
        names: list[str] = []
        while names != ["smol", "terse"]:
            names = [model["name"] for model in json.loads(watch.stdout.readline())["models"]]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(10) == 130
