"""A tap on the way to a real server: every byte goes through, and what went in is kept.

Owns a loopback port of its own. Answers nothing by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Tap:
    """Where it listens, and the bytes of each connection that was made to it."""

    url: str = ""
    sent: list[bytearray] = field(default_factory=list)

    @property
    def heads(self) -> list[dict[str, list[str]]]:
        """The headers of the first request of each connection, names in lower case."""
        return [_headers(bytes(data)) for data in self.sent]

    @property
    def lines(self) -> list[str]:
        """The first line of each connection."""
        return [bytes(data).partition(b"\r\n")[0].decode() for data in self.sent]


def _headers(data: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.decode("latin-1").partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


@contextlib.asynccontextmanager
async def tapped(host: str) -> AsyncIterator[Tap]:
    """A tap before the server at `host:port`, meanwhile."""
    tap = Tap()
    there, port = host.split(":")
    tasks: set[asyncio.Task[None]] = set()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tap.sent.append(bytearray())
        tasks.add(asyncio.create_task(serve(reader, writer, tap.sent[-1])))

    async def serve(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
    ) -> None:
        to_reader, to_writer = await asyncio.open_connection(there, int(port))
        try:
            await asyncio.gather(
                _pipe(reader, to_writer, kept), _pipe(to_reader, writer, bytearray())
            )
        finally:
            await _close(to_writer)
            await _close(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    tap.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield tap
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pipe(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
            await writer.drain()
    writer.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
