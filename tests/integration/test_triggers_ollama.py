"""A restart of Ollama is noticed at once: no poll comes to help in these tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from at_rest import NO_POLL, settle
from paddock.edges.ollama.presence import follow_presence
from paddock_cli import SMOL, Daemon, User
from real import RealOllama

WAIT_S = 30.0
FOREVER = "23"  # Ollama's "for ever" lies in the year 2318 or after


def _is_pinned(user: User) -> bool:
    running = user.server.ps().get("smol:latest")
    return running is not None and running["expires_at"].startswith(FOREVER)


@pytest.fixture
def daemon(user: User) -> Iterator[Daemon]:
    """A daemon whose one model is pinned, at rest."""
    user.declare(f"{SMOL}    preload: true\n    parameters: {{num_ctx: 512}}\n")
    with user.daemon(**NO_POLL) as running:
        running.wait_ready()
        settle(user.server)
        yield running


@pytest.mark.parametrize("end", [RealOllama.kill, RealOllama.stop])
def test_a_pin_is_back_after_a_restart(
    user: User, daemon: Daemon, end: Callable[[RealOllama], None]
) -> None:
    for _ in range(2):
        end(user.server)
        daemon.wait(lambda: daemon.condition("OllamaReachable")[0] == "False", "its end is seen")
        user.server.start()
        daemon.wait(lambda: _is_pinned(user), "the pin is back")
        daemon.wait_ready()


def test_a_restart_too_quick_for_a_look_is_noticed(user: User, daemon: Daemon) -> None:
    user.server.kill()
    user.server.start()
    daemon.wait(lambda: _is_pinned(user), "the pin is back")


def test_what_has_expired_is_loaded_once_more_after_a_restart(user: User) -> None:
    user.declare(f"{SMOL}    preload: true\n    keep_alive: 3s\n    parameters: {{num_ctx: 512}}\n")
    with user.daemon() as daemon:
        daemon.wait(lambda: "smol:latest" in user.server.ps(), "it is loaded")
        daemon.wait(lambda: not user.server.ps(), "it has expired")
        daemon.wait_ready()
        assert not user.server.ps(), "expiry is no drift"
        user.server.restart()
        daemon.wait(lambda: "smol:latest" in user.server.ps(), "it is loaded once more")


def test_a_daemon_at_rest_asks_nothing_to_know_that_ollama_is_there(
    user: User, daemon: Daemon
) -> None:
    with user.server.recorded() as requests:
        settle(user.server)
    assert requests == []
    assert daemon.is_ready()


class _Heard:
    """What was heard of a server."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._news = asyncio.Event()

    def hear(self, word: str) -> Callable[[], None]:
        def heard() -> None:
            self.words.append(word)
            self._news.set()

        return heard

    async def until(self, words: list[str]) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.words != words:
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def _following(url: str) -> AsyncIterator[_Heard]:
    heard = _Heard()
    task = asyncio.create_task(follow_presence(url, heard.hear("gone"), heard.hear("back")))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_its_end_and_its_return_are_told_once_each(ollama: RealOllama) -> None:
    async with _following(ollama.url) as heard:
        await asyncio.to_thread(ollama.restart)
        await heard.until(["gone", "back"])
        await asyncio.to_thread(ollama.kill)
        await heard.until(["gone", "back", "gone"])
        await asyncio.to_thread(ollama.start)
        await heard.until(["gone", "back", "gone", "back"])


async def test_a_server_that_comes_later_is_told(ollama: RealOllama) -> None:
    await asyncio.to_thread(ollama.stop)
    async with _following(ollama.url) as heard:
        await heard.until(["gone"])
        await asyncio.to_thread(ollama.start)
        await heard.until(["gone", "back"])


async def test_a_proxy_that_closes_idle_connections_is_no_restart(ollama: RealOllama) -> None:
    """It answers again at once, so nothing has gone."""
    opened: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", ollama.port)
        up_writer.write(await reader.readuntil(b"\r\n\r\n"))
        writer.write(await up_reader.readuntil(b"\r\n\r\n"))
        await opened.put(writer)
        await reader.read()
        for one in (writer, up_writer):
            one.close()

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    async with proxy, _following(f"http://127.0.0.1:{port}") as heard:
        for _ in range(2):
            async with asyncio.timeout(WAIT_S):
                writer = await opened.get()
            writer.close()
        async with asyncio.timeout(WAIT_S):
            await opened.get()
        assert heard.words == []
        proxy.close()
        await asyncio.to_thread(ollama.stop)
