"""Paddock's socket, held by a real systemd: it starts Paddock, and outlives it."""

from __future__ import annotations

import threading
from collections import Counter

from system.hosts import SMOLLM2, SOCKET, Host

OWN_MODE = "660 ollama ollama"


def socket_facts(host: Host) -> str:
    return host.bed.run("stat", "--format=%a %U %G", SOCKET).out.strip()


def test_the_first_client_starts_paddock_and_is_answered(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start("paddock.socket")
    assert host.bed.show("paddock", "ActiveState") == "inactive"
    assert socket_facts(host) == OWN_MODE
    status, answer = host.get("/paddock/status")
    assert status == 200
    assert [model["name"] for model in answer["models"]] == ["smollm2"]
    host.bed.wait(
        lambda: host.bed.show("paddock", "ActiveState") == "active", "the start has ended"
    )
    assert "LISTEN_FDNAMES=paddock" in environment(host)


def environment(host: Host) -> list[str]:
    return host.bed.run("cat", f"/proc/{host.pid}/environ").out.split("\0")


def test_paddock_makes_the_same_socket_itself_where_systemd_holds_none(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start()
    assert socket_facts(host) == OWN_MODE
    host.bed.systemctl("stop", "paddock.service")
    assert not host.bed.path(SOCKET).exists()


def test_no_request_is_lost_while_paddock_is_restarted(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start("paddock.socket")
    host.start()
    answered, done = Counter[object](), threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                status, _ = host.get("/api/tags")
            except OSError as error:
                answered[repr(error)] += 1
            else:
                answered[status] += 1

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    pids = {host.pid}
    for _ in range(3):
        host.bed.systemctl("restart", "paddock.service")
        pids.add(host.pid)
    before = answered.total()
    host.bed.wait(lambda: answered.total() > before, "one more answer")
    done.set()
    for client in clients:
        client.join()
    assert len(pids) == 4
    assert set(answered) == {200}, answered
    assert answered[200] > 4


def test_a_stop_leaves_the_socket_and_the_next_client_starts_paddock_again(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start("paddock.socket")
    assert host.get("/healthz")[0] == 200
    host.bed.wait(
        lambda: host.bed.show("paddock", "ActiveState") == "active", "the start has ended"
    )
    host.bed.systemctl("stop", "paddock.service", code=0)
    assert socket_facts(host) == OWN_MODE
    assert host.get("/healthz")[0] == 200


def test_members_of_ollamas_group_may_connect_and_others_may_not(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start("paddock.socket")
    ask = ("curl", "-sf", "--unix-socket", SOCKET, "http://localhost/api/version")
    assert host.bed.run(*ask, user="alice", code=None).code == 7
    host.bed.run("usermod", "-a", "-G", "ollama", "alice")
    assert '"version"' in host.bed.run(*ask, user="alice").out
    host.bed.run("gpasswd", "-d", "alice", "ollama")
