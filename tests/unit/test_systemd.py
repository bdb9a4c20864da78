"""What systemd says to a service by its environment, and what it is told."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.core.unit_state import one_line
from paddock.edges.systemd import Notifier, watchdog_s


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("notify")
        sock.settimeout(5)
        yield sock


def test_all_that_is_told_at_once_is_one_datagram(manager: socket.socket) -> None:
    Notifier.of({"NOTIFY_SOCKET": "notify"}).tell("READY=1", "STATUS=2 models are fine")
    assert manager.recv(100) == b"READY=1\nSTATUS=2 models are fine"


def test_an_abstract_address_is_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{tmp_path}")
        sock.settimeout(5)
        Notifier.of({"NOTIFY_SOCKET": f"@{tmp_path}"}).tell("READY=1")
        assert sock.recv(100) == b"READY=1"


def test_a_reload_carries_the_time_at_which_it_began(manager: socket.socket) -> None:
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier("notify").tell_reloading()
    reloading, monotonic = manager.recv(100).decode().splitlines()
    assert reloading == "RELOADING=1"
    name, _, value = monotonic.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/x"}])
def test_where_nobody_listens_telling_is_no_failure(environ: dict[str, str]) -> None:
    notifier = Notifier.of(environ)
    assert notifier.listens == bool(environ.get("NOTIFY_SOCKET"))
    notifier.tell("READY=1")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "77"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "78"}, None),
    ],
)
def test_the_watchdog_wants_to_hear_from_the_process_that_it_names(
    environ: dict[str, str], expected: float | None
) -> None:
    assert watchdog_s(environ, 77) == expected


def _handed(names: str) -> str:
    """What a process sees that is handed two descriptors of those names."""
    program = f"""
import os
from paddock.edges.systemd import handed_over
for fd in (3, 4):
    os.dup2(0, fd)
    os.set_inheritable(fd, True)
environ = {{"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": {names!r}}}
print(handed_over(environ, os.getpid()), os.get_inheritable(3), os.get_inheritable(4))
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_descriptors_have_the_names_that_their_units_give_them_and_are_not_inherited() -> None:
    assert _handed("paddock:public") == "{'paddock': 3, 'public': 4} False False"


def test_two_descriptors_of_one_name_are_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _handed("a:a")
    assert 'systemd hands over two sockets called "a"; use one' in caught.value.stderr


def test_of_two_sockets_one_would_never_be_served_so_both_are_refused() -> None:
    program = """
import os
from paddock.endpoint.socket import activated_socket
for fd in (3, 4):
    os.dup2(0, fd)
names = "paddock:public"
environ = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": names}
activated_socket(environ, os.getpid())
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "systemd hands over 2 sockets (paddock, public); hand over one" in done.stderr


def test_a_status_is_one_line_of_bounded_length() -> None:
    assert one_line("a\nb\x1b[31m") == "a b [31m"
    assert len(one_line("x" * 1000)) == 200
