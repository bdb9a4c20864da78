"""The .deb on a host with a real systemd and a real Ollama, from its installation to its purge."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import paddock
from system.debs import RAISED
from system.hosts import GGUF, LOADED, MODELS_DIR, SOCKET, SPEC, Host
from system.test_systemd_install import etc

pytestmark = pytest.mark.timeout(300)
UNITS = ("paddock.service", "paddock.socket")
COMMAND = "/usr/bin/paddock"
MADE = (
    SPEC,
    "/etc/systemd/system/paddock.service.d/installed.conf",
    "/etc/systemd/system/paddock.socket.d/installed.conf",
)


@dataclass
class Debian:
    """A host with Ollama, a model in it, and nothing of Paddock but packages to install."""

    host: Host
    old: str
    new: str

    def dpkg(self, *arguments: str) -> str:
        """What dpkg and the scripts of the package say."""
        done = self.host.bed.run("dpkg", "--force-unsafe-io", *arguments)
        return done.out + done.err

    def paddock(self, *arguments: str, code: int = 0) -> str:
        """What the installed command says to root."""
        done = self.host.bed.run(COMMAND, *arguments, code=code)
        return done.out + done.err

    def states(self, name: str) -> list[str]:
        """A property of each unit."""
        return [self.host.bed.show(unit, name) for unit in UNITS]

    def traces(self) -> list[str]:
        """Every path that has Paddock's name, but those beside Ollama's models, and all of /etc."""
        skipped = ("/usr/local", "/usr/share/ollama", "/run/systemd")
        prune = [word for path in skipped for word in ("-path", path, "-prune", "-o")]
        find = ("find", "/usr", "/lib/systemd", "/var/lib", "/run", *prune)
        return self.host.bed.run(*find, "-name", "*paddock*", "-print").out.splitlines() + etc(
            self.host
        )


@pytest.fixture
def debian(host: Host, made: dict[str, Path], made_higher: dict[str, Path]) -> Iterator[Debian]:
    bed, debs = host.bed, [made[".deb"], made_higher[".deb"]]
    for path in debs:
        shutil.copy(path, bed.path("/srv"))
    bed.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", "0755")
    units = [f"/etc/systemd/system/{unit}" for unit in UNITS]
    bed.run("rm", "-rf", *units, "/usr/local/lib/systemd/system/paddock.service.d")
    bed.run("rm", "-rf", "/usr/local/bin/paddock", "/etc/tmpfiles.d/paddock.conf")
    bed.run("rm", "-rf", "/etc/paddock", "/run/paddock")
    bed.systemctl("daemon-reload")
    bed.write("/tmp/Modelfile", f"FROM {GGUF}\nSYSTEM Be brief.\n")
    bed.run("/usr/bin/env", "HOME=/tmp", "ollama", "create", "theirs", "-f", "/tmp/Modelfile")
    old, new = (f"/srv/{path.name}" for path in debs)
    yield Debian(host, old, new)
    bed.run("dpkg", "--purge", "paddock", code=None)


def test_it_is_installed_configured_upgraded_removed_and_purged(debian: Debian) -> None:
    before = debian.traces()
    said = debian.dpkg("--install", debian.old)
    assert "start it with: sudo paddock install-service" in said
    nothing_runs_before_it_is_configured(debian)
    debian.paddock("install-service")
    keeps_models_through_an_upgrade(debian)
    stops_when_removed_and_starts_when_it_is_back(debian)
    said = debian.dpkg("--purge", "paddock")
    assert f"paddock: kept {SPEC}: it was changed\n" in said
    assert debian.host.tags() == ["smollm2:latest", "theirs:latest"]
    assert debian.host.bed.path(f"{MODELS_DIR}/.paddock/state.db").exists()
    debian.host.bed.run("rm", "-r", "/etc/paddock")
    assert debian.traces() == before


def nothing_runs_before_it_is_configured(debian: Debian) -> None:
    bed = debian.host.bed
    assert debian.states("UnitFileState") == ["disabled", "disabled"]
    assert debian.states("ActiveState") == ["inactive", "inactive"]
    for unit in UNITS:
        done = bed.run("systemd-analyze", "verify", f"/lib/systemd/system/{unit}")
        assert done.out + done.err == ""
    assert debian.paddock("--version") == f"paddock {paddock.__version__}\n"
    pages = bed.run("man", "--where", "1", "paddock", "5", "models.yaml").out
    assert pages == "/usr/share/man/man1/paddock.1.gz\n/usr/share/man/man5/models.yaml.5.gz\n"
    compiled = "/usr/lib/paddock/lib/python3.11/site-packages/paddock/__pycache__"
    assert bed.path(compiled).is_dir(), "it starts as quickly as it can"


def keeps_models_through_an_upgrade(debian: Debian) -> None:
    host = debian.host
    host.declare(LOADED)
    host.bed.systemctl("reload", "paddock")
    host.bed.wait(lambda: host.is_ready() and host.loaded(), "all is made and loaded")
    spec, pid = host.bed.run("cat", SPEC).out, host.pid
    with answered(host) as answers:
        debian.dpkg("--install", debian.new)
        host.bed.wait(lambda: host.pid not in {0, pid}, "the daemon is another")
        host.bed.wait(host.is_ready, "it has converged")
    assert set(answers) == {200}, answers
    assert debian.paddock("--version") == f"paddock {RAISED}\n"
    assert host.bed.run("cat", SPEC).out == spec
    assert debian.states("UnitFileState") == ["enabled", "enabled"]


@contextmanager
def answered(host: Host) -> Iterator[Counter[object]]:
    """Counts what a client hears who asks and asks meanwhile."""
    heard, done = Counter[object](), threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                heard[host.get("/api/tags")[0]] += 1
            except OSError as error:
                heard[repr(error)] += 1

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield heard
    finally:
        done.set()
        client.join()


def stops_when_removed_and_starts_when_it_is_back(debian: Debian) -> None:
    host = debian.host
    debian.dpkg("--remove", "paddock")
    assert host.bed.show("paddock.service", "LoadState") == "not-found"
    assert not host.bed.path(SOCKET).exists()
    assert not host.bed.path("/usr/lib/paddock").exists()
    assert host.bed.path(SPEC).exists()
    debian.dpkg("--install", debian.new)
    host.bed.wait(lambda: debian.states("ActiveState") == ["active", "active"], "it is back")


def test_beside_a_package_install_service_makes_what_uninstalling_or_a_purge_takes_away(
    debian: Debian,
) -> None:
    before = debian.traces()
    debian.dpkg("--install", debian.old)
    a_unit_that_hides_the_packages_is_named(debian)
    unpacked = etc(debian.host)
    wrote = "".join(f"wrote {path}\n" for path in MADE)
    assert debian.paddock("install-service").startswith(wrote)
    assert debian.states("ActiveState") == ["active", "active"]
    debian.paddock("uninstall-service")
    assert etc(debian.host) == unpacked
    assert debian.states("LoadState") == ["loaded", "loaded"]
    debian.paddock("install-service")
    a_purge_leaves_what_another_installation_made(debian)
    assert "kept" not in debian.dpkg("--purge", "paddock")
    assert debian.traces() == before


THEIRS = "/etc/systemd/system/paddock.service"


def a_unit_that_hides_the_packages_is_named(debian: Debian) -> None:
    debian.host.bed.write(THEIRS, "[Service]\nExecStart=/bin/true\n")
    said = debian.paddock("install-service", code=1)
    assert f"{THEIRS} hides the unit of the package: paddock uninstall-service, or move" in said
    debian.host.bed.run("rm", THEIRS)


def a_purge_leaves_what_another_installation_made(debian: Debian) -> None:
    before = etc(debian.host)
    debian.host.bed.write(THEIRS, "[Service]\nExecStart=/bin/true\n")
    debian.host.bed.run("sh", "/var/lib/dpkg/info/paddock.postrm", "purge")
    debian.host.bed.run("rm", THEIRS)
    assert etc(debian.host) == before
