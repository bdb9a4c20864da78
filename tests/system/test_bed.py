"""The bed itself: it is a host of its own, and nothing is left of it, however its end came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from system.bed import ROOT, booted

WAIT_S = 20.0
PROGRAM = """
import sys
from pathlib import Path
from system.bed import booted
with booted(Path(sys.argv[1]), []) as bed:
    print(bed.pid, flush=True)
    sys.stdin.read()
"""


def left_of(pid: int, folder: Path) -> list[str]:
    """What there still is of a bed: its systemd, its mounts, its cgroups."""
    left = [f"process {pid}"] if Path(f"/proc/{pid}").exists() else []
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
             if str(folder) in line]  # fmt: skip
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    for cgroups in (Path(words[1]) for words in mounts if words[2] == "cgroup2"):
        groups = cgroups.rglob("paddock-bed-*/init.scope/cgroup.procs")
        left += [str(group) for group in groups if str(pid) in group.read_text().split()]
    return left


def test_a_bed_has_pids_a_network_and_an_etc_of_its_own(bedding: None, tmp_path: Path) -> None:
    with booted(tmp_path, [ROOT]) as bed:
        assert bed.run("cat", "/proc/1/comm").out == "systemd\n"
        links = bed.run("ls", "/sys/class/net").out.split()
        assert links == ["lo"]
        bed.write("/etc/only-here", "x")
        assert bed.path("/etc/only-here").read_text() == "x"
        assert not Path("/etc/only-here").exists()
        assert bed.run("touch", "/proc/sys/kernel/hostname", code=None).code != 0
        assert bed.run("test", "-e", ROOT / "pyproject.toml").code == 0
        pid = bed.pid
    assert left_of(pid, tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["bed.log"]


def test_nothing_is_left_of_a_bed_whose_maker_was_killed(bedding: None, tmp_path: Path) -> None:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("tests", "daemon"))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process:
        pid = int(process.stdout.readline())
        assert left_of(pid, tmp_path) != []
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + WAIT_S
    while left := left_of(pid, tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
