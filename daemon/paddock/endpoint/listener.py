"""The optional TCP listener for health and metrics: where it listens, and who may name it.

Owns the check of the Host header: a page in a browser can be made to ask our address under a name
of its own (DNS rebinding), but cannot make the browser send another name than that.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from urllib.parse import urlsplit

from paddock.endpoint.answers import Problem
from paddock.errors import SettingsError


def listen_on(host: str, port: int) -> socket.socket:
    """Listens on an address. Raises SettingsError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise SettingsError(f"setting listen: cannot listen on {host}:{port}: {why}") from error


def own_names(host: str) -> frozenset[str]:
    """The names that a request may call us by: the one that was set, and this machine's."""
    return frozenset(name.lower().rstrip(".") for name in (host, socket.gethostname()) if name)


def check_host(header: str, names: frozenset[str]) -> None:
    """Raises Problem (403) unless the Host header is an address, localhost, or one of `names`."""
    try:
        host = (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        host = ""
    if host == "localhost" or host.endswith(".localhost") or host in names or _is_address(host):
        return
    raise Problem(403, "this address is served under its own name only")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
