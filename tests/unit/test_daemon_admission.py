"""What the daemon knows at the time of a request: access, policy, progress, whether it lives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from endpoints import until
from paddock.core.access import Access, Peer
from paddock.core.conditions import Condition, ModelStatus, Status, Truth
from paddock.core.desired import Desired, DesiredModel, File, FromFile, FromModel, Residency, Window
from paddock.core.desired import State as Wanted
from paddock.core.digest import Digest
from paddock.core.keep_alive import FOREVER, KeepAlive
from paddock.core.names import Name
from paddock.core.observed import FileStat
from paddock.core.plan import LoadModel
from paddock.edges.state import FileRecord, State
from paddock.edges.store import Store
from paddock.engine.progress import Board
from paddock.engine.slow import SlowLooks
from paddock.host import rules as rules_of_host
from paddock.host.daemon import Daemon
from paddock.host.nudge import Nudge
from paddock.host.policies import Policies
from paddock.host.pulse import Pulse
from paddock.host.rules import Rules

DIGEST = Digest("sha256:" + "ab" * 32)
SMOL, TERSE = Name.parse("smol"), Name.parse("terse")
PEER = Peer(2000, frozenset({2000}))


class Clock:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class World:
    """A daemon over a store with one link, and what its loop would have found."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "m.gguf"
        self.file.write_bytes(b"weights")
        store = Store(folder / "models")
        store.blobs_dir.mkdir(parents=True)
        self.link = store.blob_path(DIGEST)
        self.link.symlink_to(self.file)
        store.state_dir.mkdir()
        self.state = State(store.state_dir, writable=True)
        found = self.file.stat()
        stat = FileStat(
            found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        )
        self.state.remember_file(FileRecord(stat, DIGEST, None))
        self.board = Board()
        self.clock = Clock()
        self.loop = SimpleNamespace(
            wanted=SimpleNamespace(now=Desired({}, "g", "f")),
            plan=SimpleNamespace(files={}),
            status=Status("f", "g", (), ()),
            wake=asyncio.Event(),
            cycles=1,
            event_log=SimpleNamespace(last_id=1),
        )
        world: Any = SimpleNamespace(
            store=store, state=self.state, progress=self.board, slow=SlowLooks()
        )
        loop: Any = self.loop
        self.daemon = Daemon(loop, world, pulse=Pulse(hang_s=60, clock_s=self.clock))

    def declare(self, *models: DesiredModel, current: Truth = "True", loaded: bool = True) -> None:
        self.loop.wanted.now = Desired({model.name: model for model in models}, "g", "f")
        self.loop.plan.files = {model.name: (DIGEST,) for model in models}
        names = sorted(model.name for model in models)
        statuses = tuple(_status(name, current, loaded=loaded) for name in names)
        self.loop.status = Status("f", "g", (), statuses)


def _status(name: Name, current: Truth, *, loaded: bool) -> ModelStatus:
    now = datetime.now(UTC)
    truths: dict[str, Truth] = {"Ready": "True", "Stalled": "False", "ManifestCurrent": current}
    conditions = tuple(Condition(k, truth, k, "", "g", now) for k, truth in truths.items())
    return ModelStatus(
        name.display, "gguf", DIGEST, 7, 0, loaded=loaded, keep_alive=None, expires_at=None,
        conditions=conditions,
    )  # fmt: skip


def model(name: Name = SMOL, path: str = "m.gguf", **more: Any) -> DesiredModel:
    return DesiredModel(name, Wanted.PRESENT, FromFile(File(path)), **more)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.state.close()


async def test_a_ready_model_is_served_with_what_the_file_says_of_memory(world: World) -> None:
    residency = Residency(keep_alive=FOREVER)
    world.declare(model(residency=residency))
    for text in ("smol", "SMOL:latest", "library/smol"):
        admission = await world.daemon.admit(text, PEER)
        assert (admission.verdict, admission.keep_alive) == ("serve", FOREVER)
        assert admission.residency is residency
    assert not world.loop.wake.is_set()


async def test_a_broken_link_is_worth_a_cycle_and_a_moment(world: World) -> None:
    world.declare(model())
    await world.daemon.admit("smol", PEER)
    world.link.unlink()
    admission = await world.daemon.admit("smol", PEER)
    assert (admission.verdict, admission.reason) == ("not_ready", "LinkBroken")
    assert admission.mending_s > 0
    assert world.loop.wake.is_set()


