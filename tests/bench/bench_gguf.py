"""What reading the header of a real model costs: time, memory and reads.

The goals are for the 98 MB SmolLM2-135M, whose header has a tokenizer of 49,152 words. If the
package `gguf` happens to be installed, its reader is measured beside ours.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from paddock.core.gguf import Header, facts, read_header
from provider import RealPaths

ROUNDS = 15
MOST_S = 0.025
MOST_BYTES = 5_000_000


def bench_gguf(real: RealPaths) -> None:
    reads: list[int] = []
    header = _read(real.gguf, reads)
    assert facts(header).architecture == "llama"
    rows = [("paddock: read_header", lambda: _read(real.gguf)), ("paddock: and facts", _all(real))]
    if importlib.util.find_spec("gguf"):
        rows.append(("gguf: GGUFReader", lambda: _reference(real.gguf)))
    size_bytes = real.gguf.stat().st_size
    print(f"\n\nheader of {size_bytes / 1e6:.0f} MB: {len(reads)} reads, {sum(reads)} bytes; warm")
    print(f"{'':24}{'median':>12}{'least':>12}{'peak memory':>14}")
    for what, work in rows:
        times_s = _times_s(work)
        median_ms, least_ms = statistics.median(times_s) * 1e3, min(times_s) * 1e3
        peak_mb = _peak_bytes(work) / 1e6
        print(f"{what:24}{median_ms:>9.1f} ms{least_ms:>9.1f} ms{peak_mb:>11.1f} MB")
    print(f"{'goal':24}{MOST_S * 1e3:>9.1f} ms{'':12}{MOST_BYTES / 1e6:>11.1f} MB")
    assert _peak_bytes(rows[0][1]) < MOST_BYTES


def _read(path: Path, reads: list[int] | None = None) -> Header:
    descriptor = os.open(path, os.O_RDONLY)

    def read_at(offset: int, length: int) -> bytes:
        if reads is not None:
            reads.append(length)
        return os.pread(descriptor, length, offset)

    try:
        return read_header(read_at, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _all(real: RealPaths) -> Callable[[], object]:
    return lambda: facts(_read(real.gguf))


def _reference(path: Path) -> object:
    from gguf import GGUFReader  # type: ignore[import-not-found,unused-ignore]

    return GGUFReader(path)


def _times_s(work: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return times


def _peak_bytes(work: Callable[[], object]) -> int:
    work()  # whatever is imported or cached at the first time
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
