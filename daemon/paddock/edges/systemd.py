"""systemd as a service sees it: what it hands over, and what it wants to be told.

Owns the datagrams to $NOTIFY_SOCKET (sd_notify(3)) and the reading of what the environment says of
sockets and the watchdog. Outside systemd all of it does nothing. Decides nothing: when the service
is ready, and whether it lives, others say.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from paddock.errors import SettingsError

_FIRST_FD = 3  # sd_listen_fds(3)
_SEND_S = 1.0


class Notifier:
    """The manager's ear. Without an address it is deaf, and nothing is sent."""

    def __init__(self, address: str | None):
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Notifier:
        """The manager that started this process, if it wants to be told of anything."""
        return cls(environ.get("NOTIFY_SOCKET"))

    @property
    def listens(self) -> bool:
        """Whether anybody is told."""
        return bool(self._address)

    def tell(self, *assignments: str) -> None:
        """Say `READY=1`, `STATUS=…` and so on, in one datagram. That nobody hears it is no failure
        of ours: a manager that wants the watchdog fed does its part."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.settimeout(_SEND_S)
            sock.sendto("\n".join(assignments).encode(errors="replace"), self._address)

    def tell_reloading(self) -> None:
        """Say that the service reloads; READY=1 ends it."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.tell("RELOADING=1", f"MONOTONIC_USEC={now_us}")


def watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Within which time the manager wants to hear from this process, if it does."""
    text, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    if not text.isdecimal() or whose != str(pid) or int(text) == 0:
        return None
    return int(text) / 1e6


def handed_over(environ: Mapping[str, str], pid: int) -> dict[str, int]:
    """The file descriptors that systemd hands to this process, by the name that the socket unit
    gives each (`FileDescriptorName=`; else that is the unit's own). Raises SettingsError where two
    have one name."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":") if environ.get("LISTEN_FDNAMES") else []
    found: dict[str, int] = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) else "unknown"
        if name in found:
            raise SettingsError(f'systemd hands over two sockets called "{name}"; use one')
        found[name] = _FIRST_FD + index
        os.set_inheritable(_FIRST_FD + index, False)
    return found
