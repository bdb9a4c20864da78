"""A registry in trouble: what a pull says, what it leaves, and how it goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from paddock.core.names import Name
from paddock.edges.ollama import Ollama, pulling
from paddock.errors import OllamaError
from paddock_cli import COMMAND, UnixConnection, User
from prometheus_text import parse
from provider import RealPaths
from real import RealOllama
from registry import LoopbackRegistry, Programs
from terminal import Terminal

SLOW_BYTES_PER_S = 25_000_000  # 4 s for the model: time enough to see it, and to stop it


@pytest.fixture(scope="module")
def stocked(
    real: RealPaths, registry_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackRegistry]:
    """A registry with `smol:v1`, made by another server."""
    folder = tmp_path_factory.mktemp("stocked")
    with (
        LoopbackRegistry(registry_programs, folder / "registry") as registry,
        RealOllama(real, folder / "ollama") as author,
    ):
        author.create_from_gguf("smol", modelfile_lines=["PARAMETER num_ctx 512"])
        registry.push(author, "smol", "smol:v1")
        author.stop()
        yield registry


@pytest.fixture
def shop(stocked: LoopbackRegistry) -> Iterator[LoopbackRegistry]:
    """That registry in good health, whatever the test before did to it."""
    yield stocked
    stocked.stop()
    stocked.reset()
    stocked.start()


def _name(shop: LoopbackRegistry) -> str:
    return f"{shop.reference('smol')}:v1"


def _declare(user: User, shop: LoopbackRegistry, **more: str) -> None:
    keys = {"registry": f'"{_name(shop)}"', "insecure": "true", **more}
    source = ", ".join(f"{key}: {value}" for key, value in keys.items() if value)
    user.declare(f'  "{_name(shop)}":\n    source: {{{source}}}\n')


def _failure(user: User) -> tuple[str, str]:
    """The reason and the message of the one model that is not ready after an apply."""
    [model] = user.apply("-o", "json", code=3).json["status"]["models"]
    found = next(c for c in model["conditions"] if c["type"] == "Ready")
    return found["reason"], found["message"]


def _condition(document: Any, kind: str) -> tuple[str, str, str]:
    [model] = document["models"]
    found = next(c for c in model["conditions"] if c["type"] == kind)
    return found["status"], found["reason"], found["message"]


def _blobs(user: User) -> list[str]:
    return sorted(path.name for path in (user.server.models_dir / "blobs").iterdir())


def _partial_bytes(user: User) -> int:
    """What Ollama has of a blob under way; the file is sparse."""
    blobs = user.server.models_dir / "blobs"
    found = [p.stat() for p in blobs.glob("*-partial")] if blobs.is_dir() else []
    return sum(stat.st_blocks * 512 for stat in found)


class _Apply:
    """`paddock apply` under way; ended by its test."""

    def __init__(self, user: User, *arguments: str):
        self.process = subprocess.Popen(
            [*COMMAND, "apply", *arguments],
            env=user.environment,
            cwd=user.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def _sent_bytes(shop: LoopbackRegistry, expected: int) -> int:
    """What was sent so far: the registry counts an answer a moment after it has come."""
    until_s = time.monotonic() + 10
    while shop.sent_bytes() < expected and time.monotonic() < until_s:
        time.sleep(0.02)
    return shop.sent_bytes()


def _wait(fact: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    async def until() -> None:
        async with asyncio.timeout(30):
            while not fact():
                assert process.poll() is None, process.communicate()
                await asyncio.sleep(0.02)

    asyncio.run(until())


ELSEWHERE = "add_header WWW-Authenticate 'Bearer realm=\"http://elsewhere/token\"' always;"
TROUBLES = {
    "a 404": ("return 404;", "NotInRegistry", "check the name and its tag"),
    "a 401 without a challenge": ("return 401;", "NeedsCredentials", "ollama signin"),
    "a 401 of elsewhere": (
        f"{ELSEWHERE} return 401;",
        "NeedsCredentials",
        "ollama signin",
    ),
    "a 403": ("return 403;", "NeedsCredentials", "ollama signin"),
    "a 412": ("return 412;", "OllamaTooOld", "upgrade Ollama"),
    "a 429": ("return 429;", "RegistryFailed", "429"),
    "a 500 with a page": ("return 500;", "RegistryFailed", "500"),
    "a page": ('return 200 "<html><body>log in</body></html>";', "RegistryFailed", "'<'"),
    "a manifest of nothing": ('return 200 "{}";', "RegistryFailed", "is it a registry?"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_a_registry_answers_is_told_and_leaves_nothing(
    user: User, shop: LoopbackRegistry, trouble: str
) -> None:
    answer, reason, words = TROUBLES[trouble]
    _declare(user, shop)
    shop.rules(f"location ~ /manifests/ {{ {answer} }}")
    found, message = _failure(user)
    assert found == reason, message
    assert words in message
    assert "<html" not in message
    assert user.server.tags() == {}
    assert _blobs(user) == []
    assert [*(user.server.models_dir / "manifests").rglob("*.*")] == []


def test_a_registry_that_is_not_there_is_told(user: User, shop: LoopbackRegistry) -> None:
    _declare(user, shop)
    shop.cut()
    reason, message = _failure(user)
    assert (reason, "refused" in message) == ("RegistryUnreachable", True)


@pytest.mark.parametrize("pinned", [False, True])
def test_plain_http_without_the_key_says_which_key(
    user: User, shop: LoopbackRegistry, pinned: bool
) -> None:
    digest = f'"{shop.digest("smol", "v1")}"' if pinned else ""
    _declare(user, shop, insecure="", digest=digest)
    reason, message = _failure(user)
    assert (reason, "insecure: true" in message) == ("InsecureRegistry", True), message
    _declare(user, shop, digest=digest)
    user.apply()


def test_a_blob_that_is_not_what_its_name_says_is_never_a_model(
    user: User, shop: LoopbackRegistry
) -> None:
    _declare(user, shop)
    digest = next(name for name in _digests(shop) if shop.blob(name).stat().st_size > 10_000_000)
    _flip(shop.blob(digest))
    try:
        assert _failure(user)[0] == "BlobCorrupt"
        assert user.server.tags() == {}
        assert digest.replace(":", "-") not in _blobs(user)
    finally:
        _flip(shop.blob(digest))
    user.apply()
    assert user.server.generate(_name(shop), "Hi")["response"]


def _digests(shop: LoopbackRegistry) -> list[str]:
    manifest = json.loads(shop.blob(shop.digest("smol", "v1")).read_text())
    return [layer["digest"] for layer in manifest["layers"]]


def _flip(path: Path) -> None:
    """Changes one byte, or changes it back."""
    with path.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)[0]
        file.seek(1_000_000)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_apply_that_is_stopped_in_mid_pull_is_gone_on_with(
    user: User, shop: LoopbackRegistry, number: signal.Signals
) -> None:
    """Proved by the bytes that left the registry: the model came once, in two parts."""
    _declare(user, shop)
    size = user.gguf.stat().st_size
    shop.slow(SLOW_BYTES_PER_S)
    sent = shop.sent_bytes()
    apply = _Apply(user)
    _wait(lambda: _partial_bytes(user) > 0.4 * size, apply.process)
    code, out, err = apply.end(number)
    assert code == (130 if number is signal.SIGINT else -15), err
    assert (out, "Traceback" in err) == ("", False)
    assert user.server.tags() == {}
    assert all("-partial" in name for name in _blobs(user))
    shop.slow(0)
    user.apply()
    assert f"sha256:{user.server.tags()[_name(shop)]['digest']}" == shop.digest("smol", "v1")
    assert not any("-partial" in name for name in _blobs(user))
    assert size <= _sent_bytes(shop, sent + size) - sent < 1.25 * size
    assert user.apply().out.startswith("No changes.")


def test_a_daemon_that_is_stopped_in_mid_pull_goes_on_at_its_next_start(
    user: User, shop: LoopbackRegistry
) -> None:
    _declare(user, shop)
    size = user.gguf.stat().st_size
    shop.slow(SLOW_BYTES_PER_S)
    sent = shop.sent_bytes()
    with user.daemon() as daemon:
        daemon.wait(lambda: _partial_bytes(user) > 0.4 * size, "half of it came")
    assert all("-partial" in name for name in _blobs(user))
    shop.slow(0)
    with user.daemon() as daemon:
        daemon.wait_ready()
    assert size <= _sent_bytes(shop, sent + size) - sent < 1.25 * size


def test_a_note_that_ollama_left_empty_does_not_end_all_pulls_of_a_blob(
    user: User, shop: LoopbackRegistry
) -> None:
    """Stopped at the wrong moment, a server leaves one, and fails with `EOF` ever after."""
    _declare(user, shop)
    size = user.gguf.stat().st_size
    shop.slow(SLOW_BYTES_PER_S)
    apply = _Apply(user)
    _wait(lambda: _partial_bytes(user) > 0.2 * size, apply.process)
    apply.end(signal.SIGINT)
    [note] = (user.server.models_dir / "blobs").glob("*-partial-0")
    note.write_bytes(b"")
    os.utime(note, (0, 0))
    other = note.with_name(f"sha256-{'0' * 64}-partial-0")
    other.write_text('{"N":0,"Offset":0,"Size":9,"Completed":3}\n')
    body = {"model": _name(shop), "insecure": True, "stream": False}
    assert user.server.api("POST", "/api/pull", body).body == {"error": "EOF"}
    shop.slow(0)
    assert "broken partial pull removed" in user.apply().err
    assert user.server.generate(_name(shop), "Hi")["response"]
    assert other.exists(), "what can be read is gone on with"


@pytest.mark.parametrize("hurt", ["cut", "kill_backend"])
def test_a_registry_that_dies_in_mid_blob_is_waited_for(
    user: User, shop: LoopbackRegistry, hurt: str
) -> None:
    """Ollama itself tries again for a minute; the daemon does after that."""
    _declare(user, shop)
    shop.slow(SLOW_BYTES_PER_S)
    with user.daemon() as daemon:
        daemon.wait(lambda: _partial_bytes(user) > 10_000_000, "some of it came")
        getattr(shop, hurt)()
        assert not daemon.is_ready()
        shop.stop()
        shop.start()
        shop.slow(0)
        daemon.wait_ready()
    assert user.server.generate(_name(shop), "Hi")["response"]


def test_a_registry_that_comes_back_is_asked_again_without_anybodys_doing(
    user: User, shop: LoopbackRegistry
) -> None:
    _declare(user, shop)
    shop.cut()
    with user.daemon() as daemon:
        daemon.wait(
            lambda: _condition(daemon.status(), "Reconciling")[1] == "RegistryUnreachable",
            "it says that the registry does not answer",
        )
        assert "(try 2 at " in _condition(daemon.status(), "Reconciling")[2]
        shop.mend()
        daemon.wait_ready()


def test_apply_tries_again_at_once_what_the_daemon_would_leave_for_later(
    user: User, shop: LoopbackRegistry
) -> None:
    """Whoever asks has mended what was wrong; a stalled model would wait for an edit."""
    _declare(user, shop)
    shop.rules("location ~ /manifests/ { return 404; }")
    with user.daemon() as daemon:
        daemon.wait(lambda: _condition(daemon.status(), "Stalled")[0] == "True", "it is stalled")
        assert _condition(daemon.status(), "Stalled")[1] == "NotInRegistry"
        assert "NotInRegistry" in user.apply(code=3).out
        shop.rules("")
        result = user.apply()
        assert "1 of 1 model ready" in result.out
        assert daemon.is_ready()


async def test_a_pull_that_brings_nothing_new_is_given_up_and_says_so(
    ollama: RealOllama, shop: LoopbackRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ollama goes on writing lines that say nothing new, for ever."""
    monkeypatch.setattr(pulling, "PULL_STALL_S", 0.5)
    await asyncio.to_thread(shop.slow, SLOW_BYTES_PER_S)
    client, lines = Ollama(ollama.url), list[pulling.PullLine]()

    def progress(line: pulling.PullLine) -> None:
        if line.done_bytes > 10_000_000 and not any(x.done_bytes > 10_000_000 for x in lines):
            shop.freeze()
        lines.append(line)

    with pytest.raises(OllamaError, match="stands still") as caught:
        await client.pull(Name.parse(_name(shop)), insecure=True, progress=progress)
    assert (caught.value.reason, caught.value.retry.value) == ("PullStalled", "backoff")
    assert len(lines) > len({*lines})
    await asyncio.to_thread(shop.cut)
    await asyncio.to_thread(shop.slow, 0)
    seen = len(lines)
    await client.pull(Name.parse(_name(shop)), insecure=True, progress=lines.append)
    first = next(line for line in lines[seen:] if line.digest)
    assert first.done_bytes > 10_000_000, "it goes on where it was"
    await client.close()


