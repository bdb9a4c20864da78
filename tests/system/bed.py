"""A bed: a host with a real systemd as PID 1, in namespaces over an overlay of this one.

Owns that host's life: it boots in half a second, sees the files of this one, writes nothing to them
and is gone, mounts, cgroups and processes and all, once its stdin is closed, by whatever end. Needs
root and cgroup2; everything else about it are two shell scripts beside this file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock_cli import UnixConnection

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SYSTEMD = Path("/lib/systemd/systemd")
PACKAGES = ("systemd", "util-linux", "curl")
WAIT_S = 30.0
_NAMESPACES = ("--mount", "--pid", "--cgroup", "--ipc", "--uts", "--net", "--root", "--wd")


def obstacle() -> str | None:
    """Why no bed can be made here, if none can; as root on Debian it installs what is missing."""
    if os.geteuid() != 0:
        return "a systemd of its own needs root"
    needed = subprocess.run(
        [ROOT / "scripts" / "apt-need", *PACKAGES], capture_output=True, text=True, check=False
    )
    if needed.returncode != 0:
        return needed.stderr.strip()
    if not SYSTEMD.exists() or shutil.which("nsenter") is None:
        return "no systemd here"
    tried = subprocess.run(
        ["unshare", "-mpf", "-Ciun", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        return f"this root may make no namespaces: {tried.stderr.strip()}"
    if "cgroup2" not in Path("/proc/filesystems").read_text():
        return "this kernel has no cgroup2"
    return None


@dataclass
class Done:
    """What a command in the bed left."""

    code: int
    out: str
    err: str


@dataclass
class Bed:
    """A running systemd; `pid` is the one that it has outside."""

    pid: int

    def enter(self, *command: str | Path, user: str | None = None) -> list[str]:
        """The command line that runs a command in the bed, as root or as a user."""
        as_user = [] if user is None else ["runuser", "-u", user, "--"]
        inside = [*as_user, *map(str, command)]
        return ["nsenter", f"--target={self.pid}", *_NAMESPACES, "--", *inside]

    def run(
        self,
        *command: str | Path,
        user: str | None = None,
        code: int | None = 0,
        text: str = "",
        timeout_s: float = 60.0,
    ) -> Done:
        """Runs a command in the bed, which must end with this code; None takes any."""
        found = subprocess.run(
            self.enter(*command, user=user),
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": os.defpath + ":/usr/local/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"},
        )
        done = Done(found.returncode, found.stdout, found.stderr)
        if code is not None and done.code != code:
            raise AssertionError(f"{command} ended with {done}\n{self.journal_text()[-3000:]}")
        return done

    def systemctl(self, *arguments: str, code: int | None = 0) -> str:
        """What `systemctl ARGUMENTS` prints."""
        return self.run("systemctl", "--no-pager", *arguments, code=code).out

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", unit, "-P", name).strip()

    def path(self, path: str) -> Path:
        """A path of the bed, as it is outside; absolute links on the way lead astray."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, path: str, text: str, mode: str = "0644", owner: str = "root") -> None:
        """Writes a file of the bed, and the folders that it lies in."""
        self.run(
            "install", "-D", "-m", mode, "-o", owner, "-g", owner, "/dev/stdin", path, text=text
        )

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """The records of the journal that match, oldest first, with all that was sent before."""
        self.run("journalctl", "--sync")
        found = self.run("journalctl", "--no-pager", "-o", "json", "--all", *matches)
        return [json.loads(line) for line in found.out.splitlines()]

    def journal_text(self) -> str:
        """All that the journal holds, as people read it."""
        command = self.enter("journalctl", "--no-pager", "-o", "short-monotonic")
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def from_now(self) -> str:
        """Matches what is sent from now on: what was sent before is dated before."""
        self.run("journalctl", "--sync")
        return f"--since=@{time.time():.6f}"

    def connection(self, path: str, timeout_s: float = 60.0) -> UnixConnection:
        """HTTP over a Unix socket of the bed."""
        return UnixConnection(self.path(path), timeout_s)

    def wait(self, fact: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
        """Waits until a fact holds."""
        deadline = time.monotonic() + timeout_s
        while not fact():
            late = time.monotonic() > deadline
            assert not late, f"not in {timeout_s} s: {what}\n{self.journal_text()[-4000:]}"
            time.sleep(0.05)


@contextmanager
def booted(folder: Path, paths: Sequence[Path], packages: Sequence[Path] = ()) -> Iterator[Bed]:
    """A bed whose mounts are below `folder`; each of `paths` can be seen in it, and Debian's
    `packages` lie over what the host has of them."""
    log = folder / "bed.log"
    outside = HERE / "bed_outside.sh"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", outside, folder, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env=os.environ | {"BED_PACKAGES": " ".join(map(str, packages))},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline().decode()
        assert said.startswith("pid "), f"the bed was not made: {log.read_text()}"
        bed = Bed(int(said.removeprefix("pid ")))
        _wait_until_up(bed)
        yield bed
    finally:
        process.stdin.close()
        ended = process.wait(30)
        process.stdout.close()
    assert ended == 0, f"the bed left something behind: {log.read_text()}"


def _wait_until_up(bed: Bed) -> None:
    deadline = time.monotonic() + WAIT_S
    while (state := bed.run("systemctl", "is-system-running", code=None).out.strip()) not in {
        "running",
        "degraded",
    }:
        assert time.monotonic() < deadline, f"the bed is {state}"
        time.sleep(0.05)