async def test_while_ollama_is_away_that_is_why_a_model_is_not_made(world: World) -> None:
    world.declare(model(), current="False")
    away = Condition(
        "OllamaReachable", "False", "OllamaUnreachable", "Ollama does not answer at http://o", "g",
        datetime.now(UTC),
    )  # fmt: skip
    status = world.loop.status
    unknown = replace(status.models[0], digest=None)
    world.loop.status = Status("f", "g", (away,), (unknown,))
    admission = await world.daemon.admit("smol", PEER)
    told = (admission.verdict, admission.reason, admission.message)
    assert told == ("not_ready", "OllamaUnreachable", "Ollama does not answer at http://o")


async def test_what_has_to_be_made_first_is_not_waited_for_unasked(world: World) -> None:
    world.declare(model(), current="False")
    admission = await world.daemon.admit("smol", PEER)
    assert (admission.verdict, admission.mending_s) == ("not_ready", 0)


async def test_a_model_that_is_being_made_tells_how_far_it_is(world: World) -> None:
    world.declare(model(), current="False")
    action = LoadModel(name=SMOL, reason="", message="", symbol="~", keep_alive=None)
    with world.board.meter(action, "hash m.gguf") as meter:
        meter.report(1_000_000, 2_000_000)
        admission = await world.daemon.admit("smol", PEER)
    assert "hash m.gguf: 1.0 of 2.0 MB (50 %)" in admission.message
    assert admission.retry_after_s > 0


async def test_a_derived_model_is_judged_by_the_file_of_its_base(world: World) -> None:
    derived = DesiredModel(TERSE, Wanted.PRESENT, FromModel(SMOL))
    world.declare(model(), derived)
    assert (await world.daemon.admit("terse", PEER)).verdict == "serve"
    world.file.write_bytes(b"other weights")
    admission = await world.daemon.admit("terse", PEER)
    assert (admission.verdict, admission.reason) == ("not_ready", "SourceChanged")


async def test_a_status_of_an_older_file_is_read_by_name(world: World) -> None:
    world.declare(model(), model(TERSE))
    status = world.loop.status
    world.declare(model(), model(Name.parse("another")), model(TERSE))
    world.loop.status = status
    assert (await world.daemon.admit("terse", PEER)).verdict == "serve"
    assert (await world.daemon.admit("another", PEER)).verdict == "not_ready"


async def test_a_new_status_counts_from_the_next_request_on(world: World) -> None:
    world.declare(model())
    assert (await world.daemon.admit("smol", PEER)).verdict == "serve"
    world.declare(model(), current="False")
    assert (await world.daemon.admit("smol", PEER)).verdict == "not_ready"


async def test_a_use_that_loaded_a_model_asks_for_a_cycle_where_the_file_gives_a_keep_alive(
    world: World,
) -> None:
    world.declare(model(residency=Residency(keep_alive=KeepAlive(60.0))), model(TERSE))
    for text in ("terse", "nobody", "not a name"):
        world.daemon.used(text)
    assert not world.loop.wake.is_set()
    world.daemon.used("smol")
    assert not world.loop.wake.is_set(), "it was loaded, and keeps what it has"
    world.declare(*world.loop.wanted.now.models.values(), loaded=False)
    for text in ("terse", "nobody"):
        world.daemon.used(text)
    assert not world.loop.wake.is_set()
    world.daemon.used("smol")
    assert world.loop.wake.is_set()


# --- whether it lives


async def test_a_daemon_whose_cycles_do_not_end_is_not_healthy(world: World) -> None:
    assert world.daemon.healthy()
    world.clock.now_s += 61
    assert not world.daemon.healthy()
    world.loop.cycles += 1
    assert world.daemon.healthy()
    world.clock.now_s += 61
    assert not world.daemon.healthy()
    world.loop.event_log.last_id += 1  # an action has ended
    assert world.daemon.healthy()


async def test_bytes_that_move_are_progress_within_a_cycle(world: World) -> None:
    assert world.daemon.healthy()
    world.clock.now_s += 61
    action = LoadModel(name=SMOL, reason="", message="", symbol="~", keep_alive=None)
    with world.board.meter(action, "hash"):
        assert not world.daemon.healthy()
    assert world.daemon.healthy()


