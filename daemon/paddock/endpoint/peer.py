"""Who is at the other end of a connection.

Owns the reading of SO_PEERCRED, which the kernel fills in at connect and nobody can forge.
"""

from __future__ import annotations

import asyncio
import socket
import struct

_UCRED = struct.Struct("3i")  # pid, uid, gid


def peer_uid(transport: asyncio.BaseTransport | None) -> int | None:
    """Tells the uid of a client of the Unix socket, or None for any other kind of connection."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)
