"""Paddock's unit with the drop-in for a host without Ollama's own service: it starts Ollama."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from system.hosts import LOADED, MODELS_DIR, UNITS, Host
from system.test_systemd_life import messages, restarts, stopped, talk

HOME = "/usr/share/ollama"


@pytest.fixture
def managed(host: Host) -> Iterator[Host]:
    """A host on which Ollama never ran: its service is stopped, its folders are not there."""
    bed = host.bed
    host.set((UNITS / "managed.conf").read_text() + "Environment=OLLAMA_NO_CLOUD=1", "managed")
    host.declare(LOADED)
    with host.without_ollama():
        bed.run("mv", f"{HOME}/.ollama", "/root/theirs")
        yield host
        bed.systemctl("stop", "paddock.service", code=None)
        bed.run("rm", "-rf", f"{HOME}/.ollama")
        bed.run("mv", "/root/theirs", f"{HOME}/.ollama")


def left(host: Host) -> str:
    """What still runs in the unit."""
    return host.bed.run(
        "cat", "/sys/fs/cgroup/system.slice/paddock.service/cgroup.procs", code=None
    ).out


def test_it_makes_all_that_ollama_needs_and_takes_every_process_away_with_it(
    managed: Host,
) -> None:
    since = managed.bed.from_now()
    managed.start()
    assert managed.loaded() == ["smollm2:latest"]
    assert managed.status_text == "1 model is as the file says"
    owner = managed.bed.run("stat", "--format=%U", f"{MODELS_DIR}/manifests").out.strip()
    assert owner == "ollama"
    said = messages(managed, since, "-u", "paddock")
    assert any("llama-server started" in text for text in said)
    assert not any("error looking up system memory" in text for text in said)
    assert len(left(managed).split()) == 4, "paddock, the guardian, the server and one runner"
    assert stopped(managed) < 10
    assert left(managed) == ""


def test_a_stream_ends_before_ollama_is_stopped(managed: Host) -> None:
    managed.start()
    lines = talk(managed, "Count.", num_predict=150)
    next(lines)
    managed.bed.systemctl("stop", "--no-block", "paddock.service")
    last = [json.loads(line) for line in lines][-1]
    assert last["done"], last
    managed.bed.wait(lambda: managed.bed.show("paddock", "ActiveState") == "inactive", "it ends")
    assert managed.bed.show("paddock", "Result") == "success"


def test_a_hung_loop_is_killed_with_its_ollama_and_both_come_back(managed: Host) -> None:
    managed.set("WatchdogSec=2\nTimeoutAbortSec=5", "short")
    managed.start()
    before = left(managed).split()
    managed.bed.run("kill", "-STOP", str(managed.pid))
    managed.bed.wait(lambda: restarts(managed) == 1, "systemd starts it again")
    managed.bed.wait(lambda: managed.bed.show("paddock", "ActiveState") == "active", "it is ready")
    assert managed.loaded() == ["smollm2:latest"]
    assert set(left(managed).split()).isdisjoint(before)
