"""Relays an answer of Ollama to the client below aiohttp.

Owns the head that the client gets, and with it how the body is framed for it: Ollama's own chunks,
passed on unaltered, wherever the client can read them. aiohttp has parsed the request, and reads
the next one once the stream has ended. Moves no bytes itself (`pump`), decides nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from paddock.endpoint.dialects import dialect_of, end_check, error_record
from paddock.endpoint.exchange import Exchange, ExchangeFailed, framing_for
from paddock.endpoint.framing import Chunked, Framing, Head, Length
from paddock.endpoint.ports import EndpointLimits
from paddock.endpoint.pump import Ending, Pump, Wire

# RFC 9110, 7.6.1; the length is written anew with the framing.
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate te trailer transfer-encoding"
    b" upgrade content-length".split()
)


class Relayed(web.StreamResponse):
    """What aiohttp is told once an answer was written below it: nothing is left to send."""

    def __init__(self, status: int, *, keep_alive: bool, chunks: int = 0) -> None:
        # Not what a response needs that is written: nothing of it would be used.
        self._status = status
        self._stays = keep_alive
        self.chunks = chunks

    @property
    def keep_alive(self) -> bool:
        """Whether the connection takes another request."""
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        """Sends nothing."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Sends nothing."""


async def relay(
    request: web.BaseRequest,
    exchange: Exchange,
    *,
    path: str,
    limits: EndpointLimits,
    headed: Callable[[], None],
    begun: bool = False,
) -> tuple[Relayed, Ending]:
    """Writes the answer of `exchange` to the client of `request` for the route `path`, to its end.

    `headed` is called when it begins. `begun` says that a head was written already, of a stream in
    chunks that this one goes on with.

    Raises ExchangeFailed while nothing was written, and ConnectionError when the client is gone.
    """
    client = request.transport
    if client is None:
        raise ConnectionResetError("the client is gone")
    if client.get_write_buffer_size():
        await request.writer.drain()  # of an earlier answer that is not yet taken

    def wire_for(head: Head) -> Wire:
        wire = _wire(request, head, path, begun=begun)
        headed()
        return wire

    pump = Pump(client, request.writer, exchange, wire_for=wire_for, limits=limits)
    try:
        pump.start()
        ending = await pump.run()
    except ExchangeFailed:
        raise
    except Exception:
        client.abort()  # half an answer has no room for another one
        raise
    finally:
        pump.stop()
    assert exchange.answer is not None
    return Relayed(exchange.answer.status, keep_alive=pump.keep_alive, chunks=pump.chunks), ending


def _wire(request: web.BaseRequest, head: Head, path: str, *, begun: bool) -> Wire:
    framing = framing_for(head)
    modern = request.version >= HttpVersion11
    raw = isinstance(framing, Length) or (modern and isinstance(framing, Chunked))
    keep_alive = modern and raw and request.keep_alive
    return Wire(
        b"" if begun else _head(head, type(framing), raw, keep_alive),
        framing,
        raw=raw,
        keep_alive=keep_alive,
        told=partial(_record, path, head),
        is_whole=end_check(path, head),
    )


@lru_cache(maxsize=16)  # as `parse_head`
def _head(head: Head, framing: type[Framing], raw: bool, keep_alive: bool) -> bytes:
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason)]
    lines += [b"%b: %b" % header for header in passed_on(head)]
    length = head.get(b"content-length")
    if raw and framing is Chunked:
        lines.append(b"Transfer-Encoding: chunked")
    elif framing is Length and length:
        lines.append(b"Content-Length: " + length)
    if not keep_alive:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", b""])


def _record(path: str, head: Head, message: str) -> bytes | None:
    return error_record(dialect_of(path), head.content_type, message)


def passed_on(head: Head) -> list[tuple[bytes, bytes]]:
    """Gives the headers of an answer that are meant for the client."""
    dropped = HOP_BY_HOP
    if b"connection" in head:
        nominating = [value for name, value in head.headers if name.lower() == b"connection"]
        dropped |= {name.strip().lower() for value in nominating for name in value.split(b",")}
    return [(name, value) for name, value in head.headers if name.lower() not in dropped]