def test_a_long_pull_is_told_of_everywhere(user: User, shop: LoopbackRegistry) -> None:
    """In status, as events, in the metrics and on the terminal of an apply that waits for it."""
    _declare(user, shop)
    shop.slow(SLOW_BYTES_PER_S // 4)  # 16 s: a plain line comes every 5 s
    with user.daemon() as daemon:
        apply = _Apply(user)
        _wait(lambda: _is_told(daemon.status()), apply.process)
        assert f"pull {_name(shop)}: " in user.paddock("status").out
        events = _events(user, until="done")
        code, out, err = apply.end()
        assert code == 0, (out, err)
        daemon.wait_ready()
        assert not _is_told(daemon.status())
        metrics, later = _metrics(user), _events(user, until="done")
    progress = [event for event in events if event["result"] == "progress"]
    assert [event["id"] for event in progress] == sorted({event["id"] for event in progress})
    done = [event["progress"]["done_bytes"] for event in progress]
    assert done == sorted(done)
    assert {event["model"] for event in progress} == {_name(shop)}
    told = [line for line in err.splitlines() if line.startswith(f"{_name(shop)}: pull ")]
    *lines, last = told
    assert lines, err
    assert all(line.endswith(" left") for line in lines), err
    assert last.endswith(" s)")
    size = user.gguf.stat().st_size
    assert 0.7 * size < metrics["paddock_pulled_bytes_total"].value() < size + 100_000
    assert not [event for event in later if event["result"] == "progress"]


def _is_told(document: Any) -> bool:
    status, _, message = _condition(document, "Reconciling")
    return status == "True" and " MB (" in message and "left" in message


def _events(user: User, *, until: str) -> list[dict[str, Any]]:
    """The events up to the first action with this result."""
    connection = UnixConnection(user.socket)
    connection.request("GET", "/paddock/events")
    found: list[dict[str, Any]] = []
    for line in connection.getresponse():
        if line.startswith(b"data: "):
            found.append(json.loads(line.removeprefix(b"data: ")))
            if found[-1]["result"] == until:
                break
    connection.close()
    return found


def _metrics(user: User) -> Any:
    connection = UnixConnection(user.socket)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return parse(text)


def test_apply_through_the_daemon_shows_each_outcome_once_as_it_comes(
    user: User, shop: LoopbackRegistry
) -> None:
    user.declare("", head="version: 1\nmodels: {}\n")
    with user.daemon(PADDOCK_POLL="600", PADDOCK_INTERVAL="600"):
        shop.slow(SLOW_BYTES_PER_S)
        _declare(user, shop)
        result = user.apply()
    told = [line for line in result.err.splitlines() if f"{_name(shop)}: pull " in line]
    assert len(told) == 1, result.err


@pytest.mark.parametrize("through_daemon", [False, True])
def test_on_a_terminal_a_pull_has_a_bar_that_is_gone_at_the_end(
    user: User, shop: LoopbackRegistry, through_daemon: bool
) -> None:
    _declare(user, shop)
    shop.slow(SLOW_BYTES_PER_S)
    with ExitStack() as stack:
        if through_daemon:
            user.declare("", head="version: 1\nmodels: {}\n")
            stack.enter_context(user.daemon(PADDOCK_POLL="600", PADDOCK_INTERVAL="600"))
            _declare(user, shop)
        command = [*COMMAND, "apply"]
        terminal = stack.enter_context(Terminal(command, user.environment, term="xterm"))
        terminal.wait_for("[####")
        terminal.wait_for(" s left")
        terminal.wait_for(f"{_name(shop)}: pull {_name(shop)} (")
        assert terminal.ends() == 0
    before, erased, after = terminal.seen.rpartition("\x1b[1A\x1b[J")
    assert erased
    assert "[#" in before
    assert "[#" not in after, "the bar is gone"
    assert f"{_name(shop)}: pull " in after


@pytest.mark.parametrize("through_daemon", [False, True])
def test_a_time_limit_holds_during_a_pull(
    user: User, shop: LoopbackRegistry, through_daemon: bool
) -> None:
    _declare(user, shop)
    shop.slow(2_000_000)
    if through_daemon:
        with user.daemon():
            result = user.paddock("apply", "--timeout", "1s")
    else:
        result = user.paddock("apply", "--timeout", "1s")
    assert (result.code, result.out) == (1, ""), result
    assert result.err.splitlines()[-1].startswith("paddock: not done within 1 s; ")
    assert ("the daemon goes on" in result.err) is through_daemon
    assert user.server.tags() == {}
