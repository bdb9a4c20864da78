"""The headers of a request, as they are sent on to Ollama.

Owns what stays here: what is meant for this connection alone, what was read already, and what a
client says of addresses. Over a Unix socket there is none to forward, and Ollama would put a
client's own word for it into its log as a fact. Pure.
"""

from __future__ import annotations

from aiohttp import web

from paddock.endpoint.relay import HOP_BY_HOP
from paddock.endpoint.upstream import Headers
from paddock.endpoint.waiting import HEADERS as WAIT_HEADERS

# Ollama sends plain bytes when nothing else is asked for, and lists can then be read here.
_READ_HERE = frozenset(b"host expect accept-encoding content-encoding proxy-authorization".split())
_ADDRESSES = frozenset(
    b"forwarded x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto"
    b" x-forwarded-server x-real-ip".split()
)
_DROPPED = HOP_BY_HOP | WAIT_HEADERS | _READ_HERE | _ADDRESSES
# RFC 9110, 7.6.3: whoever stands between says so on the way in. On the way out it may, and does
# not: an answer is Ollama's, byte for byte.
_PSEUDONYM = b"paddock"


def forwarded_headers(request: web.BaseRequest) -> Headers:
    """Gives the headers that go on, `Via` with our part of the way at its end."""
    dropped = _DROPPED
    if "Connection" in request.headers:
        nominated = ",".join(request.headers.getall("Connection")).lower()
        dropped |= {name.strip().encode(errors="replace") for name in nominated.split(",")}
    kept, via = [], b""
    for name, value in request.raw_headers:
        folded = name.lower()
        if folded == b"via":
            via += value + b", "
        elif folded not in dropped:
            kept.append((name, value))
    major, minor = request.version
    kept.append((b"Via", b"%b%d.%d %b" % (via, major, minor, _PSEUDONYM)))
    return kept