# --- asking for cycles


async def test_many_that_ask_are_one_cycle_at_once_and_one_after_the_gap() -> None:
    asked: list[float] = []
    fired = asyncio.Event()

    def wake() -> None:
        asked.append(asyncio.get_running_loop().time())
        fired.set()

    nudge = Nudge(wake, gap_s=0.2)
    for _ in range(100):
        nudge.give()
    assert len(asked) == 1
    fired.clear()
    async with asyncio.timeout(5):
        await fired.wait()
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 0.19


# --- schedules


def test_a_window_is_looked_for_once_until_it_closes() -> None:
    day = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
    at = [day]
    policies = Policies(lambda: at[0])
    window = Window(frozenset(range(5)), time(8), time(19), preload=True, keep_alive=FOREVER)
    found = model(residency=Residency(keep_alive=KeepAlive(60.0), schedule=(window,)))
    assert policies.of(found, UTC).keep_alive == FOREVER
    assert policies.of(found, UTC) is policies.of(found, UTC)
    at[0] = day + timedelta(hours=7)
    assert policies.of(found, UTC).keep_alive == KeepAlive(60.0)
    at[0] = day - timedelta(hours=5)  # the clock was put back, to before the window
    assert policies.of(found, UTC).keep_alive == KeepAlive(60.0)
    at[0] = day
    again = model(residency=Residency(keep_alive=KeepAlive(5.0)))
    assert policies.of(again, UTC).keep_alive == KeepAlive(5.0)


# --- access


def rules(tmp_path: Path, desired: Callable[[], Desired]) -> Rules:
    return Rules(desired, Store(tmp_path), allow_undeclared=True)


async def test_names_are_looked_up_again_beside_the_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name service that takes its time keeps nobody waiting, but for the first of a file."""
    ids, gate = {"alice": 1}, threading.Event()
    gate.set()

    def user_id(name: str) -> int | None:
        assert gate.wait(10)
        return ids.get(name)

    monkeypatch.setattr(rules_of_host, "user_id", user_id)
    monkeypatch.setattr(rules_of_host, "FRESH_S", 0.0)
    wish = Desired({SMOL: model(access=Access(("alice",)))}, "g", "f")
    found = rules(tmp_path, lambda: wish)
    assert found.current() is None
    assert (await found.policy()).sees(Peer(1), SMOL)
    gate.clear()
    ids["alice"] = 2
    stale = found.current()
    assert stale is not None
    assert stale.sees(Peer(1), SMOL)
    gate.set()
    await until(lambda: found.current() is not stale, 5)
    monkeypatch.setattr(rules_of_host, "FRESH_S", 60.0)
    await until(lambda: found._renewal is None, 5)
    fresh = found.current()
    assert fresh is not None
    assert fresh.sees(Peer(2), SMOL)
    assert not fresh.sees(Peer(1), SMOL)


async def test_requests_at_once_share_a_look_at_the_store_that_began_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, begun, may_end = 0, threading.Event(), threading.Event()

    def manifests(_: Store) -> dict[Name, Any]:
        nonlocal looks
        looks += 1
        begun.set()
        assert may_end.wait(10)
        return {}

    monkeypatch.setattr(Store, "manifests", manifests)
    desired = Desired({}, "g", "f")
    judge = rules(tmp_path, lambda: desired)
    may_end.set()
    await judge.with_remote()
    await asyncio.gather(*(judge.with_remote() for _ in range(20)))
    assert looks == 2
    may_end.clear()
    begun.clear()
    first = asyncio.ensure_future(judge.with_remote())
    await asyncio.to_thread(begun.wait, 10)
    rest = asyncio.gather(*(judge.with_remote() for _ in range(20)))
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.gather(first, rest)
    assert looks == 4, "a look that had begun before them tells them nothing"


async def test_the_rules_of_a_new_file_hold_for_the_next_request(tmp_path: Path) -> None:
    wish = [Desired({SMOL: model()}, "g", "f")]
    found = rules(tmp_path, lambda: wish[0])
    assert (await found.policy()).sees(PEER, SMOL)
    wish[0] = Desired({SMOL: model(access=Access(("1",)))}, "h", "f")
    assert found.current() is None
    assert not (await found.policy()).sees(PEER, SMOL)
