"""What looking at a folder of 5,000 GGUFs costs, beside `find` that prints the same of each file.

The goal is less than a second. `find` pays for its start, which Paddock does not; it does not sort,
group or name, which Paddock does.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from discovering import STORE, discover
from paddock.core.desired import Desired
from paddock.core.discover import Looked, Remembered, with_discovered
from paddock.core.discover_scan import Scan
from paddock.edges import folders

FILES = 5000
ROUNDS = 15
MOST_S = 1.0
WISH = Desired({}, "generation", "models.yaml")


def bench_discover(tmp_path: Path) -> None:
    for number in range(FILES):
        folder = tmp_path / f"publisher-{number % 50}" / f"repo-{number // 10}"
        folder.mkdir(parents=True, exist_ok=True)
        model = folder / f"model-{number}-Q4_K_M.gguf"
        model.write_bytes(b"GGUF")
        os.utime(model, (0, 0))
        (folder / f"readme-{number}.md").touch()
    entry = discover("lmstudio", path=str(tmp_path))
    scan = folders.look(str(tmp_path), "lmstudio")
    assert isinstance(scan, Scan)
    assert len(scan.entries) == FILES
    looks = [Looked(entry, str(tmp_path), scan)]
    first = with_discovered(WISH, looks, Remembered(), declared=frozenset(), store=STORE)
    assert len(first.desired.models) == FILES
    known = Remembered(first.desired.found.names, first.desired.found.devices)
    find = ["find", str(tmp_path), "-name", "*.gguf", "-printf", "%p %s %T@ %D\n"]
    rows: list[tuple[str, Callable[[], object]]] = [
        ("find", lambda: subprocess.run(find, check=True, capture_output=True)),
        ("paddock: the walk", lambda: folders.look(str(tmp_path), "lmstudio")),
        (
            "paddock: and the models",
            lambda: with_discovered(WISH, looks, known, declared=frozenset(), store=STORE),
        ),
    ]
    print(f"\n\n{FILES} GGUFs in {FILES // 10} folders, as many other files; warm")
    print(f"{'':28}{'median':>12}{'least':>12}{'of find':>10}")
    least = {}
    for what, work in rows:
        times_s = _times_s(work)
        least[what] = min(times_s)
        ratio = least[what] / least["find"]
        median_ms = statistics.median(times_s) * 1e3
        print(f"{what:28}{median_ms:>9.1f} ms{least[what] * 1e3:>9.1f} ms{ratio:>10.2f}")
    print(f"{'goal, together':28}{'':12}{MOST_S * 1e3:>9.1f} ms")


def _times_s(work: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return times
