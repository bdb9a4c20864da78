"""Connections that wait for their next request, over real sockets: when one is used again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from paddock.endpoint import exchange as module
from paddock.endpoint.collecting import collect
from paddock.endpoint.exchange import Exchange, ExchangeFailed, open_exchange
from paddock.endpoint.upstream import Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WAIT_S = 5.0


@dataclass
class Peer:
    """What listens where Ollama would: it gives `answer`, and notes each connection's requests."""

    answer: bytes = OK
    connections: list[list[bytes]] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests: list[bytes] = []
        self.connections.append(requests)
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                self.asked.release()
                writer.write(self.answer)

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.close()


@pytest.fixture
async def peer() -> AsyncIterator[tuple[Peer, Upstream]]:
    it = Peer()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    upstream = Upstream.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    yield it, upstream
    upstream.pool.close()
    it.hang_up()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)


async def ask(upstream: Upstream, target: str = "/") -> bytes:
    request = upstream.request("GET", target, [], b"")
    exchange = await open_exchange(upstream, request, connect_s=WAIT_S)
    try:
        return await _whole(exchange)
    finally:
        exchange.close()


async def _whole(exchange: Exchange) -> bytes:
    head = await exchange.head(WAIT_S)
    return await collect(exchange, head, max_bytes=1000, timeout_s=WAIT_S)


async def test_a_connection_is_used_again_after_a_clean_end(peer: tuple[Peer, Upstream]) -> None:
    it, upstream = peer
    for target in ("/one", "/two"):
        assert await ask(upstream, target) == b"ok"
    assert [len(requests) for requests in it.connections] == [2]


async def test_two_requests_at_once_never_share_a_connection(peer: tuple[Peer, Upstream]) -> None:
    it, upstream = peer
    await ask(upstream)
    assert list(await asyncio.gather(ask(upstream), ask(upstream))) == [b"ok", b"ok"]
    assert sorted(len(requests) for requests in it.connections) == [1, 2]


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"more",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    ],
    ids=["surplus", "HTTP/1.0", "close"],
)
async def test_a_connection_whose_end_is_not_clean_is_closed(
    peer: tuple[Peer, Upstream], answer: bytes
) -> None:
    it, upstream = peer
    it.answer = answer
    for _ in range(2):
        assert await ask(upstream) == b"ok"
    assert [len(requests) for requests in it.connections] == [1, 1]


async def test_a_connection_that_closed_while_it_waited_is_not_noticed_by_a_client(
    peer: tuple[Peer, Upstream],
) -> None:
    it, upstream = peer
    await ask(upstream)
    request = upstream.request("GET", "/again", [], b"")
    it.hang_up()  # the loop has not seen it yet when the request is sent
    exchange = await open_exchange(upstream, request, connect_s=WAIT_S)
    assert await _whole(exchange) == b"ok"
    exchange.close()
    assert len(it.connections) == 2


async def test_a_request_is_repeated_once_and_not_where_an_answer_has_begun(
    peer: tuple[Peer, Upstream],
) -> None:
    it, upstream = peer
    await ask(upstream)
    await it.asked.acquire()
    it.answer = b"HTTP/1.1 200"
    exchange = await open_exchange(
        upstream, upstream.request("GET", "/", [], b""), connect_s=WAIT_S
    )
    await it.asked.acquire()
    asyncio.get_running_loop().call_later(0.05, it.hang_up)
    with pytest.raises(ExchangeFailed, match="closed the connection"):
        await exchange.head(WAIT_S)
    assert len(it.connections) == 1


async def test_a_large_request_is_not_kept_to_be_repeated(peer: tuple[Peer, Upstream]) -> None:
    _, upstream = peer
    await ask(upstream)
    exchange = await open_exchange(
        upstream,
        upstream.request("GET", "/", [(b"X", b"x" * module._MAX_REPEATED_BYTES)], b""),
        connect_s=WAIT_S,
    )
    assert exchange._again is None
    exchange.close()


async def test_a_closed_pool_keeps_nothing(peer: tuple[Peer, Upstream]) -> None:
    it, upstream = peer
    await ask(upstream)
    upstream.pool.close()
    assert upstream.pool.take() is None
    for _ in range(2):
        assert await ask(upstream) == b"ok"
    assert [len(requests) for requests in it.connections] == [1, 1, 1]


async def test_a_connection_that_cannot_be_read_is_closed_and_told(
    peer: tuple[Peer, Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no more files may be opened: reading takes a second descriptor."""
    _, upstream = peer

    def dup(_: int) -> int:
        raise OSError(errno.EMFILE, "")

    upstream.pool.lanes()
    monkeypatch.setattr(os, "dup", dup)
    with pytest.raises(ExchangeFailed, match="cannot be reached: Too many open files"):
        await ask(upstream)
