"""What many models in one file cost: a cycle that has nothing to do, in parts, a daemon that idles
beside them, its memory, and a whole `paddock plan`.

Each number of models (PADDOCK_BENCH_MODELS, default 100,1000,10000) is built for real, with a real
Ollama: one tiny GGUF each, linked, and one model in fifty derived of another with a system text of
its own. The files differ in their weights alone, so that one probe answers for all. CPU time is
user and system time of our own process; Ollama's is told apart. Asserts only that all of it
converged, and that nothing was done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from bench.measured import cpu_ns, rss_bytes
from gguf_files import STRING, Array, Tensor, gguf_bytes
from paddock.cli.main import GC_THRESHOLD
from paddock.core.events import EventLog
from paddock.edges.ollama import client
from paddock.edges.state import State
from paddock.edges.store import Store
from paddock.engine import loop as loops
from paddock.engine import observe as observing
from paddock.engine import planning, work
from paddock.engine import reconcile as reconciling
from paddock.engine.desire import Desire
from paddock.engine.loop import Finished, Loop
from paddock.engine.world import World, this_process
from paddock_cli import COMMAND, HEAD, Daemon, User
from real import StartOllama

# What an installer compiles is compiled before it is measured, whatever this environment says.
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
COUNTS = [int(n) for n in os.environ.get("PADDOCK_BENCH_MODELS", "100,1000,10000").split(",")]
CYCLES = int(os.environ.get("PADDOCK_BENCH_ROUNDS", "9"))
IDLE_S = float(os.environ.get("PADDOCK_BENCH_IDLE_S", "60"))
DERIVED_EACH = 50
MOST_APPLIED = 200  # larger stores are prepared: then `apply` has nothing to do
MS = 1e6
WIDTH = 36

# What a cycle is made of: the row that is printed, and where its function is looked up.
PARTS: tuple[tuple[str, Any, str], ...] = (
    ("models.yaml: compared", Desire, "__call__"),
    ("manifests", Store, "manifests"),
    ("ledger", State, "ledger"),
    ("names as the store spells them", observing, "respell"),
    ("sources", observing, "look_at_sources"),
    ("blobs", Store, "blobs"),
    ("facts of bases", observing, "_base_facts"),
    ("tags: parsed", client, "parse_tags"),
    ("plan", planning, "make_plan"),
    ("check of the plan", planning, "check_plan"),
    ("store and memory", planning, "store_matches"),
    ("store and memory", reconciling, "remembered"),
    ("status", loops, "retold"),
    ("events", EventLog, "add_changes"),
)
WHOLE, REST = "a cycle with nothing to do", "HTTP, JSON, the event loop"
POLL = "a poll of memory alone"


@dataclass
class Many(User):
    """A person with many models, all of them tiny."""

    count: int = 0

    def __post_init__(self) -> None:
        """Writes the GGUFs, an hour old, and models.yaml."""
        self.folder.mkdir()
        self.env |= COMPILED | {"PYTHONPYCACHEPREFIX": str(self.folder.parent / "compiled")}
        lines: list[str] = []
        for number in range(self.count):
            name, before = f"m{number:05}", f"m{number - 1:05}"
            if number % DERIVED_EACH == DERIVED_EACH - 1:
                lines.append(f"  {name}: {{source: {{model: {before}}}, system: Be no {number}.}}")
                continue
            path = self.folder / f"{name}.gguf"
            path.write_bytes(_gguf(number))
            os.utime(path, (time.time() - 3600,) * 2)
            lines.append(f"  {name}: {{source: {{gguf: ./{path.name}}}}}")
        self.file.write_text(HEAD + "\n".join(lines) + "\n")


@dataclass
class Figures:
    """What was measured with so many models: nanoseconds of CPU by part, and the rest by name."""

    parts_ns: Mapping[str, float] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)


def bench_many(start_ollama: StartOllama, tmp_path: Path) -> None:
    measured = {count: _measure(start_ollama, tmp_path, count) for count in COUNTS}
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"\n\nCPU time, medians of {CYCLES} cycles; load {load}")
    print(f"{'models':{WIDTH}}" + "".join(f"{count:>14,}" for count in COUNTS))
    for part in next(iter(measured.values())).parts_ns:
        cells = [f"{figures.parts_ns[part] / MS:.2f} ms" for figures in measured.values()]
        print(f"{part:{WIDTH}}" + "".join(f"{cell:>14}" for cell in cells))
    for what in next(iter(measured.values())).told:
        cells = [figures.told[what] for figures in measured.values()]
        print(f"{what:{WIDTH}}" + "".join(f"{cell:>14}" for cell in cells))
    for more, fewer in ((n * 10, n) for n in COUNTS if n * 10 in COUNTS):
        ratio = measured[more].parts_ns[WHOLE] / measured[fewer].parts_ns[WHOLE]
        print(f"{f'{more:,} models / {fewer:,}':{WIDTH}}{ratio:>14.1f}")
    print("goals: a cycle of 1,000 < 50 ms, a poll < 10 ms; 10,000 < 12 times that;")
    print("       idle < 0.3 % of a core, memory < 80 MB and plan < 1 s with 1,000")


def _measure(start_ollama: StartOllama, tmp_path: Path, count: int) -> Figures:
    server, figures = start_ollama(), Figures()
    try:
        many = Many(tmp_path / f"many{count}", server, count=count)
        if count > MOST_APPLIED:
            _prepare(many)
        first = _run(many, "apply", "--timeout", "20m")
        figures.parts_ns = _cycles(many)
        figures.told |= {
            "Ollama's /api/tags": f"{_median_s(server.tags) * 1e3:.1f} ms",
            "apply, CPU": f"{first.cpu_s:.1f} s",
            "apply, clock": f"{first.wall_s:.1f} s",
        }
        plan = min((_run(many, "plan") for _ in range(3)), key=lambda cost: cost.cpu_s)
        figures.told["paddock plan, CPU"] = f"{plan.cpu_s:.2f} s"
        figures.told["paddock plan, clock"] = f"{plan.wall_s:.2f} s"
        figures.told |= _idle(many)
    finally:
        server.stop()
    return figures


def _prepare(many: Many) -> None:
    """Makes the store without a sync of each file, and without asking Ollama whether it can show
    each model: for that it reads every manifest."""
    asyncio.run(_converge(many))


async def _converge(many: Many) -> None:
    holder = this_process("now", str(many.file), None)
    world = World.to_write(many.server.url, many.server.models_dir, holder)
    world.state._db.execute("PRAGMA synchronous=OFF")
    asked = mock.AsyncMock(return_value=True)
    try:
        with (
            mock.patch("os.fsync"),
            mock.patch.object(work, "_show", asked),
            mock.patch.object(client.Ollama, "has_blob", asked),
        ):
            wish = Desire(many.file, os.environ)()
            await reconciling.reconcile(
                world, wish, reconciling.Recall(), lambda _: None, lambda _: None
            )
    finally:
        await world.close()


def _cycles(many: Many) -> Mapping[str, float]:
    """A loop in this process, with everything in place: the median of each part of its cycles."""
    return asyncio.run(_cycle_often(many))


async def _cycle_often(many: Many) -> Mapping[str, float]:
    gc.set_threshold(*GC_THRESHOLD)  # as the command does
    holder = this_process("now", str(many.file), None)
    world = World.to_write(many.server.url, many.server.models_dir, holder)
    desire = Desire(many.file, os.environ)
    ended: list[Finished] = []
    rounds: list[dict[str, float]] = []
    polls: list[float] = []
    try:
        loop = Loop(world, desire, desire(), poll_s=10, ended=ended.append)
        for _ in range(2):  # what is read once
            await loop._cycle()
        for _ in range(CYCLES):
            with _clocks() as spent_ns:
                begin_ns = time.process_time_ns()
                await loop._cycle()
                spent_ns[WHOLE] = time.process_time_ns() - begin_ns
            polls.append(await _poll(loop))
            rounds.append(spent_ns)
    finally:
        await world.close()
    assert all(cycle.status.ready and not cycle.outcomes for cycle in ended)
    for spent_ns in rounds:
        spent_ns[REST] = 2 * spent_ns[WHOLE] - sum(spent_ns.values())
    rows = dict.fromkeys([part for part, _, _ in PARTS] + [REST, WHOLE])
    medians = {row: statistics.median(spent.get(row, 0) for spent in rounds) for row in rows}
    return medians | {POLL: statistics.median(polls)}


async def _poll(loop: Loop) -> float:
    """What a cycle spends that nobody asked for, while all that is there is watched but memory."""
    loop._recall.is_poll = True
    begin_ns = time.process_time_ns()
    await loop._cycle()
    assert not loop._recall.is_poll
    return time.process_time_ns() - begin_ns


@contextlib.contextmanager
def _clocks() -> Iterator[dict[str, float]]:
    """What each part's own thread spends in it, meanwhile."""
    spent_ns: dict[str, float] = defaultdict(int)
    with contextlib.ExitStack() as stack:
        for part, owner, name in PARTS:
            clocked = _clocked(getattr(owner, name), part, spent_ns)
            stack.enter_context(mock.patch.object(owner, name, clocked))
        yield spent_ns


