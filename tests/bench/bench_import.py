"""What an import costs beside hashing the file and beside `ollama create` of the same Ollama.

One file of real data (PADDOCK_BENCH_MIB, default 4096), in the page cache, and rounds
(PADDOCK_BENCH_ROUNDS, default 3) that each run every way in turn on an empty store; the medians are
printed. The model is imported, not loaded. The file's mtime lies an hour back: a file that changed
less than 2 s ago is waited for first, which is not what is measured. Asserts only what was written
and that it is right.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from gguf_files import F16, STRING, Array, Tensor, gguf_bytes
from paddock_cli import COMMAND, HEAD, clean_environment
from provider import RealPaths
from real import RealOllama

SIZE_MIB = int(os.environ.get("PADDOCK_BENCH_MIB", "4096"))
ROUNDS = int(os.environ.get("PADDOCK_BENCH_ROUNDS", "3"))
SMALL_BYTES = 64 * 1024
MIB = 1 << 20
ROW_VALUES = 4096


class Cost(NamedTuple):
    """What a command took: time on the clock and of the processors, and its peak memory."""

    wall_s: float
    cpu_s: float
    rss_bytes: int


@dataclass
class Measured:
    """What each way took, round by round, and the bytes that it left."""

    openssl: list[Cost] = field(default_factory=list)
    apply: list[Cost] = field(default_factory=list)
    trusted: list[Cost] = field(default_factory=list)
    again: list[Cost] = field(default_factory=list)
    create: list[Cost] = field(default_factory=list)
    written_bytes: int = 0
    state_bytes: int = 0
    created_bytes: int = 0
    digest: str = ""


@pytest.fixture
def big(tmp_path: Path) -> Iterator[Path]:
    """A llama model that Ollama takes: one F16 tensor, and hardly anything else."""
    free_mib = shutil.disk_usage(tmp_path).free // MIB
    assert free_mib > 3 * SIZE_MIB, f"{free_mib} MiB free are too few; set PADDOCK_BENCH_MIB"
    path = tmp_path / "big.gguf"
    rows = SIZE_MIB * MIB // (2 * ROW_VALUES)
    head = gguf_bytes(
        {
            "general.architecture": "llama",
            "general.file_type": 1,
            "llama.block_count": 1,
            "llama.context_length": 2048,
            "llama.embedding_length": ROW_VALUES,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.tokens": Array(STRING, [f"token{n}" for n in range(1000)]),
        },
        [Tensor("token_embd.weight", (ROW_VALUES, rows), F16, size_bytes=0)],
    )
    block = os.urandom(MIB)
    with path.open("wb") as file:
        file.write(head)
        for _ in range(SIZE_MIB):
            file.write(block)
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    os.sync()  # so that the first round does not share the disk with this
    yield path
    path.unlink()


def bench_import(real: RealPaths, big: Path, tmp_path: Path) -> None:
    measured = Measured()
    before = _facts(big)
    for number in range(ROUNDS):
        measured.openssl.append(_run(["openssl", "dgst", "-sha256", big], os.environ))
        with RealOllama(real, tmp_path / f"paddock{number}") as server:
            _import(server, big, measured)
        with RealOllama(real, tmp_path / f"trusting{number}") as server:
            _trust(server, big, measured)
        with RealOllama(real, tmp_path / f"create{number}") as server:
            _create(server, big, measured)
            shutil.rmtree(server.models_dir / "blobs")
    assert _facts(big) == before
    _tell(measured, big.stat().st_size, real.version)


def _import(server: RealOllama, big: Path, measured: Measured) -> None:
    env = _declare(server, f"{{gguf: {big}}}")
    measured.apply.append(_run([*COMMAND, "apply"], env))
    measured.again.append(_run([*COMMAND, "apply"], env))
    measured.digest = _linked(server, big).name.removeprefix("sha256-")
    measured.state_bytes = _bytes_below(server.models_dir / ".paddock")
    measured.written_bytes = _bytes_below(server.models_dir) - measured.state_bytes
    assert 0 < measured.written_bytes < SMALL_BYTES


def _trust(server: RealOllama, big: Path, measured: Measured) -> None:
    """The digest stands in the file, and is taken at its word."""
    env = _declare(server, f'{{gguf: {big}, sha256: "{measured.digest}", trust: name}}')
    measured.trusted.append(_run([*COMMAND, "apply"], env))
    assert _linked(server, big).name == f"sha256-{measured.digest}"


def _declare(server: RealOllama, source: str) -> dict[str, str]:
    file = server.folder / "models.yaml"
    file.write_text(f"{HEAD}  big:\n    source: {source}\n")
    return clean_environment(
        OLLAMA_HOST=server.host,
        OLLAMA_MODELS=str(server.models_dir),
        PADDOCK_FILE=str(file),
        PADDOCK_SOCKET=str(server.folder / "paddock.sock"),
    )


def _linked(server: RealOllama, big: Path) -> Path:
    assert server.tags()["big:latest"]["size"] > big.stat().st_size
    [link] = [path for path in (server.models_dir / "blobs").iterdir() if path.is_symlink()]
    assert link.resolve() == big
    return link


def _run(command: Sequence[str | Path], env: Mapping[str, str]) -> Cost:
    cpu_s, begin = _children_cpu_s(), time.perf_counter()
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=dict(env), stdout=quiet, stderr=quiet)
    peaks = [0]
    watch = threading.Thread(target=_watch_memory, args=(process.pid, peaks))
    watch.start()
    code = process.wait(600)
    wall_s = time.perf_counter() - begin
    watch.join()
    assert code == 0, command
    return Cost(wall_s, _children_cpu_s() - cpu_s, max(peaks))


def _children_cpu_s() -> float:
    """The processor time of all children that have ended; the servers run on."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch_memory(pid: int, peaks: list[int]) -> None:
    """Adds the process's own peak, as the kernel counts it, while it runs."""
    status = Path(f"/proc/{pid}/status")
    while True:
        try:
            text = status.read_text()
        except OSError:
            return
        _, found, tail = text.partition("VmHWM:")
        if not found:
            return  # it has ended
        peaks.append(int(tail.split()[0]) * 1024)
        time.sleep(0.02)


