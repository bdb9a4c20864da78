"""Memory that is short, and windows, on a real Ollama: who has a place, and who is told why not."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paddock_cli import Daemon, User
from real import RealOllama, StartOllama
from residents import LongAnswer, runners, stopped_at_start
from tiny_models import chat_model

TWO = """\
  first:
    source: {gguf: ./smol.gguf}
    preload: true
    priority: 1
  second:
    source: {gguf: ./other.gguf}
    preload: true
"""


@pytest.fixture
def narrow(start_ollama: StartOllama, tmp_path: Path) -> User:
    """A user with two tiny models, beside a server that holds one at a time."""
    return _user(start_ollama(OLLAMA_MAX_LOADED_MODELS="1"), tmp_path)


@pytest.fixture
def wide(ollama: RealOllama, tmp_path: Path) -> User:
    """The same, beside a server that holds both."""
    return _user(ollama, tmp_path)


def _user(server: RealOllama, folder: Path) -> User:
    user = User(folder / "user", server)
    content = chat_model()
    user.gguf.write_bytes(content)
    (user.folder / "other.gguf").write_bytes(content + bytes(32))
    return user


def test_two_pins_in_the_room_of_one_are_settled_by_priority(narrow: User) -> None:
    narrow.declare(TWO)
    with narrow.daemon() as daemon:
        settled = {"first": ("True", "AsDeclared"), "second": ("False", "DoesNotFit")}
        daemon.wait(lambda: narrow.statuses() == settled, "they are settled")
        assert list(narrow.server.ps()) == ["first:latest"]
        with narrow.server.recorded() as requests:
            asked = len(narrow.server.requests_log()) + 6
            daemon.wait(lambda: len(narrow.server.requests_log()) >= asked, "it has looked twice")
        assert not any(request.mutates for request in requests)


def test_beyond_the_limit_a_pin_is_not_loaded_and_says_so(wide: User) -> None:
    wide.declare(TWO, head="version: 1\nresidency: {memory_limit: 1KiB}\nmodels:\n")
    wide.apply(code=3)
    assert wide.server.ps() == {}
    assert wide.statuses() == dict.fromkeys(("first", "second"), ("False", "DoesNotFit"))


def test_a_model_whose_preload_is_taken_out_of_the_file_is_let_go(wide: User) -> None:
    wide.declare(TWO)
    with wide.daemon() as daemon:
        daemon.wait_ready()
        assert sorted(wide.server.ps()) == ["first:latest", "second:latest"]
        wide.declare(TWO.replace("    preload: true\n    priority", "    priority"))
        daemon.wait(lambda: list(wide.server.ps()) == ["second:latest"], "the first is let go")


@pytest.fixture
def three(start_ollama: StartOllama, tmp_path: Path) -> User:
    """A user with three models, beside a server that holds two. By itself that would put out the
    first one, whose blob comes first by name."""
    user = User(tmp_path / "user", start_ollama(OLLAMA_MAX_LOADED_MODELS="2"))
    contents = [chat_model() + bytes(32 * number) for number in range(3)]
    contents.sort(key=lambda content: hashlib.sha256(content).digest())
    for file, content in zip(("smol", "other", "third"), contents, strict=True):
        (user.folder / f"{file}.gguf").write_bytes(content)
    user.declare(TWO + "  third: {source: {gguf: ./third.gguf}}\n")
    return user


def _asks_nothing(daemon: Daemon, server: RealOllama) -> None:
    with server.recorded() as requests:
        asked = len(server.requests_log()) + 6
        daemon.wait(lambda: len(server.requests_log()) >= asked, "it has looked on")
    assert not any(request.mutates for request in requests)


WAITS = ("False", "MemoryInUse")
PINS = ["first:latest", "second:latest"]


def test_a_client_puts_out_the_lower_pin_which_is_back_after_its_use(three: User) -> None:
    server = three.server
    with three.daemon(PADDOCK_POLL="1") as daemon:
        daemon.wait_ready()
        assert sorted(server.ps()) == PINS
        before = set(runners(server))
        answer = LongAnswer(server, "third", tokens=5000)
        [used] = set(runners(server)) - before
        answer.hold(used)
        assert sorted(server.ps()) == ["first:latest", "third:latest"]
        daemon.wait(lambda: three.statuses()["second"] == WAITS, "the lower pin waits")
        _asks_nothing(daemon, server)
        answer.finish()
        daemon.wait(lambda: sorted(server.ps()) == PINS, "the lower pin is back")
        assert len(before & set(runners(server))) == 1, "the higher one was never away"


def test_nothing_is_loaded_behind_a_clients_load_that_is_under_way(three: User) -> None:
    server = three.server
    digest = hashlib.sha256((three.folder / "third.gguf").read_bytes()).hexdigest()
    blob = str(server.models_dir / "blobs" / f"sha256-{digest}")
    with three.daemon(PADDOCK_POLL="1") as daemon, ThreadPoolExecutor(1) as client:
        daemon.wait_ready()
        with stopped_at_start(blob) as has_stopped:
            asked = client.submit(server.generate, "third", "ba")
            daemon.wait(has_stopped, "it is being loaded")
            daemon.wait(lambda: three.statuses()["second"] == WAITS, "the lower pin waits")
            _asks_nothing(daemon, server)
        asked.result(timeout=60)
        daemon.wait(lambda: sorted(server.ps()) == PINS, "the lower pin is back")
