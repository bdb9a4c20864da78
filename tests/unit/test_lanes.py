"""The loop that serves lanes while it waits: the loop's own affairs never wait for them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from paddock.endpoint.framing import Chunked
from paddock.endpoint.lane_loop import LaneLoop, new_loop
from paddock.endpoint.lanes import LaneReader, Lanes, lanes_of
from paddock.endpoint.pump import Ending
from paddock.endpoint.upstream import Pool
from pumps import HEAD, pumped

CHUNK = b'5\r\n{"a"}\r\n'

Run = Callable[[Coroutine[Any, Any, None]], None]
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[new_loop, asyncio.new_event_loop])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test in the daemon's loop, and in another one, which lanes have to be made for."""

    def runs(test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(test, 20))

    return runs


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def lanes() -> Lanes:
    found = lanes_of(asyncio.get_running_loop())
    assert found is not None
    return found


def test_the_daemons_loop_has_lanes_of_its_own() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LaneLoop)
        assert lanes_of(loop) is loop.lanes

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(test())


def test_a_stream_goes_through_in_a_lane(run: Run) -> None:
    async def test() -> None:
        pool = Pool()
        async with pumped(Chunked(), pool=pool) as stream:
            for _ in range(100):
                await stream.send(CHUNK)
            whole = HEAD + CHUNK * 100
            assert await stream.received(len(whole)) == whole
            opened = pool.lanes()
            assert opened is not None
            assert len(opened.by_descriptor) == 1
            await stream.send(b"0\r\n\r\n")
            assert await stream.pump.run() is Ending.FINISHED
            stream.pump.stop()
        pool.close()
        assert not opened.by_descriptor

    run(test())


def test_a_lane_that_always_has_something_delays_neither_timers_nor_other_readers(
    run: Run, pair: Pair
) -> None:
    ours, theirs = pair
    theirs.send(b"never read")

    async def test() -> None:
        loop, served = asyncio.get_running_loop(), 0
        readable = asyncio.Event()

        def lane() -> bool:
            nonlocal served
            served += 1
            return True

        opened = lanes()
        opened.open(ours.fileno(), lane)
        await asyncio.sleep(0.01)
        reader, writer = os.pipe()
        loop.add_reader(reader, readable.set)
        os.write(writer, b"x")
        await readable.wait()
        await asyncio.to_thread(lambda: None)
        opened.close(ours.fileno())
        loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)
        assert served > 2

    run(test())


def test_what_a_lane_asks_of_the_loop_is_done_at_once(run: Run, pair: Pair) -> None:
    ours, theirs = pair

    async def test() -> None:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def receive(data: bytes) -> bool:
            heard.set_result(data)
            return False

        reader = LaneReader(lanes(), ours.fileno(), receive, lambda: None)
        reader.resume()
        threading.Thread(target=theirs.send, args=[b"news"]).start()
        assert await heard == b"news"  # nothing else would ever wake this loop
        reader.pause()

    run(test())


def test_a_lane_ends_once_and_is_closed_with_its_socket(run: Run, pair: Pair) -> None:
    ours, theirs = pair

    async def test() -> None:
        ended = asyncio.Event()
        reader = LaneReader(lanes(), ours.fileno(), lambda _: True, ended.set)
        reader.resume()
        theirs.close()
        await ended.wait()
        assert not lanes_of_reader(reader)
        reader.pause()

    run(test())


def test_a_stream_that_fails_ends_alone(run: Run, pair: Pair) -> None:
    ours, theirs = pair

    async def test() -> None:
        ended = asyncio.Event()

        def fails(data: bytes) -> bool:
            raise RuntimeError(data)

        reader = LaneReader(lanes(), ours.fileno(), fails, ended.set)
        reader.resume()
        theirs.send(b"x")
        await ended.wait()
        await asyncio.sleep(0)  # the loop goes on

    run(test())


def test_a_paused_lane_is_not_served(run: Run, pair: Pair) -> None:
    ours, theirs = pair

    async def test() -> None:
        got: asyncio.Queue[bytes] = asyncio.Queue()

        def receive(data: bytes) -> bool:
            got.put_nowait(data)
            return False

        reader = LaneReader(lanes(), ours.fileno(), receive, lambda: None)
        reader.resume()
        reader.pause()
        theirs.send(b"later")
        for _ in range(3):
            await asyncio.sleep(0)
        assert got.empty()
        reader.resume()
        assert await got.get() == b"later"
        reader.pause()

    run(test())


def test_signals_and_child_processes_are_noticed_in_the_daemons_loop() -> None:
    async def test() -> None:
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, heard.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await heard.wait()
        loop.remove_signal_handler(signal.SIGUSR1)
        child = await asyncio.create_subprocess_exec("true")
        assert await child.wait() == 0

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(test(), 20))


def lanes_of_reader(reader: LaneReader) -> dict[int, Callable[[], bool]]:
    return reader._lanes.by_descriptor
