"""promtool, which says what Prometheus thinks of a text of metrics.

From PATH, else taken once out of Debian's package `prometheus` (19 MB, of which this one program is
kept, outside this folder): nothing is installed, and no root is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

PACKAGE = "prometheus"
_CACHES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_KEPT = Path(os.environ.get("PADDOCK_CACHE") or _CACHES / "paddock", "promtool")


@cache
def find_promtool() -> Path | None:
    """The program; None where there is no Debian to take it from."""
    found = shutil.which("promtool")
    if found:
        return Path(found)
    if not _KEPT.is_file() and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        with tempfile.TemporaryDirectory() as folder:
            _take_out(Path(folder))
    return _KEPT if _KEPT.is_file() else None


def check_metrics(promtool: Path, text: str) -> str:
    """What promtool has against a text: nothing, where it is as it should be."""
    result = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    return result.stdout + result.stderr if result.returncode else ""


def _take_out(folder: Path) -> None:
    if not _run(folder, "apt-get", "-qq", "download", PACKAGE):
        # A fresh container has no lists; only root may fetch them.
        if os.geteuid() != 0 or not _run(folder, "apt-get", "-qq", "update"):
            return
        if not _run(folder, "apt-get", "-qq", "download", PACKAGE):
            return
    [package] = folder.glob("*.deb")
    if not _run(folder, "dpkg-deb", "-x", package.name, "all"):
        return
    _KEPT.parent.mkdir(parents=True, exist_ok=True)
    part = _KEPT.with_suffix(f".{os.getpid()}")
    shutil.copy2(folder / "all" / "usr" / "bin" / "promtool", part)
    part.replace(_KEPT)


def _run(folder: Path, *command: str) -> bool:
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0
