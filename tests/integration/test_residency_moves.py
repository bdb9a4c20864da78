"""Models come, go and wait for each other in memory: on a real Ollama, seen in its ps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from at_rest import NO_POLL
from paddock.edges.runners import find_runners
from paddock.engine.desire import Desire
from paddock.engine.loop import Loop
from paddock.engine.world import World, this_process
from paddock_cli import Daemon, User, readiness
from real import RealOllama
from residents import (
    LongAnswer,
    Sent,
    is_pinned,
    kill_runner,
    runners,
    stopped_at_start,
    through_proxy,
)
from tiny_models import chat_model

SMOL = "  smol: {source: {gguf: ./smol.gguf}, preload: true}\n"
OTHER = "  other: {source: {gguf: ./other.gguf}, preload: true}\n"
WAIT_S = 30.0


def _write(user: User, name: str, seed: int) -> Path:
    path = user.folder / f"{name}.gguf"
    path.write_bytes(chat_model(seed))
    return path


def _blob(user: User, name: str) -> str:
    """The path of a model's GGUF in the store."""
    digest = user.paddock("status", name, "-o", "json").json["models"][0]["digest"]
    return str(user.server.models_dir / "blobs" / digest.replace(":", "-"))


def test_a_killed_runner_of_a_pin_is_back_before_any_poll(tiny_user: User) -> None:
    tiny_user.declare(SMOL)
    with tiny_user.daemon(**NO_POLL) as daemon:
        daemon.wait(lambda: is_pinned(tiny_user.server), "it is pinned")
        daemon.wait_ready()
        [first] = runners(tiny_user.server)
        kill_runner(tiny_user.server)
        daemon.wait(lambda: runners(tiny_user.server) not in ([], [first]), "another one has come")
        daemon.wait_ready()


def test_a_killed_runner_that_nobody_wants_costs_no_request(tiny_user: User) -> None:
    tiny_user.declare("  smol: {source: {gguf: ./smol.gguf}}\n")
    with through_proxy(tiny_user) as proxy, tiny_user.daemon() as daemon:
        daemon.wait_ready()
        tiny_user.server.generate("smol", "ba")
        daemon.wait(lambda: daemon.status()["models"][0]["loaded"], "it is seen in memory")
        sent = Sent(proxy)
        kill_runner(tiny_user.server)
        daemon.wait(lambda: not daemon.status()["models"][0]["loaded"], "its end is seen")
        assert "smol:latest" in tiny_user.server.ps(), "Ollama has not noticed"
        sent.wait_quiet(daemon)
        assert sent.paths == []


def test_of_three_models_the_two_that_count_most_stay(tiny_user: User) -> None:
    models = ""
    for number, name in enumerate(("low", "middle", "high")):
        _write(tiny_user, name, seed=10 + number)
        models += (
            f"  {name}: {{source: {{gguf: ./{name}.gguf}}, preload: true, priority: {number}}}\n"
        )
    tiny_user.declare(models, head="version: 1\nresidency: {memory_limit: 5MB}\nmodels:\n")
    with through_proxy(tiny_user) as proxy, tiny_user.daemon() as daemon:
        stay = {"middle:latest", "high:latest"}
        daemon.wait(
            lambda: (
                readiness(daemon.status())["low"] == ("False", "DoesNotFit")
                and set(tiny_user.server.ps()) == stay
            ),
            "the lowest has no place",
        )
        sent = Sent(proxy)
        looks = len(proxy.seen) + 4
        daemon.wait(lambda: len(proxy.seen) > looks, "it has looked some more times")
        assert set(tiny_user.server.ps()) == stay
        assert sent.paths == [], "nobody fights"


