"""The process of a server that we start, with small programs in its place: its end, and ours."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from paddock.edges import managed_process
from paddock.edges.managed_process import ServerProcess, exit_words
from processes import running


def program(folder: Path, text: str) -> list[str]:
    """A shell script."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return [str(path)]


async def is_up(server: ServerProcess) -> None:
    """Waits for its first word: a log sends no event."""
    while server.last != "up":  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def test_an_exit_code_and_the_last_error_are_told(tmp_path: Path) -> None:
    command = program(tmp_path, "echo one; echo 'Error: disk' >&2; echo two; exit 5")
    server = await ServerProcess.start(command, {"PATH": os.environ["PATH"]})
    assert await server.ended() == 5
    assert exit_words(5, server.last) == "exited with 5: Error: disk"


async def test_a_signal_is_told(tmp_path: Path) -> None:
    server = await ServerProcess.start(program(tmp_path, "kill -SEGV $$"), {})
    code = await server.ended()
    assert exit_words(code, server.last) == "was killed by SIGSEGV"


async def test_a_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program\n")
    server = await ServerProcess.start([str(tmp_path / "text")], {})
    assert await server.ended() == 127
    assert server.last == "it cannot be run: Permission denied"


async def test_its_children_go_with_it(tmp_path: Path) -> None:
    server = await ServerProcess.start(
        program(tmp_path, "sleep 1000 & sleep 1000 & kill -KILL $$"), dict(os.environ)
    )
    assert await server.ended() == -signal.SIGKILL
    assert running(server.pid) == []


async def test_a_stop_lets_it_end_by_itself(tmp_path: Path) -> None:
    left = tmp_path / "left"
    command = program(
        tmp_path, f"trap 'echo bye > {left}; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    )
    server = await ServerProcess.start(command, dict(os.environ))
    await is_up(server)
    await server.stop()
    assert left.read_text() == "bye\n"
    assert running(server.pid) == []


async def test_one_that_does_not_end_by_itself_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed_process, "STOP_S", 0.1)
    command = program(tmp_path, "trap '' TERM; echo up; while :; do sleep 0.01; done")
    server = await ServerProcess.start(command, dict(os.environ))
    await is_up(server)
    await server.stop()
    assert running(server.pid) == []


async def test_a_log_without_line_ends_is_read_all_the_same(tmp_path: Path) -> None:
    """A pipe that nobody reads would hold the server up."""
    command = program(
        tmp_path, "head -c 300000 /dev/zero | tr '\\0' 'x'; echo; echo after; printf end"
    )
    with capture_logs() as told:
        server = await ServerProcess.start(command, dict(os.environ))
        assert await server.ended() == 0
    events = [line["event"] for line in told]
    assert events == ["(a line of more than 64 KiB)", "after", "end"]
    assert server.last == "end"
