"""Who is at the other end of a connection.

Owns the reading of SO_PEERCRED and SO_PEERGROUPS, which the kernel fills in at connect and nobody
can forge: what a user's groups were then is what counts for as long as the connection lasts.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from paddock.core.access import Peer
from paddock.edges.accounts import groups_of

_UCRED = struct.Struct("3i")  # pid, uid, gid
_SO_PEERGROUPS = 59  # linux/asm-generic/socket.h; Python has no name for it
_MAX_GROUPS_BYTES = 1024  # Python's own limit
_GID = struct.Struct("I")


def read_peer(transport: asyncio.BaseTransport | None) -> Peer | None:
    """Tells the client of the Unix socket, or None for any other kind of connection."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    _, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(uid & 0xFFFFFFFF, frozenset({gid & 0xFFFFFFFF}) | _groups(sock, uid, gid))


def _groups(sock: socket.socket, uid: int, gid: int) -> frozenset[int]:
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS_BYTES)
    except OSError:  # more than 256 groups (ERANGE), or a kernel before 4.13
        return groups_of(uid, gid)
    return frozenset(group for (group,) in _GID.iter_unpack(found))
