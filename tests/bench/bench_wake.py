"""How long it takes from a saved edit, and from a deleted link, until all is as it shall be again.

Rounds (PADDOCK_BENCH_ROUNDS, default 30) with a pause between them; no poll comes to help. The goal
is a median below 300 ms. What is waited for is seen by looking every few ms. Prints how many cycles
a burst of changes costs too, and what the daemon costs at rest. Asserts nothing about time.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from at_rest import NO_POLL, settle
from paddock_cli import SMOL, Daemon, UnixConnection, User
from provider import RealPaths
from real import RealOllama
from stores import links

ROUNDS = int(os.environ.get("PADDOCK_BENCH_ROUNDS", "30"))
LOOK_S, WAIT_S = 0.005, 20.0
REST_S = 10.0
BURST = 2000
DERIVED = "  terse:\n    source: {model: smol}\n    system: "


@pytest.mark.timeout(600)
def bench_wake(real: RealPaths, tmp_path: Path) -> None:
    with RealOllama(real, tmp_path / "ollama") as server:
        user = User(tmp_path / "user", server)
        user.declare(f"{SMOL}{DERIVED}Be brief.\n")
        with user.daemon(**NO_POLL) as daemon:
            daemon.wait_ready()
            settle(server)
            edits_s = [_edit(user, daemon, number) for number in range(ROUNDS)]
            links_s = [_unlink(user, daemon) for _ in range(ROUNDS)]
            settle(server)
            before, began_s = _cycles(daemon), time.monotonic()
            _burst(user)
            took_s = time.monotonic() - began_s
            settle(server)
            cycles = _cycles(daemon) - before
            cpu_s = _cpu_s(daemon)
            time.sleep(REST_S)
            share = (_cpu_s(daemon) - cpu_s) / REST_S
    print(f"\n\n{ROUNDS} rounds each; goal: p50 < 300 ms")
    for what, times_s in (("a saved edit", edits_s), ("a deleted link", links_s)):
        print(f"{what:18}{_told(times_s)}")
    print(f"a source appended to {BURST} times in {took_s:.2f} s: {cycles} cycles")
    print(f"at rest: {share:.2%} of a CPU")


def _edit(user: User, daemon: Daemon, number: int) -> float:
    """From the rename of a new file until Ollama shows what it says, and status says so."""
    system = f"Answer in {number + 2} words."
    return _timed(
        lambda: user.declare(f"{SMOL}{DERIVED}{system}\n"),
        lambda: user.server.system("terse") == system and daemon.is_ready(),
    )


def _unlink(user: User, daemon: Daemon) -> float:
    """From the end of a link until it is back, and status says so."""
    [link] = links(user.server.models_dir)
    return _timed(link.unlink, lambda: link.exists() and daemon.is_ready())


def _timed(change: Callable[[], object], done: Callable[[], bool]) -> float:
    time.sleep(random.uniform(1.5, 2.5))  # so that rounds meet the watch at any time of its step
    began_s = time.monotonic()
    change()
    while not done():
        assert time.monotonic() - began_s < WAIT_S
        time.sleep(LOOK_S)
    return time.monotonic() - began_s


def _burst(user: User) -> None:
    """As a download does; the file is no other one in the end."""
    size_bytes = user.gguf.stat().st_size
    with user.gguf.open("ab") as file:
        for _ in range(BURST):
            file.write(b"x")
            file.flush()
            time.sleep(LOOK_S)
        file.truncate(size_bytes)


def _cycles(daemon: Daemon) -> int:
    with contextlib.closing(UnixConnection(daemon.user.socket)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    counts = re.findall(r"^paddock_reconciles_total\S* (\S+)$", text, re.MULTILINE)
    return sum(int(float(count)) for count in counts)


def _cpu_s(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _told(times_s: list[float]) -> str:
    p99_s = sorted(times_s)[min(len(times_s) - 1, round(0.99 * len(times_s)))]
    told = (("p50", statistics.median(times_s)), ("p99", p99_s), ("least", min(times_s)))
    return "".join(f"{name:>8} {value_s * 1e3:5.0f} ms" for name, value_s in told)
