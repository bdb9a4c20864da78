"""Presence: notices within a moment that Ollama has gone, and that it is back.

Holds one idle connection, kept alive, which Ollama has no reason to close while it lives: it has no
limit for idle ones (ollama:server/routes.go Serve), and closes all when it ends, as the kernel does
for it when it is killed. A proxy may close one too, so that alone says nothing: gone is what
answers no new connection. Asks for `HEAD /` and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

ANSWER_S = 5.0
AGAIN_S, LONGEST_S = 0.1, 1.0
BRIEF_S, BRIEF_MOST, BRIEF_PAUSE_S = 1.0, 2, 10.0
_FAILED = 500


async def follow_presence(url: str, gone: Callable[[], None], back: Callable[[], None]) -> None:
    """Call `gone` when the server at `url` no longer answers, and `back` when one does again; one
    that was never there comes `back` too. Ends when it is cancelled."""
    wait_s, away, brief = AGAIN_S, False, 0
    while True:
        try:
            async with _connected(url) as reader:
                wait_s, since_s = AGAIN_S, time.monotonic()
                if away:
                    away = False
                    back()
                await _closed(reader)
            brief = brief + 1 if time.monotonic() - since_s < BRIEF_S else 0
            if brief > BRIEF_MOST:  # something before it closes each connection at once
                await asyncio.sleep(BRIEF_PAUSE_S)
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError):
            if not away:
                away, brief = True, 0
                gone()
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_S)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncio.StreamReader]:
    """A connection on which the server has answered once. Raises OSError (a time-out is one),
    EOFError and ValueError where none does."""
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(f"HEAD / HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status >= _FAILED:
            raise ValueError(f"a proxy answers {status} for it")
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _closed(reader: asyncio.StreamReader) -> None:
    """Wait until the other side closes the connection, whatever it says before."""
    with contextlib.suppress(OSError):
        while await reader.read(1024):
            pass
