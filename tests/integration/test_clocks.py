"""A wall clock that is set by days, a host that sleeps, and one that has just booted."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import paddock_cli
from clocks import WallClock, uptime, wall_clock
from paddock.core.withdraw import GONE
from paddock_cli import COMMAND, Daemon, User, readiness
from stores import links
from tiny_models import chat_model

PINNED = "  smol:\n    source: {gguf: ./smol.gguf}\n    preload: true\n"
OTHER = "  other:\n    source: {gguf: ./other.gguf}\n"
FAR = "  far:\n    source: {registry: '127.0.0.1:1/library/far', insecure: true}\n"
HEAD_UTC = "version: 1\nresidency: {timezone: UTC}\nmodels:\n"
DAYS, SLEEP = timedelta(days=3), timedelta(hours=8)
SOON_S = 8.0  # a few polls, and a load, on a busy machine
YEARS_S = 10 * 365 * 86400


@dataclass
class Timed:
    """A daemon whose wall clock can be set."""

    user: User
    daemon: Daemon
    clock: WallClock

    def soon(self, fact: Callable[[], bool], what: str) -> None:
        """Waits until a fact holds, for a few polls and a load."""
        self.daemon.wait(fact, what, SOON_S)

    def loaded(self) -> dict[str, str]:
        """When the models that are in memory expire."""
        return {name: str(one["expires_at"]) for name, one in self.user.server.ps().items()}

    def is_pinned(self) -> bool:
        return self.loaded().get("smol:latest", "").startswith("23")

    def ready(self, name: str) -> tuple[str, str]:
        return readiness(self.daemon.status())[name]

    def attempts(self) -> int:
        """How often the model that cannot be had was asked for."""
        return self.daemon.log_text().count('"action": "PullModel"')

    def heals(self) -> None:
        """Does to the daemon what it mends within a poll, and waits until it has."""
        self.user.server.generate("smol", keep_alive="5m")
        self.soon(self.is_pinned, "it is pinned again")
        link = links(self.user.server.models_dir)[0]
        link.unlink()
        self.soon(link.exists, "the link is back")
        self.soon(self.is_pinned, "it is pinned")


@pytest.fixture
def timed(tiny_user: User, tmp_path: Path) -> Iterator[Timed]:
    """Such a daemon, with a pinned model and a file for another."""
    clock = wall_clock(tmp_path / "clock")
    (tiny_user.folder / "other.gguf").write_bytes(chat_model(2))
    for name in ("smol.gguf", "other.gguf"):
        os.utime(tiny_user.folder / name, (1, 1))
    tiny_user.declare(PINNED)
    with tiny_user.daemon(**clock.env) as daemon:
        daemon.wait_ready()
        yield Timed(tiny_user, daemon, clock)
    assert "Traceback" not in daemon.log_text()


@pytest.mark.parametrize("by", [DAYS, -DAYS], ids=["forwards", "backwards"])
def test_a_clock_that_is_set_changes_nothing_but_what_windows_are_open(
    timed: Timed, by: timedelta
) -> None:
    day = f"{timed.clock.now + by:%a}".lower()
    window = f"[{{days: {day}, from: 00:00, to: 24:00, preload: true}}]"
    timed.user.declare(f"{PINNED}{OTHER}    schedule: {window}\n", head=HEAD_UTC)
    timed.daemon.wait(lambda: "other:latest" in timed.user.server.tags(), "it is made")
    timed.daemon.wait_ready()
    assert timed.loaded().keys() == {"smol:latest"}
    with timed.user.server.recorded() as requests:
        timed.clock.set(by)
        timed.soon(lambda: "other:latest" in timed.loaded(), "its window is open")
        timed.soon(timed.daemon.is_ready, "all is ready")
        timed.clock.set(timedelta())
        timed.soon(lambda: "other:latest" not in timed.loaded(), "its window is closed")
        timed.soon(timed.daemon.is_ready, "all is ready")
    asked = [request.path for request in requests if request.mutates]
    assert asked == ["/api/generate"] * 2, "one load, and one end of it"
    assert timed.is_pinned()
    timed.clock.set(by)
    timed.heals()
    told = [json.loads(x) for x in timed.user.paddock("events", "-o", "json").out.splitlines()]
    ids = [event["id"] for event in told]
    assert ids == sorted(ids)


def test_what_is_tried_again_is_tried_again_though_the_clock_is_put_back(timed: Timed) -> None:
    timed.user.declare(f"{PINNED}{FAR}")
    timed.daemon.wait(lambda: timed.attempts() >= 2, "it is tried again")
    timed.clock.set(-DAYS)
    before = timed.attempts()
    timed.daemon.wait(lambda: timed.attempts() > before, "and again", 4 * SOON_S)


def test_a_file_that_goes_as_the_clock_is_put_back_is_withdrawn(timed: Timed) -> None:
    timed.user.gguf.rename(timed.user.folder / "away.gguf")
    missing = ("False", "SourceMissing")
    timed.soon(lambda: timed.ready("smol") == missing, "it is missed")
    timed.clock.set(-DAYS)
    timed.soon(lambda: "smol:latest" not in timed.user.server.tags(), "it is withdrawn")


def test_a_disk_that_comes_a_moment_after_the_host_woke_withdraws_nothing(timed: Timed) -> None:
    """Two looks count as two where time for the host has passed between them."""
    away = timed.user.folder / "away.gguf"
    began_s = time.monotonic()
    timed.user.gguf.rename(away)
    missing = ("False", "SourceMissing")
    timed.soon(lambda: timed.ready("smol") == missing, "it is missed")
    timed.daemon.signal(signal.SIGSTOP)
    timed.clock.set(SLEEP)
    timed.daemon.signal(signal.SIGCONT)
    timed.daemon.signal(signal.SIGHUP)
    timed.soon(lambda: "clock moved" in timed.daemon.log_text(), "a cycle has seen that it slept")
    away.rename(timed.user.gguf)
    awake_s = time.monotonic() - began_s
    timed.daemon.wait_ready()
    is_withdrawn = '"action": "RemoveManifest"' in timed.daemon.log_text()
    assert not is_withdrawn or awake_s > GONE.total_seconds()
    timed.heals()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a time namespace")
@pytest.mark.parametrize("up_s", [1, YEARS_S], ids=["a second", "ten years"])
def test_it_lives_on_a_host_that_has_been_up_for(
    tiny_user: User, monkeypatch: pytest.MonkeyPatch, up_s: float
) -> None:
    os.utime(tiny_user.gguf, (1, 1))
    tiny_user.declare(PINNED)
    monkeypatch.setattr(paddock_cli, "COMMAND", (*uptime(up_s), *COMMAND))
    with tiny_user.daemon() as daemon:
        daemon.wait_ready()
        link = links(tiny_user.server.models_dir)[0]
        link.unlink()
        daemon.wait(link.exists, "the link is back", SOON_S)
        daemon.wait_ready()