def test_an_answer_under_way_is_not_cut_and_keeps_nobody_waiting(tiny_user: User) -> None:
    _write(tiny_user, "other", seed=7)
    server, tokens = tiny_user.server, 5000
    tiny_user.declare(SMOL + OTHER)
    with through_proxy(tiny_user) as proxy, tiny_user.daemon() as daemon:
        daemon.wait_ready()
        old = server.tags()["smol:latest"]["digest"]
        runner = find_runners([blob := _blob(tiny_user, "smol")], is_ours=True)[blob]
        answer, sent = LongAnswer(server, "smol", tokens), Sent(proxy)
        answer.hold(runner)
        _write(tiny_user, "smol", seed=2)
        daemon.wait(
            lambda: readiness(daemon.status())["smol"][1] == "Busy", "it waits for the answer"
        )
        assert sent.paths.count("/api/generate") == 1
        server.generate("other", keep_alive="5m")
        daemon.wait(lambda: is_pinned(server, "other:latest"), "another pin is back meanwhile")
        assert server.tags()["smol:latest"]["digest"] == old
        assert answer.finish()["eval_count"] == tokens
        daemon.wait(lambda: server.tags()["smol:latest"]["digest"] != old, "it has moved")
        daemon.wait_ready()
        assert server.ps()["smol:latest"]["digest"] == server.tags()["smol:latest"]["digest"]


def test_a_runner_that_no_name_reaches_is_let_go(tiny_user: User) -> None:
    """Its manifest is gone, and another file has come in the place of its own."""
    server = tiny_user.server
    tiny_user.declare(SMOL)
    tiny_user.apply()
    stale = server.ps()["smol:latest"]["digest"]
    [runner] = runners(server)
    (server.models_dir / "manifests/registry.ollama.ai/library/smol/latest").unlink()
    _write(tiny_user, "smol", seed=2)
    with through_proxy(tiny_user) as proxy, tiny_user.daemon() as daemon:
        daemon.wait(lambda: runner not in runners(server), "the stale runner has gone")
        daemon.wait_ready()
        daemon.wait(lambda: is_pinned(server), "the new one is pinned")
        assert stale not in {found["digest"] for found in server.ps().values()}
        asked = [seen.path for seen in proxy.seen if seen.path == "/api/generate"]
        assert len(asked) == 2, "one lets the old one go, one loads the new one"
        assert list(server.tags()) == ["smol:latest"]
        hosts = {path.name for path in (server.models_dir / "manifests").iterdir()}
        assert hosts == {"registry.ollama.ai"}


def test_two_names_of_one_runner_go_together(tiny_user: User) -> None:
    names = ("smol", "also", "third")
    lines = [f"  {name}: {{source: {{gguf: ./smol.gguf}}, preload: true}}\n" for name in names]
    tiny_user.declare("".join(lines))
    tiny_user.apply()
    assert len(runners(tiny_user.server)) == 1
    tiny_user.declare("".join(f"  {name}: {{state: absent}}\n" for name in names))
    tiny_user.apply()
    assert (tiny_user.server.ps(), tiny_user.server.tags()) == ({}, {})
    assert runners(tiny_user.server) == []


def _told(daemon: Daemon, name: str) -> str:
    """What the status says of a model that is being worked on."""
    model = next(m for m in daemon.status()["models"] if m["name"] == name)
    found = next(c for c in model["conditions"] if c["type"] == "Reconciling")
    return str(found["message"])


def test_a_load_that_takes_long_is_told_of_and_keeps_nobody_waiting(tiny_user: User) -> None:
    server = tiny_user.server
    tiny_user.declare("  smol: {source: {gguf: ./smol.gguf}}\n")
    tiny_user.apply()
    _write(tiny_user, "other", seed=7)
    with tiny_user.daemon() as daemon:
        daemon.wait_ready()
        with stopped_at_start(_blob(tiny_user, "smol")) as has_stopped:
            tiny_user.declare(SMOL)
            daemon.wait(has_stopped, "its load has begun")
            daemon.wait(lambda: _told(daemon, "smol").startswith("load smol: "), "it is told of")
            tiny_user.declare(SMOL + OTHER.replace("preload: true", "preload: false"))
            daemon.wait(
                lambda: readiness(daemon.status()).get("other") == ("True", "AsDeclared"),
                "another model is made meanwhile",
            )
            assert "smol:latest" not in server.ps()
        daemon.wait_ready()
        assert is_pinned(server)


