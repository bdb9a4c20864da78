"""The manager of the units, as `systemctl` speaks for it; and the units that Paddock ships.

Runs systemctl, and reads the environment of a service's process: what its unit says may be less
than what it was started with. Writes no unit itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import paddock
from paddock.errors import PaddockError

BOOTED = Path("/run/systemd/system")
_PACKAGE = Path(paddock.__file__).parent
_RUN_S = 300.0


class Manager:
    """The system's manager, or with `is_user` one's own."""

    def __init__(self, *, is_user: bool):
        self._command = ["systemctl", "--no-pager", *(["--user"] if is_user else [])]

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit; all are empty where nobody knows it."""
        text = self._run("show", unit, *(f"--property={name}" for name in names))
        found = dict(line.partition("=")[::2] for line in text.splitlines())
        return {name: found.get(name, "") for name in names}

    def do(self, *arguments: str) -> None:
        """Have it done. Raises PaddockError with what systemctl says."""
        self._run(*arguments)

    def version(self) -> int:
        """systemd's version, such as 252."""
        words = self._run("--version").split()
        return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                capture_output=True,
                text=True,
                timeout=_RUN_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PaddockError(f"systemctl {arguments[0]}: {error}") from error
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
            raise PaddockError(f"systemctl {' '.join(arguments)}: {said}")
        return done.stdout


def environment_of(pid: int) -> dict[str, str]:
    """The variables that a process was started with. Raises PaddockError."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError as error:
        raise PaddockError(f"process {pid}: {error.strerror}: cannot tell its settings") from error
    pairs = (item.decode(errors="surrogateescape").partition("=") for item in data.split(b"\0"))
    return {name: value for name, _, value in pairs if name}


def shipped_units(*, is_user: bool) -> Mapping[str, str]:
    """The units that Paddock ships, by the name below their folder."""
    packed = _PACKAGE / "units"
    root = packed if packed.is_dir() else _PACKAGE.parents[1] / "systemd"
    folder = root / "user" if is_user else root
    shared = root / "paddock.service.d"
    paths = [*folder.glob("paddock.*"), *shared.glob("*.conf")]
    texts = {
        str(path.relative_to(folder if path.parent == folder else root)): path.read_text()
        for path in paths
        if path.is_file()
    }
    if "paddock.service" not in texts:
        raise PaddockError(f"this installation has no units: {root} is missing")
    return texts
