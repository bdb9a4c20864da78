"""Memory that is short, and windows, on a real Ollama: who has a place, and who is told why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock_cli import User
from real import RealOllama, StartOllama
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