def test_a_load_that_nobody_wants_any_more_is_given_up(tiny_user: User) -> None:
    server = tiny_user.server
    tiny_user.declare("  smol: {source: {gguf: ./smol.gguf}}\n")
    tiny_user.apply()
    with tiny_user.daemon() as daemon:
        daemon.wait_ready()
        with stopped_at_start(_blob(tiny_user, "smol")) as has_stopped:
            tiny_user.declare(SMOL)
            daemon.wait(has_stopped, "its load has begun")
            tiny_user.declare("  smol: {source: {gguf: ./smol.gguf}}\n")
            daemon.wait(lambda: runners(server) == [], "Ollama has given it up")
        daemon.wait_ready()
        assert server.ps() == {}


class _Clock:
    """A clock that can be put forward."""

    def __init__(self, at: datetime) -> None:
        self._ahead = at - datetime.now(UTC)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def put(self, at: datetime) -> None:
        self._ahead = at - datetime.now(UTC)


@asynccontextmanager
async def _looping(user: User, clock: Callable[[], datetime]) -> AsyncIterator[Loop]:
    """A loop in this process, by a clock of the test's."""
    holder = this_process("now", str(user.file), None)
    world = World.to_write(user.server.url, user.server.models_dir, holder)
    world.clock = clock
    desire, stop = Desire(user.file, {}), asyncio.Event()
    loop = Loop(world, desire, desire(), poll_s=0.2, ended=lambda _: None)
    running = asyncio.create_task(loop.run(stop))
    try:
        yield loop
    finally:
        stop.set()
        loop.wake.set()
        await running
        await world.close()


async def _until(loop: Loop, fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await asyncio.to_thread(fact):
            await loop.turn()


async def test_a_window_loads_a_model_and_lets_it_go(tiny_user: User) -> None:
    window = '{days: mon-sun, from: "08:00", to: "19:00", preload: true}'
    tiny_user.declare(f"  smol: {{source: {{gguf: ./smol.gguf}}, schedule: [{window}]}}\n")
    day = datetime(2026, 11, 24, tzinfo=UTC)
    clock = _Clock(day + timedelta(hours=7, minutes=59))
    server = tiny_user.server
    async with _looping(tiny_user, clock) as loop:
        await _until(loop, lambda: "smol:latest" in server.tags() and loop.status.ready)
        assert server.ps() == {}
        for hour, held in ((8, ["smol:latest"]), (19, []), (32, ["smol:latest"])):
            clock.put(day + timedelta(hours=hour))
            await _until(loop, partial(_holds, server, held))
            await _until(loop, lambda: loop.status.ready)
        assert is_pinned(server)


def _holds(server: RealOllama, names: list[str]) -> bool:
    return list(server.ps()) == names


async def test_a_window_that_closed_while_we_were_away_lets_its_model_go(tiny_user: User) -> None:
    window = '{days: mon-sun, from: "08:00", to: "19:00", preload: true}'
    tiny_user.declare(f"  smol: {{source: {{gguf: ./smol.gguf}}, schedule: [{window}]}}\n")
    day = datetime(2026, 11, 24, tzinfo=UTC)
    clock, server = _Clock(day + timedelta(hours=12)), tiny_user.server
    async with _looping(tiny_user, clock) as loop:
        await _until(loop, lambda: is_pinned(server) and loop.status.ready)
    clock.put(day + timedelta(hours=20))
    async with _looping(tiny_user, clock) as loop:
        await _until(loop, lambda: server.ps() == {} and loop.status.ready)
