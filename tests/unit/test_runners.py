"""The processes behind models in memory: found by their command line, their end told at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from paddock.edges.runners import Runners, find_runners, read_bytes

SLEEP = "import sys; print(flush=True); sys.stdin.read()"
# Says the number of its child, which has the given command line, and ends it with itself.
PARENT = """
import json, subprocess, sys
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
child = subprocess.Popen(json.loads(sys.stdin.readline()), **pipes)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""
WAIT_S = 20.0


class _Process(NamedTuple):
    """A process with a command line such as a runner's."""

    pid: int

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def _process(*arguments: str, parent: str = "ollama") -> Iterator[_Process]:
    """A process that was started by one that is called so."""
    command = [sys.executable, "-c", PARENT, parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps([sys.executable, "-c", SLEEP, *arguments]).encode() + b"\n")
        server.stdin.flush()
        yield _Process(int(server.stdout.readline()))
        server.stdin.close()
        server.wait(WAIT_S)


@pytest.fixture
def blob(tmp_path: Path) -> str:
    """The path of a blob."""
    (tmp_path / "blobs").mkdir()
    return str(tmp_path / "blobs" / f"sha256-{'a' * 64}")


class _Watched:
    """Runners that are watched, and what they told."""

    def __init__(self) -> None:
        self.runners = Runners()
        self.told = asyncio.Event()
        self.runners.watch(self.told.set)

    async def wait(self) -> None:
        """Waits until the end of one was told."""
        async with asyncio.timeout(WAIT_S):
            await self.told.wait()
        self.told.clear()


@pytest.fixture
async def watched() -> _Watched:
    """What is watched, closed at the end of the test's loop by nobody but the test."""
    return _Watched()


async def test_the_end_of_a_runner_is_told_at_once(watched: _Watched, blob: str) -> None:
    with _process("--model", blob, "--port", "1") as process:
        assert await watched.runners.ended({blob: 1}) == frozenset()
        assert watched.runners.pid(blob) == process.pid
        process.kill()
        await watched.wait()
        assert await watched.runners.ended({blob: 1}) == {blob}
    assert watched.runners.pid(blob) is None
    watched.runners.close()


async def test_a_runner_that_came_instead_lives(watched: _Watched, blob: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(_process("--model", blob))
        await watched.runners.ended({blob: 1})
        first.kill()
        await watched.wait()
        assert await watched.runners.ended({blob: 1}) == {blob}
        stack.enter_context(_process("--model", blob))
        watched.runners.expect(blob)
        assert await watched.runners.ended({blob: 1}) == frozenset()
    watched.runners.close()


async def test_what_ollama_tells_anew_of_an_ended_runner_is_a_reason_to_look(
    watched: _Watched, blob: str
) -> None:
    with _process("--model", blob) as first:
        await watched.runners.ended({blob: 1})
        first.kill()
        await watched.wait()
    assert await watched.runners.ended({blob: 1}) == {blob}
    with _process("--model", blob):
        assert await watched.runners.ended({blob: 2}) == frozenset()
    watched.runners.close()


async def test_one_that_is_never_seen_counts_as_alive(watched: _Watched, blob: str) -> None:
    assert await watched.runners.ended({blob: 1}) == frozenset()
    watched.runners.close()


async def test_one_that_is_listed_no_more_is_forgotten(watched: _Watched, blob: str) -> None:
    with _process("--model", blob):
        await watched.runners.ended({blob: 1})
        assert await watched.runners.ended({}) == frozenset()
        assert watched.runners.pid(blob) is None
    watched.runners.close()


async def test_nothing_is_looked_for_where_nobody_listens(blob: str) -> None:
    runners = Runners()
    with _process("--model", blob):
        assert await runners.ended({blob: 1}) == frozenset()
        assert runners.pid(blob) is None


@pytest.mark.parametrize(
    "arguments", [["{}"], ["--mmproj", "{}"], ["--model", "{}.other"], ["--model"]]
)
def test_only_what_runs_the_model_is_its_runner(arguments: list[str], blob: str) -> None:
    with _process(*(text.format(blob) for text in arguments)):
        assert find_runners([blob]) == {}


def test_the_same_blob_in_another_store_is_another_runner(tmp_path: Path, blob: str) -> None:
    other = tmp_path / "other" / "blobs"
    other.mkdir(parents=True)
    with _process("--model", str(other / Path(blob).name)):
        assert find_runners([blob]) == {}


def test_a_folder_that_has_two_names_is_one(tmp_path: Path, blob: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "blobs")
    with _process("--model", str(tmp_path / "link" / Path(blob).name)) as process:
        assert find_runners([blob]) == {blob: process.pid}


def test_a_folder_that_is_not_seen_from_here_may_be_the_stores(tmp_path: Path, blob: str) -> None:
    """A container's: its processes are seen from the host, its files are elsewhere."""
    with _process("--model", str(tmp_path / "away" / Path(blob).name)) as process:
        assert find_runners([blob]) == {blob: process.pid}


def test_what_is_known_to_be_ours_is_told_from_what_may_be(tmp_path: Path, blob: str) -> None:
    elsewhere = str(tmp_path / "away" / Path(blob).name)
    with _process("--model", elsewhere):
        assert find_runners([blob], is_ours=True) == {}
        with _process("--model", blob) as ours, _process("--model", elsewhere):
            assert find_runners([blob]) == find_runners([blob], is_ours=True) == {blob: ours.pid}


async def test_another_ollamas_runner_of_the_same_file_is_not_taken_for_ours(
    watched: _Watched, tmp_path: Path, blob: str
) -> None:
    with _process("--model", str(tmp_path / "away" / Path(blob).name)):
        with _process("--model", blob) as ours:
            assert await watched.runners.ended({blob: 1}) == frozenset()
            ours.kill()
            await watched.wait()
        assert await watched.runners.ended({blob: 1}) == {blob}
    watched.runners.close()


async def test_a_containers_runner_is_watched_from_the_host(
    watched: _Watched, tmp_path: Path, blob: str
) -> None:
    with _process("--model", str(tmp_path / "away" / Path(blob).name)) as process:
        await watched.runners.ended({blob: 1})
        assert watched.runners.pid(blob) == process.pid
    watched.runners.close()


def test_a_runner_that_outlives_its_server_is_nobodys(blob: str) -> None:
    with _process("--model", blob, parent="init"):
        assert find_runners([blob]) == {}


async def test_without_pidfds_nothing_is_known(
    watched: _Watched, monkeypatch: pytest.MonkeyPatch, blob: str
) -> None:
    monkeypatch.delattr("os.pidfd_open")
    with _process("--model", blob):
        assert await watched.runners.ended({blob: 1}) == frozenset()
        assert watched.runners.pid(blob) is None


def test_where_processes_are_hidden_nothing_is_found(tmp_path: Path, blob: str) -> None:
    with _process("--model", blob):
        assert find_runners([blob], tmp_path) == {}
        assert find_runners([blob], tmp_path / "nothing") == {}


def test_what_a_process_has_in_memory_is_seen(blob: str) -> None:
    with _process("--model", blob) as process:
        assert read_bytes(process.pid) > 1 << 20
    assert read_bytes(process.pid) == 0
