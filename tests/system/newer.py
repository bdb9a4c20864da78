"""A newer systemd than the host's, for beds: the one of Debian's backports, laid over the overlay.

The packages are fetched with apt, by lists and a cache of their own, into a folder outside the
tree; nothing is installed.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from pathlib import Path

NEEDED = 253  # the first that knows Type=notify-reload
PACKAGES = ("systemd", "libsystemd-shared", "libsystemd0")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FETCH_S = 90.0


def host_version() -> int:
    """The version of the host's systemd."""
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True)
    found = re.match(r"systemd (\d+)", said.stdout)
    assert found is not None, said.stdout
    return int(found[1])


def newer_systemd() -> tuple[Path, ...]:
    """The packages of a systemd that is new enough; none where the host's is. Raises RuntimeError
    where there are none to be had."""
    if host_version() >= NEEDED:
        return ()
    release = dict(
        line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines()
    )
    codename = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian":
        raise RuntimeError(f"systemd {host_version()} here, and no Debian to have a newer one of")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddock"
    folder = cache / f"systemd-{codename}-backports"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            _fetch(folder, _mirror(codename), f"{codename}-backports")
            (folder / "whole").touch()
    return tuple(sorted(folder.glob("*.deb")))


def _mirror(codename: str) -> str:
    """Where this host has its own Debian from."""
    ask = ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)"]
    listed = subprocess.run(
        [*ask, "Created-By: Packages"], capture_output=True, text=True, check=True
    )
    found = [
        line.split(" ")[2]
        for line in listed.stdout.splitlines()
        if line.startswith(f"{codename} main ")
    ]
    if not found:
        raise RuntimeError(f"apt knows no source of {codename}")
    return found[0]


def _fetch(folder: Path, mirror: str, suite: str) -> None:
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    source = f"deb [signed-by={KEYRING}] {mirror} {suite} main\n"
    (folder / "sources.list").write_text(source)
    apart = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder,
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in apart.items())]
    for step in (["update"], ["download", *(f"{name}/{suite}" for name in PACKAGES)]):
        done = subprocess.run(
            [*apt, *step], cwd=folder, capture_output=True, text=True, check=False, timeout=FETCH_S
        )
        if done.returncode != 0:
            raise RuntimeError(f"no newer systemd to be had: {done.stderr.strip()}")
