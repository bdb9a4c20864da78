"""Paddock under a systemd that knows Type=notify-reload, with the drop-in for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from giving_up import give_up
from provider import RealPaths
from system.hosts import SMOLLM2, SPEC, UNITS, Host, prepared
from system.newer import NEEDED, newer_systemd

DROP_IN = UNITS / "paddock.service.d" / "notify-reload.conf"
MORE = "  again:\n    source: {model: smollm2}\n    system: Be brief.\n"


@pytest.fixture(scope="module")
def module_host(
    bedding: None, real: RealPaths, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A host with the newer one, on which Ollama runs."""
    try:
        packages = newer_systemd()
    except RuntimeError as error:
        give_up(str(error))
    with prepared(tmp_path_factory.mktemp("bed"), real, packages) as host:
        folder = "/usr/local/lib/systemd/system/paddock.service.d"
        host.bed.run("install", "-D", "-m", "0644", "-t", folder, DROP_IN)
        host.bed.systemctl("daemon-reload")
        yield host


def test_a_reload_is_over_once_the_file_was_taken(host: Host) -> None:
    """systemd sends the signal and waits for READY=1: what the file says now is done by then."""
    assert int(host.bed.systemctl("--version").split()[1]) >= NEEDED
    host.declare(SMOLLM2)
    host.start()
    assert host.bed.show("paddock", "Type") == "notify-reload"
    assert host.status_text == "1 model is as the file says"
    pid = host.pid
    host.declare(SMOLLM2 + MORE)
    host.bed.systemctl("reload", "paddock")
    assert "again:latest" in host.tags()
    assert host.status_text == "2 models are as the file says"
    assert host.pid == pid
    assert host.bed.show("paddock", "ActiveState") == "active"


def test_a_reload_of_an_invalid_file_ends_too_and_says_so(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start()
    host.declare("  smollm2: {sauce: here}\n")
    host.bed.systemctl("reload", "paddock")
    assert SPEC in host.status_text
    assert "smollm2:latest" in host.tags()
    host.declare(SMOLLM2)
    for _ in range(3):
        host.bed.systemctl("reload", "paddock")
    assert host.is_ready()


def test_systemd_finds_nothing_wrong_in_the_unit_and_its_drop_in(host: Host) -> None:
    done = host.bed.run("systemd-analyze", "verify", "/etc/systemd/system/paddock.service")
    assert done.out + done.err == ""
