"""Where a server that we start listens, and what keeps it from that."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from paddock.edges.managed_look import Answer, Serving, find_program, is_served, who_answers
from paddock.errors import OllamaError, Retry
from paddock.settings import load_settings


@pytest.mark.parametrize(
    ("host", "bind", "url"),
    [
        ("", ("127.0.0.1", 11434), "http://127.0.0.1:11434"),
        ("0.0.0.0", ("0.0.0.0", 11434), "http://127.0.0.1:11434"),
        ("http://0.0.0.0:1234/", ("0.0.0.0", 1234), "http://127.0.0.1:1234"),
        (":7777", ("127.0.0.1", 7777), "http://127.0.0.1:7777"),
        ("[::]:1", ("::", 1), "http://[::1]:1"),
    ],
)
def test_it_listens_where_ollama_would_and_is_asked_where_that_answers(
    host: str, bind: tuple[str, int], url: str
) -> None:
    settings = load_settings({"ollama_host": host or "127.0.0.1"})
    assert (settings.bind, settings.url) == (bind, url)


def serving(host: str, port: int, **more: str) -> Serving:
    scheme = more.get("scheme", "http")
    program = more.get("program")
    return Serving(f"{scheme}://{host}:{port}", host, port, program, {"PATH": "/nowhere"})


def unused() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_free_port_can_be_served() -> None:
    port = unused()
    assert await who_answers(f"http://127.0.0.1:{port}") == Answer()
    assert await is_served(serving("127.0.0.1", port)) is False


async def test_a_server_of_ours_speaks_no_tls() -> None:
    with pytest.raises(OllamaError, match="one that paddock starts speaks http") as raised:
        await is_served(serving("127.0.0.1", unused(), scheme="https"))
    assert (raised.value.reason, raised.value.retry) == ("NotServable", Retry.STALLED)


async def test_an_address_of_another_host_cannot_be_served() -> None:
    """Nobody can be asked at the address of all, and no host has the one of documentation."""
    other = Serving("http://127.0.0.1:1", "192.0.2.1", unused(), None, {})
    with pytest.raises(OllamaError, match="set OLLAMA_HOST to an address of this host") as raised:
        await is_served(other)
    assert raised.value.reason == "NotServable"


def test_a_program_that_may_not_be_run_is_told(tmp_path: Path) -> None:
    program = tmp_path / "ollama"
    program.write_text("")
    program.chmod(0o644)
    with pytest.raises(OllamaError, match="cannot be run by this user"):
        find_program(serving("127.0.0.1", 1, program=str(program)))


def test_without_a_program_it_is_told_where_to_get_one() -> None:
    with pytest.raises(OllamaError, match="no program ollama on the PATH") as raised:
        find_program(serving("127.0.0.1", 1))
    assert raised.value.reason == "OllamaNotFound"
