"""Paddock's relay beside nginx and no relay at all, in one run: what a chunk costs, and waits for.

Never fails for a time, which another process on the machine may have spoiled: goals are printed
beside what was measured. It does fail when one byte of a stream is lost. Each cell is measured in
rounds, the relays in turn; the least disturbed round of each counts. PADDOCK_BENCH_ROUNDS (3) and
PADDOCK_BENCH_SECONDS (1.0, for each stream cell) make it shorter or steadier.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.load import leave_at_once
from bench.measured import rss_bytes
from bench.recording import record
from bench.relays import Load, Relay, load, paced_upstream, relays
from bench.upstream import Recording
from endpoints import CHAT, ENDLESS, MODEL, MODELFILE, PROMPT
from provider import RealPaths
from real import RealOllama

ROUNDS = int(os.environ.get("PADDOCK_BENCH_ROUNDS", "3"))
STEADY_S = float(os.environ.get("PADDOCK_BENCH_SECONDS", "1.0"))
STREAMS = (1, 16, 64, 256)
RATES = (50, 200)
FLOOD_CHUNKS = 60_000
LATE_CHUNKS = 200_000
LEAVE_TIMES = 20
_AROUND_S = 0.9  # of a stream, before and after what is measured

Result = dict[str, Any]
Row = tuple[str, ...]


@dataclass
class Bench:
    """What one run measures with, and the tables that it prints."""

    recording: Recording
    load: Load
    relays: list[Relay]
    streams: list[Row] = field(default_factory=list)
    facts: list[Row] = field(default_factory=list)

    def ask(self, relay: Relay, *, streams: int, chunks: int, rate: int, **job: Any) -> Result:
        """Runs streams through one relay, and checks that every byte of them came."""
        body = paced_body(chunks, rate)
        result = self.load.run(relay, streams=streams, body=body, **job)
        check_whole(result, self.recording.size_bytes(chunks))
        return result

    def rounds(self, **job: Any) -> dict[str, list[Result]]:
        """Runs one job through every relay, in turn, and gives the results of each."""
        found: dict[str, list[Result]] = {relay.name: [] for relay in self.relays}
        for turn in range(ROUNDS):
            for place in range(len(self.relays)):
                relay = self.relays[(turn + place) % len(self.relays)]
                found[relay.name].append(self.ask(relay, **job))
        return found

    def fact(self, name: str, found: dict[str, float], unit: str, goal: str) -> None:
        """Adds a row; figures of relays that were not measured stay empty."""
        figures = [f"{found[n]:.2f}" if n in found else "" for n in ("paddock", "nginx", "direct")]
        self.facts.append((f"{name}, {unit}", *figures, _ratio(found), goal))


def paced_body(chunks: int, rate: int) -> Result:
    """The request for a stream of the paced upstream; rate 0 is a flood."""
    options = {"num_predict": chunks, "rate": rate}
    return {"model": MODEL, "messages": PROMPT, "options": options}


def check_whole(result: Result, size_bytes: int) -> None:
    """Fails when a stream was not whole."""
    assert result["whole"], "a stream has no end"
    assert set(result["sizes"]) == {size_bytes}, "bytes were lost"


@pytest.fixture(scope="module")
def real_server(real: RealPaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOllama]:
    with RealOllama(real, tmp_path_factory.mktemp("ollama")) as server:
        server.create_from_gguf(MODEL, modelfile_lines=MODELFILE)
        server.api("POST", "/api/chat", CHAT | {"stream": False}, timeout_s=90)
        yield server


def bench_relay_beside_nginx(real_server: RealOllama) -> None:
    """Measures everything and prints two tables."""
    with tempfile.TemporaryDirectory() as name, load() as loader:
        folder = Path(name)
        count = record(real_server.port, folder / "recording.json")
        print(f"\nreplays an answer of Ollama {real_server.version}: {count} chunks, recorded now")
        recording = Recording(folder / "recording.json")
        with (
            paced_upstream(folder / "recording.json") as upstream,
            relays(upstream, folder / "paced") as between,
        ):
            bench = Bench(recording, loader, between)
            _measure_paced(bench)
            _leaving(bench, f"tcp:{upstream}")
        with relays(real_server.host, folder / "real") as between:
            bench.relays = between
            _real_model(bench)
            _leaving_real(bench, real_server)
    _print(bench)


def _measure_paced(bench: Bench) -> None:
    for relay in bench.relays:
        bench.ask(relay, streams=1, chunks=3, rate=200)
    _memory(bench)
    _slow_reader(bench)
    _first_chunks(bench)
    for streams in STREAMS:
        for rate in RATES:
            _steady(bench, streams, rate)
    for streams in STREAMS:
        _flood(bench, streams)


def _memory(bench: Bench) -> None:
    found = {}
    for relay in bench.relays:
        if relay.pid is not None:
            idle_bytes = rss_bytes(relay.pid)
            result = bench.ask(relay, streams=256, chunks=50, rate=50, steady_s=0.2)
            found[relay.name] = (result["rss_bytes"] - idle_bytes) / 256 / 1000
    bench.fact("memory per stream (256)", found, "kB", "< 100")


def _first_chunks(bench: Bench) -> None:
    at_once = [bench.rounds(streams=64, chunks=3, rate=50) for _ in range(4)]
    last = _least(at_once, "first_last_s")
    bench.fact("64 at once, the last one's first chunk", last, "ms", "<= 2 x nginx")
    bench.fact("64 at once, the median", _least(at_once, "first_median_s"), "ms", "")
    cpu = {
        name: min(r["cpu_per_chunk_us"] * r["chunks"] / 64 for part in at_once for r in part[name])
        for name in ("paddock", "nginx")
    }
    bench.fact("64 at once, CPU per request", cpu, "us", "")
    alone = [bench.rounds(streams=1, chunks=3, rate=200) for _ in range(6)]
    first = _least(alone, "first_last_s")
    bench.fact("one first chunk", first, "ms", "< direct + 2")


def _least(parts: list[dict[str, list[Result]]], key: str) -> dict[str, float]:
    names = parts[0]
    return {n: min(r[key] for part in parts for r in part[n]) * 1e3 for n in names}


def _steady(bench: Bench, streams: int, rate: int) -> None:
    chunks = round(rate * (STEADY_S + _AROUND_S))
    found = bench.rounds(streams=streams, chunks=chunks, rate=rate, steady_s=STEADY_S)
    bench.streams.append((f"{streams} x {rate}/s", *_figures(found)))


def _flood(bench: Bench, streams: int) -> None:
    chunks = FLOOD_CHUNKS // streams
    found = bench.rounds(streams=streams, chunks=chunks, rate=0, timed=False)
    rates = [max(r["chunks"] / r["elapsed_s"] for r in results) for results in found.values()]
    shown = " / ".join(f"{rate / 1000:.0f}" for rate in rates)
    row = (f"{streams} x flood", f"{shown} k/s", _ratio_of(rates), "", "")
    bench.streams.append((*row, *_cpu(found)))


def _figures(found: dict[str, list[Result]]) -> Row:
    row: list[str] = []
    for key in ("p50_us", "p99_us"):
        best = [min(result[key] for result in results) for results in found.values()]
        row += [" / ".join(f"{figure:.0f}" for figure in best), _ratio_of(best)]
    return (*row, *_cpu(found))


def _cpu(found: dict[str, list[Result]]) -> Row:
    best = [min(r["cpu_per_chunk_us"] for r in found[name]) for name in ("paddock", "nginx")]
    return (" / ".join(f"{figure:.1f}" for figure in best), _ratio_of(best))


def _ratio_of(figures: list[float]) -> str:
    return f"{figures[0] / figures[1]:.2f}"


def _ratio(found: dict[str, float]) -> str:
    return _ratio_of([found["paddock"], found["nginx"]]) if found.get("nginx") else ""


def _slow_reader(bench: Bench) -> None:
    names = [relay.name for relay in bench.relays]
    grown: dict[str, list[float]] = {name: [] for name in names if name != "direct"}
    with_it: dict[str, list[Result]] = {name: [] for name in names}
    without: dict[str, list[Result]] = {name: [] for name in names}
    with load() as slow:
        for _ in range(ROUNDS):
            for relay in bench.relays:
                late, beside = _beside_a_slow_reader(bench, relay, slow)
                with_it[relay.name].append(beside)
                without[relay.name].append(_sixteen(bench, relay))
                if relay.pid is not None:
                    grown[relay.name].append(late["grown_bytes"] / 1000)
    size_mb = bench.recording.size_bytes(LATE_CHUNKS) / 1e6
    most = {name: max(sizes) for name, sizes in grown.items()}
    bench.fact(f"a reader {size_mb:.0f} MB behind: memory", most, "kB", "bounded")
    for key, shown in (("p50_us", "p50"), ("p99_us", "p99")):
        for results, what in ((with_it, "beside it"), (without, "without it")):
            medians = {n: statistics.median(r[key] for r in results[n]) for n in names}
            bench.fact(f"16 x 50/s {what}, {shown}", medians, "us", "both alike")


def _leaving(bench: Bench, upstream: str) -> None:
    median, most = {}, {}
    for relay in bench.relays:
        body = paced_body(20_000, 200)
        result = bench.load.run(relay, body=body, times=LEAVE_TIMES, upstream=upstream)
        median[relay.name], most[relay.name] = result["median_ms"], result["most_ms"]
    bench.fact("a client leaves: until upstream's end, median", median, "ms", "< 50")
    bench.fact("a client leaves: until upstream's end, most", most, "ms", "< 50")


def _leaving_real(bench: Bench, server: RealOllama) -> None:
    """Ollama writes a line to its log once a request has ended; this one would take a minute."""
    median, most = {}, {}
    for relay in bench.relays:
        took_ms = []
        for _ in range(LEAVE_TIMES):
            known = len(server.requests_log())
            left_ns = leave_at_once(relay.where, ENDLESS | {"model": MODEL})
            while len(server.requests_log()) == known:
                time.sleep(0.001)
            took_ms.append((time.monotonic_ns() - left_ns) / 1e6)
        median[relay.name], most[relay.name] = statistics.median(took_ms), max(took_ms)
    bench.fact("the same, until Ollama's log says it ended, median", median, "ms", "< 50")
    bench.fact("the same, most", most, "ms", "")


def _beside_a_slow_reader(bench: Bench, relay: Relay, slow: Load) -> tuple[Result, Result]:
    slow.begin(relay, body=paced_body(LATE_CHUNKS, 0), late_s=STEADY_S + _AROUND_S)
    beside = _sixteen(bench, relay)
    late = slow.result()
    check_whole(late, bench.recording.size_bytes(LATE_CHUNKS))
    return late, beside


def _sixteen(bench: Bench, relay: Relay) -> Result:
    chunks = round(50 * (STEADY_S + _AROUND_S))
    return bench.ask(relay, streams=16, chunks=chunks, rate=50, steady_s=STEADY_S)


def _real_model(bench: Bench) -> None:
    body = CHAT | {"model": MODEL}
    found: dict[str, list[Result]] = {relay.name: [] for relay in bench.relays}
    for _ in range(ROUNDS):
        for relay in bench.relays:
            result = bench.load.run(relay, streams=4, body=body, real=True)
            assert result["whole"], "a stream has no end"
            assert result["chunks"] >= 4 * 2, "the real model said nothing"
            found[relay.name].append(result)
    counts = {result["chunks"] for results in found.values() for result in results}
    assert len(counts) == 1, f"chunks were lost: {counts}"
    bench.streams.append(("real model x 4", *_figures(found)))


def _print(bench: Bench) -> None:
    head = ("streams", "p50 us: paddock / nginx / direct", "ratio", "p99 us", "ratio")
    rows = [(*head, "CPU us per chunk: paddock / nginx", "ratio"), *bench.streams]
    _print_table([*rows, ("goal", "", "<= 1.00", "", "<= 1.00", "", "<= 1.30")])
    _print_table([("what", "paddock", "nginx", "direct", "ratio", "goal"), *bench.facts])


def _print_table(rows: list[Row]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for number, row in enumerate(rows):
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
