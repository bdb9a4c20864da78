"""The relay's pace and its ends, over real sockets: what each side is left with."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator

import pytest

from endpoints import until
from paddock.endpoint.framing import Chunked, Length
from paddock.endpoint.ports import EndpointLimits
from paddock.endpoint.pump import Ending
from paddock.endpoint.upstream import Pool
from pumps import HEAD, Pumped, pumped

CHUNK = b'5\r\n{"a"}\r\n'
LARGE = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

Between = Callable[..., contextlib.AbstractAsyncContextManager[Pumped]]


@pytest.fixture(params=["transport", "lane"])
def between(request: pytest.FixtureRequest) -> Iterator[Between]:
    """A stream whose chunks come by the transport alone (as over TLS), or in a lane."""
    pool = Pool() if request.param == "lane" else None
    yield functools.partial(pumped, pool=pool)
    if pool is not None:
        pool.close()


async def test_bytes_pass_as_they_came_and_nothing_beyond_the_end(between: Between) -> None:
    async with between(Chunked()) as bench:
        for part in (CHUNK[:3], CHUNK[3:] + CHUNK, b"0\r", b"\n\r\nnot ours"):
            await bench.send(part)
            await asyncio.sleep(0)
        assert await bench.pump.run() is Ending.FINISHED
        whole = HEAD + CHUNK * 2 + b"0\r\n\r\n"
        assert await bench.received(len(whole)) == whole
        assert bench.pump.keep_alive
        with pytest.raises(BlockingIOError):
            bench.client.recv(1)


async def test_a_client_that_does_not_read_stops_ollama_and_fills_no_memory(
    between: Between,
) -> None:
    async with between(Chunked()) as bench:
        run = asyncio.create_task(bench.pump.run())
        flood = asyncio.create_task(bench.send(LARGE * 256))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(flood)
        assert bench.towards_client.get_write_buffer_size() <= 64 * 1024
        assert not run.done()
        assert await bench.received(len(HEAD) + 256 * len(LARGE)) == HEAD + LARGE * 256
        await flood
        await bench.send(b"0\r\n\r\n")
        assert await run is Ending.FINISHED


async def test_a_client_that_never_reads_again_is_dropped(between: Between) -> None:
    async with between(Chunked(), limits=EndpointLimits(client_stall_s=0.1)) as bench:
        flood = asyncio.create_task(bench.send(LARGE * 256))
        assert await bench.pump.run() is Ending.CUT
        assert bench.towards_client.is_closing()
        flood.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await flood


async def test_a_slow_reader_is_held_back_and_the_stream_beside_it_goes_on(
    between: Between,
) -> None:
    async with between(Chunked()) as slow, between(Chunked()) as quick:
        runs = [asyncio.create_task(bench.pump.run()) for bench in (slow, quick)]
        flood = asyncio.create_task(slow.send(LARGE * 256))
        await until(lambda: slow.towards_client.get_write_buffer_size() > 0, 5)
        for _ in range(1000):
            await quick.send(CHUNK)
        whole = HEAD + CHUNK * 1000
        assert await quick.received(len(whole)) == whole
        assert not flood.done(), "ollama is held back"
        assert slow.towards_client.get_write_buffer_size() <= 64 * 1024
        assert await slow.received(len(HEAD) + 256 * len(LARGE)) == HEAD + LARGE * 256
        for bench in (slow, quick):
            await bench.send(b"0\r\n\r\n")
        assert await asyncio.gather(*runs, flood) == [Ending.FINISHED, Ending.FINISHED, None]


async def test_ollama_sees_the_end_of_its_connection_as_soon_as_the_client_is_given_up(
    between: Between,
) -> None:
    async with between(Chunked()) as bench:
        await bench.send(CHUNK)
        assert await bench.received(len(HEAD + CHUNK)) == HEAD + CHUNK
        bench.pump.stop()
        assert await bench.left() == b""


async def test_a_client_that_has_gone_is_noticed_by_the_next_chunk(between: Between) -> None:
    async with between(Chunked()) as bench:
        await bench.send(CHUNK)
        assert await bench.received(len(HEAD + CHUNK)) == HEAD + CHUNK
        bench.client.close()
        await bench.send(CHUNK)
        assert await bench.pump.run() is Ending.CUT
        bench.pump.stop()
        assert await bench.left() == b""


async def test_chunks_keep_their_order_when_the_client_falls_behind_and_catches_up(
    between: Between,
) -> None:
    parts = [b"%x\r\n%b\r\n" % (size, b"%d" % (size % 10) * size) for size in range(1, 2000)]
    whole = HEAD + b"".join(parts)
    async with between(Chunked()) as bench:
        run = asyncio.create_task(bench.pump.run())
        flood = asyncio.create_task(bench.send(b"".join(parts)))
        got = b""
        while len(got) < len(whole):
            got += await bench.received(min(50_000, len(whole) - len(got)))
        assert got == whole
        await flood
        await bench.send(b"0\r\n\r\n")
        assert await run is Ending.FINISHED


async def test_an_error_is_told_after_what_waits_for_a_slow_client(between: Between) -> None:
    async with between(Chunked()) as bench:
        sent, got = HEAD, b""
        while not bench.towards_client.get_write_buffer_size():
            bench.pump._receive(LARGE)
            sent += LARGE
        with contextlib.suppress(BlockingIOError):
            while more := bench.client.recv(65536):
                got += more  # there is room again, and the transport has not noticed
        bench.exchange.fail("paddock is stopping")
        record = b'{"error":"paddock is stopping"}\n'
        whole = sent + b"%x\r\n%b\r\n0\r\n\r\n" % (len(record), record)
        assert got + await bench.received(len(whole) - len(got)) == whole
        assert await bench.pump.run() is Ending.BROKEN


async def test_a_client_that_catches_up_after_the_end_opens_nothing_again(
    between: Between,
) -> None:
    async with between(Chunked()) as bench:
        run = asyncio.create_task(bench.pump.run())
        await bench.send(CHUNK)
        assert await bench.received(len(HEAD + CHUNK)) == HEAD + CHUNK
        sent = b""
        while not bench.towards_client.get_write_buffer_size():
            bench.pump._receive(LARGE)
            sent += LARGE
        await asyncio.sleep(0)  # it waits for the client
        bench.exchange.fail("paddock is stopping")
        assert await bench.left() == b""
        assert await bench.received(len(sent)) == sent
        assert await run is Ending.BROKEN
        pool = bench.exchange._pool
        assert pool is None or (lanes := pool.lanes()) is None or not lanes.by_descriptor


async def test_an_end_between_two_chunks_is_told_and_the_connection_stays(
    between: Between,
) -> None:
    async with between(Chunked()) as bench:
        await bench.send(CHUNK)
        bench.ollama.close()
        assert await bench.pump.run() is Ending.BROKEN
        assert bench.pump.keep_alive
        error = b'{"error":"ollama closed the connection before its answer was whole"}\n'
        told = HEAD + CHUNK + b"%x\r\n%b\r\n0\r\n\r\n" % (len(error), error)
        assert await bench.received(len(told)) == told


@pytest.mark.parametrize("part", [CHUNK[:1], CHUNK[:5], CHUNK[:-1], CHUNK + b"0\r\n"])
async def test_an_end_within_a_chunk_is_a_cut_without_a_terminator(
    between: Between, part: bytes
) -> None:
    async with between(Chunked()) as bench:
        await bench.send(part)
        bench.ollama.close()
        assert await bench.pump.run() is Ending.CUT
        assert not bench.pump.keep_alive
        assert await bench.received(len(HEAD + part)) == HEAD + part
        with pytest.raises(BlockingIOError):
            bench.client.recv(1)


async def test_an_end_under_a_length_is_a_cut(between: Between) -> None:
    async with between(Length(10)) as bench:
        await bench.send(b"12345")
        bench.ollama.close()
        assert await bench.pump.run() is Ending.CUT
        assert await bench.received(9) == HEAD + b"12345"


async def test_what_is_no_chunk_is_a_cut(between: Between) -> None:
    async with between(Chunked()) as bench:
        await bench.send(b"zz\r\n")
        assert await bench.pump.run() is Ending.CUT
        assert not bench.pump.keep_alive


async def test_an_ollama_that_falls_silent_is_told(between: Between) -> None:
    async with between(Chunked(), limits=EndpointLimits(upstream_idle_s=0.1)) as bench:
        await bench.send(CHUNK)
        assert await bench.pump.run() is Ending.BROKEN
        told = await bench.received(len(HEAD + CHUNK) + 31)
        assert told.endswith(b'{"error":"ollama sent nothi')


async def test_a_client_without_chunks_gets_the_content_alone(between: Between) -> None:
    async with between(Chunked(), raw=False) as bench:
        await bench.send(CHUNK + b"3\r\nabc\r\n0\r\n\r\n")
        assert await bench.pump.run() is Ending.FINISHED
        assert await bench.received(12) == HEAD + b'{"a"}abc'
