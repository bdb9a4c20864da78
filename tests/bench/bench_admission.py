"""What the checks before each chat cost: name, access, status and the look at the file."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from paddock.core.access import Access, Peer
from paddock.core.conditions import Condition, ModelStatus, Status, Truth
from paddock.core.desired import Desired, DesiredModel, File, FromFile
from paddock.core.desired import State as Wanted
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import FileStat
from paddock.edges.state import FileRecord, State
from paddock.edges.store import Store
from paddock.engine.progress import Board
from paddock.engine.slow import SlowLooks
from paddock.host.daemon import Daemon

MODELS = 1000
ROUNDS = 5000
LIMIT_S = 100e-6
DIGEST = Digest("sha256:" + "ab" * 32)


def loop_of(path: Path) -> Any:
    """What the daemon reads of a loop: many models, all of them ready."""
    now = datetime.now(UTC)
    names = sorted(Name.parse(f"m{number}") for number in range(MODELS))
    access = Access(("1000",), ("50",))
    source = FromFile(File(str(path)))
    models = {n: DesiredModel(n, Wanted.PRESENT, source, access=access) for n in names}
    truths = {"Ready": "True", "Stalled": "False", "ManifestCurrent": "True"}
    conditions = tuple(
        Condition(kind, cast("Truth", truth), "Current", "", "g", now)
        for kind, truth in truths.items()
    )
    status = tuple(
        ModelStatus(n.display, "gguf", DIGEST, 1, 0, loaded=True, keep_alive=None,
                    expires_at=None, conditions=conditions)
        for n in names
    )  # fmt: skip
    plan = SimpleNamespace(files=dict.fromkeys(names, (DIGEST,)))
    return SimpleNamespace(
        wanted=SimpleNamespace(now=Desired(models, "g", "f")),
        plan=plan,
        status=Status("f", "g", (), status),
        wake=asyncio.Event(),
    )


@pytest.mark.parametrize("fresh", [False, True], ids=["same status", "new status each time"])
async def bench_admission_of_a_ready_model(tmp_path: Path, fresh: bool) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"x")
    store = Store(tmp_path / "models")
    store.blobs_dir.mkdir(parents=True)
    store.blob_path(DIGEST).symlink_to(file)
    found = file.stat()
    stat = FileStat(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    store.state_dir.mkdir()
    state = State(store.state_dir, writable=True)
    state.remember_file(FileRecord(stat, DIGEST, None))
    loop = loop_of(file)
    world: Any = SimpleNamespace(store=store, state=state, progress=Board(), slow=SlowLooks())
    daemon = Daemon(loop, world)
    peer = Peer(2000, frozenset({2000, 50}))
    rounds = 200 if fresh else ROUNDS
    assert (await daemon.admit("m7", peer)).verdict == "serve"
    times = []
    for number in range(rounds):
        if fresh:
            loop.status = Status("f", "g", (), loop.status.models)
        began_s = time.perf_counter()
        admission = await daemon.admit(f"m{number % MODELS}", peer)
        times.append(time.perf_counter() - began_s)
        assert admission.verdict == "serve"
    state.close()
    times.sort()
    median, late = times[rounds // 2] * 1e6, times[rounds * 99 // 100] * 1e6
    print(f"\nadmission, {MODELS} models: p50 {median:.1f} us, p99 {late:.1f} us")
    assert times[rounds // 2] < LIMIT_S
