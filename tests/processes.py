"""Process groups of the servers that tests start: what runs in one, and its end.

Knows Linux's /proc. Each server leads a group of its own, so that its children end with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path


def running(group: int) -> list[str]:
    """The names of the processes of a group that still run; a zombie does not."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            head, _, tail = file.read_text().rpartition(") ")
            state, _, its_group, *_ = tail.split()
            if int(its_group) == group and state not in "ZX":
                found.append(head.partition("(")[2])
    return sorted(found)


def kill_group(leader: subprocess.Popen[bytes], timeout_s: float = 10.0) -> None:
    """Kills a group at once and returns when none of it runs; the leader is reaped."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait(timeout_s)
    deadline = time.monotonic() + timeout_s
    while left := running(leader.pid):  # its orphans are not ours to wait for
        assert time.monotonic() < deadline, f"{left} do not die"
        time.sleep(0.005)
