"""The journal of systemd: records with fields, sent to its socket in its own protocol.

Owns the datagrams to `/run/systemd/journal/socket`. Each is sent anew to the path, so that a
restart of the journal is not noticed; what it does not take goes to stderr, which it reads too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from paddock.core.journal import encode

SOCKET = Path("/run/systemd/journal/socket")


class Journal:
    """Where records go. It stays open for the life of the process."""

    def __init__(self, path: Path = SOCKET, stderr: TextIO | None = None):
        self._path = str(path)
        self._stderr = sys.stderr if stderr is None else stderr
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def send(self, fields: Mapping[str, str]) -> None:
        """Send one record; from any thread."""
        data = encode(fields)
        try:
            self._send(data)
        except OSError:
            priority, message = fields.get("PRIORITY", "6"), fields.get("MESSAGE", "")
            lines = [f"<{priority}>{line}\n" for line in message.splitlines()]
            self._stderr.write("".join(lines))
            self._stderr.flush()

    def close(self) -> None:
        """Closes it."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, self._path)
        except OSError as error:
            if not _is_too_long(error):
                raise
            self._send_as_file(data)

    def _send_as_file(self, data: bytes) -> None:
        """What no datagram can hold goes as a sealed file in memory."""
        fd = os.memfd_create("journal-record", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(fd, "wb") as file:  # noqa: PTH123  a descriptor
            file.write(data)
            file.flush()
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.connect(self._path)
                socket.send_fds(sock, [b""], [fd])


def _is_too_long(error: OSError) -> bool:
    return error.errno in {errno.EMSGSIZE, errno.ENOBUFS}


def journal_of(environ: Mapping[str, str], stream: TextIO) -> Journal | None:
    """The journal, where the stream leads there by itself: only then is a record in it what the
    one who started us looks for (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        facts = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    if environ.get("JOURNAL_STREAM") != f"{facts.st_dev}:{facts.st_ino}":
        return None
    return Journal(stderr=stream) if SOCKET.is_socket() else None