def _clocked(
    function: Callable[..., Any], part: str, spent_ns: dict[str, float]
) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        begin_ns = time.thread_time_ns()
        try:
            return function(*arguments, **named)
        finally:
            spent_ns[part] += time.thread_time_ns() - begin_ns

    return call


def _idle(many: Many) -> dict[str, str]:
    """A daemon as it is started by default, from when everything is ready."""
    with Daemon(many, {"PADDOCK_LOG_FORMAT": "json"}) as daemon:
        daemon.wait(daemon.is_ready, "everything is ready", timeout_s=120)
        time.sleep(2)
        begin_s, cpu, theirs = time.monotonic(), cpu_ns(daemon.pid), cpu_ns(many.server.pid)
        time.sleep(IDLE_S)
        elapsed_ns = (time.monotonic() - begin_s) * 1e9
        share = (cpu_ns(daemon.pid) - cpu) / elapsed_ns
        served = (cpu_ns(many.server.pid) - theirs) / elapsed_ns
        return {
            "idle daemon, of a core": f"{share:.2%}",
            "Ollama meanwhile, of a core": f"{served:.2%}",
            "idle daemon, memory": f"{rss_bytes(daemon.pid) / 1e6:.0f} MB",
        }


@dataclass(frozen=True)
class Cost:
    """What a command took: time on the clock, and of the processors."""

    wall_s: float
    cpu_s: float


def _run(many: Many, *arguments: str) -> Cost:
    """A whole command, which must end well."""
    begin_s = time.perf_counter()
    with (many.folder / "command.log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=many.environment, cwd=many.folder, stdout=log, stderr=log
        )
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    wall_s = time.perf_counter() - begin_s
    assert process.returncode == 0, (many.folder / "command.log").read_text()[-2000:]
    return Cost(wall_s, used.ru_utime + used.ru_stime)


def _median_s(work: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(5):
        begin_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin_s)
    return statistics.median(times)


def _gguf(number: int) -> bytes:
    """A tiny model of its own weights; every one has the same header."""
    kv = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.file_type": 0,
        "llama.block_count": 1,
        "llama.context_length": 512,
        "llama.embedding_length": 32,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": Array(STRING, ["a", "b"]),
    }
    return gguf_bytes(kv, [Tensor("token_embd.weight", data=number.to_bytes(128, "big"))])
