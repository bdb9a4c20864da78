"""Months of uptime in minutes: 10,000 cycles (PADDOCK_BENCH_CYCLES) with all that a daemon meets.

Samples what the daemon holds after each round, when it has come to rest; the first half is the
warm-up, in which the log of events fills. Growth is the median of that between any two samples.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddock_cli import User
from provider import RealPaths
from real import RealOllama
from soaking import HANDLES, grown, growth, living

CYCLES = int(os.environ.get("PADDOCK_BENCH_CYCLES", "10000"))
ROUNDS, WARM = 40, 20


@pytest.mark.timeout(3600)
def bench_soak(real: RealPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        RealOllama(real, tmp_path / "ollama") as server,
        living(User(tmp_path / "user", server), monkeypatch) as life,
    ):
        for _ in range(ROUNDS):
            life.round(CYCLES // ROUNDS)
            held = life.look()
            print(f"{held.cycles:6} cycles, RSS {held.sizes['rss'] / 1e6:.1f} MB", flush=True)
    judged = life.held[WARM:]
    print(f"\n\n{life.held[-1].cycles} cycles; growth in the last {len(judged)} of {ROUNDS} rounds")
    for what in (*HANDLES, "objects", "rss"):
        print(f"{what:12} {growth(judged, what) * len(judged):12.1f}")
    print("types of which more are left by each round:", grown(judged) or "none")
