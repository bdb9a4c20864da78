"""Records one streamed chat of the real Ollama: its head, and each chunk as it was sent."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from bench.upstream import MARK
from endpoints import CHAT
from paddock.endpoint.framing import Chunked


def record(port: int, file: Path) -> int:
    """Writes the recording and gives the number of its chunks."""
    head, _, body = _ask(port, json.dumps(CHAT).encode()).partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    assert b"Transfer-Encoding: chunked" in lines
    chunks: list[bytes] = []
    framing = Chunked()
    framing.feed(body, chunks)
    assert framing.done
    assert all(chunk.count(MARK) == 1 for chunk in chunks)
    text = {"head": b"\r\n".join([*lines, b"", b""]).decode()}
    file.write_text(json.dumps(text | {"records": [chunk.decode() for chunk in chunks]}))
    return len(chunks)


def _ask(port: int, body: bytes) -> bytes:
    head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=90) as sock:
        sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        data = bytearray()
        while more := sock.recv(65536):
            data += more
    return bytes(data)
