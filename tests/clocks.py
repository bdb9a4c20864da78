"""Clocks for daemons: a wall clock that a test sets while they run, and a host that just booted.

The wall clock of one process is libfaketime's (Debian's package), as a file says; its monotonic
clock is the kernel's. As a program, `clocks.py SECONDS COMMAND…` goes on as COMMAND in a time
namespace whose monotonic clock shows so much (time_namespaces(7)).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from giving_up import give_up

APT_NEED = Path(__file__).resolve().parents[1] / "scripts" / "apt-need"
_NEW_TIME = 0x80


@dataclass
class WallClock:
    """The wall clock of a daemon that has `env`: so far before or behind the host's."""

    file: Path
    library: Path
    ahead: timedelta = timedelta()

    def __post_init__(self) -> None:
        self.set(self.ahead)

    @property
    def env(self) -> dict[str, str]:
        """What a process has to be given."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead: timedelta) -> None:
        """Sets the clock, from one moment to the next."""
        self.ahead = ahead
        new = self.file.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.0f}\n")
        new.replace(self.file)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def wall_clock(file: Path) -> WallClock:
    """A clock that is right, until it is set; fails in CI where there is no libfaketime."""
    needed = subprocess.run([APT_NEED, "libfaketime"], capture_output=True, text=True, check=False)
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    if not found:
        give_up(f"no libfaketime: {needed.stderr.strip()}")
    return WallClock(file, found[0])


def uptime(seconds: float) -> tuple[str, ...]:
    """The prefix of a command that runs on a host that has been up for so long."""
    return sys.executable, __file__, f"{seconds:.0f}"


def _main(seconds: str, *command: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_TIME):
        sys.exit(os.strerror(ctypes.get_errno()))
    offset = int(seconds) - int(time.monotonic())
    Path("/proc/self/timens_offsets").write_text(f"monotonic {offset} 0\n")
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY)
    if libc.setns(fd, _NEW_TIME):
        sys.exit(os.strerror(ctypes.get_errno()))
    os.close(fd)
    os.execvp(command[0], command)


if __name__ == "__main__":
    _main(*sys.argv[1:])