def _create(server: RealOllama, big: Path, measured: Measured) -> None:
    modelfile = server.folder / "Modelfile"
    modelfile.write_text(f"FROM {big}\n")
    begin = time.perf_counter()
    server.cli("create", "big", "-f", modelfile, timeout_s=600)
    measured.create.append(Cost(time.perf_counter() - begin, 0.0, 0))
    assert "big:latest" in server.tags()
    measured.created_bytes = _bytes_below(server.models_dir)


def _bytes_below(folder: Path) -> int:
    """The bytes of all files below a folder; links count nothing."""
    files = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(found.st_size for found in files)


def _facts(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mode, found.st_mtime_ns, found.st_ctime_ns


def _tell(measured: Measured, size_bytes: int, version: str) -> None:
    ways = {
        "openssl dgst -sha256": measured.openssl,
        "paddock apply": measured.apply,
        "paddock apply, trusted": measured.trusted,
        "paddock apply, again": measured.again,
        "ollama create": measured.create,
    }
    openssl_s, apply_s, _, _, create_s = (_median_s(costs) for costs in ways.values())
    goals = {
        "paddock apply": f"<= {1.05 * openssl_s + 0.5:.2f} s",
        "paddock apply, trusted": "< 1 s",
    }
    print(
        f"\n\nimport of {size_bytes / 2**30:.2f} GiB, Ollama {version}, medians of {ROUNDS} rounds"
    )
    print(f"{'':24}{'time':>10}{'/ openssl':>11}{'of CPUs':>10}{'goal':>18}  rounds")
    for way, costs in ways.items():
        wall_s = _median_s(costs)
        cpu_s = statistics.median(cost.cpu_s for cost in costs)
        rounds = " ".join(f"{cost.wall_s:.2f}" for cost in costs)
        cpu = f"{cpu_s:.2f} s" if cpu_s else "server's"
        ratio = f"{wall_s / openssl_s:.2f}"
        print(f"{way:24}{wall_s:>8.2f} s{ratio:>11}{cpu:>10}{goals.get(way, ''):>18}  {rounds}")
    rss_bytes = max(cost.rss_bytes for cost in measured.apply)
    for what, figure, goal in (
        ("create / apply", f"{create_s / apply_s:.1f}", ">= 8"),
        ("peak memory of apply", f"{rss_bytes / 1e6:.0f} MB", "< 100 MB"),
        ("written by apply", f"{measured.written_bytes:,} bytes", f"< {SMALL_BYTES:,} bytes"),
        ("  and in .paddock", f"{measured.state_bytes:,} bytes", ""),
        ("written by create", f"{measured.created_bytes:,} bytes", ""),
    ):
        print(f"{what:24}{figure:>31}{goal:>18}")


def _median_s(costs: list[Cost]) -> float:
    return statistics.median(cost.wall_s for cost in costs)
