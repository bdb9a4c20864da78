"""When systemd is told that Paddock is ready and lives, and when it is told nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from paddock.core.conditions import Condition, Status
from paddock.edges.systemd import Notifier
from paddock.engine.loop import Finished, Loop
from paddock.engine.progress import Board
from paddock.host import supervised
from paddock.host.supervised import Supervised

MODELS = "3 models are as the file says"


ENDED = cast("Finished", None)


class Cycles:
    """A loop, as far as it is followed: its start settles, and a turn ends, when a test says so."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.settled, self.turned = asyncio.Event(), asyncio.Event()
        now = datetime(2026, 1, 1, tzinfo=UTC)
        ready = Condition("Ready", "True", "AsDeclared", MODELS, "g", now)
        self.status = Status("models.yaml", "g", (ready,), ())

    async def ask(self) -> None:
        await self.settled.wait()

    async def turn(self) -> None:
        await self.turned.wait()


class Manager:
    """What a service told, datagram by datagram."""

    def __init__(self, sock: socket.socket):
        self.sock = sock

    async def hears(self, what: str) -> list[str]:
        """Waits until that is told; all that was told until then."""
        running, told = asyncio.get_running_loop(), list[str]()
        async with asyncio.timeout(10):
            while what not in told:
                data = await running.sock_recv(self.sock, 4096)
                told += data.decode().splitlines()
        return told

    async def next(self) -> list[str]:
        async with asyncio.timeout(10):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 4096)
        return data.decode().splitlines()

    def heard(self) -> bool:
        """Whether something was told that nobody has read."""
        try:
            return bool(self.sock.recv(4096, socket.MSG_PEEK))
        except BlockingIOError:
            return False


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("notify")
        sock.setblocking(False)
        yield Manager(sock)


def service(address: str | None = "notify", watchdog_s: float = 0.03) -> Supervised:
    return Supervised(Notifier(address), watchdog_s=watchdog_s, poll_s=0.01, drain_s=2.0)


def follow(told: Supervised) -> tuple[Cycles, Loop, asyncio.Task[None]]:
    cycles = Cycles()
    loop = cast("Loop", cycles)
    told.begin(loop, Board())
    return cycles, loop, asyncio.create_task(told.run())


async def test_a_start_is_extended_until_it_has_settled_and_only_then_ready(
    manager: Manager,
) -> None:
    cycles, _, running = follow(service())
    first = await manager.next()
    assert "READY=1" not in first
    assert f"EXTEND_TIMEOUT_USEC={round(supervised.MORE_S * 1e6)}" in first
    cycles.settled.set()
    told = await manager.hears("READY=1")
    assert f"STATUS={MODELS}" in told
    again = await manager.next()
    assert again == ["WATCHDOG=1", f"STATUS={MODELS}"]
    running.cancel()


async def test_a_start_whose_work_does_not_get_on_is_as_ready_as_it_will_be(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "STUCK_S", 0.05)
    _, _, running = follow(service())
    await manager.hears("READY=1")
    running.cancel()


async def test_a_cycle_that_never_ends_leaves_the_watchdog_unfed_until_it_does(
    manager: Manager,
) -> None:
    told = service(watchdog_s=0.03)
    cycles, _, running = follow(told)
    cycles.settled.set()
    await manager.hears("READY=1")
    told._moved_s -= supervised.HANG_S + 1
    while manager.heard():
        await manager.next()
    await asyncio.sleep(0.1)  # ten times as long as from one beat to the next
    assert not manager.heard()
    told.cycle_ended(ENDED)
    assert await manager.next() == ["WATCHDOG=1", f"STATUS={MODELS}"]
    running.cancel()


async def test_a_reload_ends_with_the_cycle_that_it_asked_for(manager: Manager) -> None:
    told = service(watchdog_s=60)
    cycles, loop, running = follow(told)
    cycles.settled.set()
    await manager.hears("READY=1")
    told.reload(loop)
    reloading = await manager.next()
    assert reloading[0] == "RELOADING=1"
    assert not manager.heard()
    cycles.turned.set()
    assert await manager.next() == ["READY=1", f"STATUS={MODELS}"]
    running.cancel()


async def test_a_reload_before_the_start_has_ended_asks_for_a_cycle_and_ends_no_start(
    manager: Manager,
) -> None:
    told = service(watchdog_s=60)
    cycles, loop, running = follow(told)
    await manager.next()
    told.reload(loop)
    assert cycles.wake.is_set()
    assert not manager.heard()
    running.cancel()


async def test_a_stop_is_told_with_the_time_that_the_streams_are_given(manager: Manager) -> None:
    service().stopping()
    extended = round((2.0 + supervised.STOP_S) * 1e6)
    assert await manager.next() == [
        "STOPPING=1",
        "STATUS=stopping",
        f"EXTEND_TIMEOUT_USEC={extended}",
    ]


async def test_a_store_that_is_not_there_holds_up_a_start_for_a_while_and_not_for_ever(
    manager: Manager,
) -> None:
    told = service()
    for _ in range(supervised.LOOKS):
        told.waits_for_store("waits")
        assert "READY=1" not in await manager.next()
    told.waits_for_store("waits")
    assert await manager.next() == ["READY=1", "WATCHDOG=1", "STATUS=waits"]


async def test_without_a_manager_a_reload_is_a_cycle_and_nothing_else_happens() -> None:
    told = service(None)
    cycles, loop, running = follow(told)
    told.reload(loop)
    assert cycles.wake.is_set()
    await asyncio.wait_for(running, 10)
