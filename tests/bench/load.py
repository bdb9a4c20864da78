"""The load: opens streams, takes what comes and when, and tells it in a few figures.

Owns nothing but its connections. One job is one JSON line on stdin, its result one on stdout. It
reads bytes below any HTTP library, so that it is never what is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import statistics
import sys
import time
from array import array
from datetime import datetime
from typing import Any, cast

from bench.measured import cpu_ns, rss_bytes
from bench.upstream import END, MARK, STAMP_DIGITS
from paddock.endpoint.framing import Chunked

WAIT_S = 120.0
SETTLE_S = 0.3
_SOON_S = 0.05
_RECV_BYTES = 256 * 1024
_TIME = re.compile(rb'"created_at":"([^".]*)(?:\.(\d+))?Z"')
_BUFFER = memoryview(bytearray(_RECV_BYTES))  # one for all: it is read before the next one comes


class Take:
    """What all streams of one job brought."""

    def __init__(self, streams: int, *, timed: bool) -> None:
        self.streams, self.timed = streams, timed
        self.latencies_ns: array[int] = array("q")
        self.chunks = self.begun = self.ended = 0
        self.all_begun, self.all_ended = asyncio.Event(), asyncio.Event()


class Stream(asyncio.BufferedProtocol):
    """One request on a connection of its own."""

    def __init__(self, take: Take, request: bytes) -> None:
        self._take, self._request = take, request
        self._parts: list[bytes] = []
        self.asked_ns = self.first_ns = 0
        self.whole = self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        self.asked_ns = time.monotonic_ns()
        self.transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        now_ns = time.monotonic_ns()
        data = bytes(_BUFFER[:nbytes])
        self._parts.append(data)
        self.count(data, now_ns)
        if not self.first_ns:
            self._begin(now_ns)
        if data.endswith(END):
            self.whole = True
            self._end()

    def count(self, data: bytes, now_ns: int) -> None:
        if not self._take.timed:
            self._take.chunks += data.count(MARK)
            return
        at = data.find(MARK)
        while at >= 0:
            at += len(MARK)
            self._take.chunks += 1
            if at + STAMP_DIGITS <= len(data):
                self._take.latencies_ns.append(now_ns - int(data[at : at + STAMP_DIGITS]))
            at = data.find(MARK, at)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._end()

    def content_bytes(self) -> int:
        """How much content came; nginx joins chunks, so that bytes on the way do not tell."""
        return content_bytes(b"".join(self._parts))

    def _begin(self, now_ns: int) -> None:
        head, _, body = b"".join(self._parts).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        if body:  # the head alone is no chunk
            self.first_ns = now_ns
            self._take.begun += 1
            if self._take.begun == self._take.streams:
                self._take.all_begun.set()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._take.ended += 1
            if not self.first_ns:
                self._take.all_begun.set()  # never: the job fails for its missing end
            if self._take.ended == self._take.streams:
                self._take.all_ended.set()


class RealStream(Stream):
    """A stream of the real Ollama: its own time in each chunk is taken apart afterwards."""

    def count(self, data: bytes, now_ns: int) -> None:  # noqa: ARG002 - another clock
        real_ns = time.time_ns()
        for whole, parts in _TIME.findall(data):
            seconds = int(datetime.fromisoformat(f"{whole.decode()}+00:00").timestamp())
            sent_ns = seconds * 10**9 + int(parts.ljust(9, b"0"))
            self._take.latencies_ns.append(real_ns - sent_ns)
            self._take.chunks += 1


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Runs one job: `where`, `streams`, `body`, and `pid` of what is measured."""
    take = Take(job["streams"], timed=job.get("timed", True))
    kind = RealStream if job.get("real") else Stream
    request = _request(json.dumps(job["body"]).encode())
    streams = [await _open(job["where"], kind(take, request)) for _ in range(take.streams)]
    await asyncio.sleep(_SOON_S)  # all of them are accepted
    gc.disable()
    try:
        async with asyncio.timeout(WAIT_S):
            result = await _measure(job, take, streams)
    finally:
        gc.enable()
        for stream in streams:
            stream.transport.abort()
    first_s = [(stream.first_ns - stream.asked_ns) / 1e9 for stream in streams]
    return result | {
        "first_median_s": statistics.median(first_s),
        "first_last_s": (max(s.first_ns for s in streams) - streams[0].asked_ns) / 1e9,
        "sizes": [stream.content_bytes() for stream in streams],
        "whole": all(stream.whole for stream in streams),
    }


def content_bytes(answer: bytes) -> int:
    """Gives the size of the content of a whole chunked answer."""
    body = answer.partition(b"\r\n\r\n")[2]
    framing, content = Chunked(), list[bytes]()
    framing.feed(body, content)
    assert framing.done, "the answer has no end"
    return sum(map(len, content))


async def _measure(job: dict[str, Any], take: Take, streams: list[Stream]) -> dict[str, Any]:
    pid, steady = job.get("pid"), job.get("steady_s", 0.0)
    begun_ns, cpu = time.monotonic_ns(), cpu_ns(pid)
    for stream in streams:
        stream.ask()
    await take.all_begun.wait()
    if steady:
        await asyncio.sleep(SETTLE_S)
        del take.latencies_ns[:]
        take.chunks, begun_ns, cpu = 0, time.monotonic_ns(), cpu_ns(pid)
        await asyncio.sleep(steady)
    else:
        await take.all_ended.wait()
    chunks, latencies = take.chunks, sorted(take.latencies_ns)
    used_ns, elapsed_s = cpu_ns(pid) - cpu, (time.monotonic_ns() - begun_ns) / 1e9
    memory = rss_bytes(pid)
    await take.all_ended.wait()
    return {
        "chunks": chunks,
        "elapsed_s": elapsed_s,
        "cpu_per_chunk_us": used_ns / 1e3 / max(1, chunks),
        "p50_us": _quantile(latencies, 0.50) / 1e3,
        "p99_us": _quantile(latencies, 0.99) / 1e3,
        "rss_bytes": memory,
    }


def _quantile(ordered: list[int], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def _request(body: bytes) -> bytes:
    head = (
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: bench\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    return head % len(body) + body


async def _open(where: str, stream: Stream) -> Stream:
    sock = _connected(where)
    sock.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: stream, sock=sock)
    return stream


def _connected(where: str) -> socket.socket:
    kind, _, rest = where.partition(":")
    host, _, port = rest.partition(":")
    sock = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    sock.connect(rest if kind == "unix" else (host, int(port)))  # waits where the backlog is full
    return sock


def read_late(job: dict[str, Any]) -> dict[str, Any]:
    """Asks for one stream, reads nothing for `late_s`, then all of it."""
    before_bytes = rss_bytes(job["pid"])
    with _connected(job["where"]) as sock:
        sock.sendall(_request(json.dumps(job["body"]).encode()))
        time.sleep(job["late_s"])
        grown_bytes = rss_bytes(job["pid"]) - before_bytes
        sock.settimeout(WAIT_S)
        data = bytearray()
        while not data.endswith(END):
            more = sock.recv(_RECV_BYTES)
            assert more, "the slow reader's stream was cut"
            data += more
    return {"sizes": [content_bytes(bytes(data))], "whole": True, "grown_bytes": grown_bytes}


def leave(job: dict[str, Any]) -> dict[str, Any]:
    """Asks for `times` streams, leaves each after its first chunk, and tells how long it took until
    the upstream, asked at `upstream`, lost the connection behind it."""
    took_ms: list[float] = []
    for _ in range(job["times"]):
        known = len(_lost_ns(job["upstream"]))
        left_ns = leave_at_once(job["where"], job["body"])
        deadline_s = time.monotonic() + WAIT_S
        while len(lost := _lost_ns(job["upstream"])) == known:
            assert time.monotonic() < deadline_s, "the upstream was never told"
            time.sleep(_SOON_S)
        took_ms.append((lost[known] - left_ns) / 1e6)
    return {"median_ms": statistics.median(took_ms), "most_ms": max(took_ms)}


def leave_at_once(where: str, body: dict[str, Any]) -> int:
    """Asks for a stream, closes after its first chunk, and gives the time of that."""
    with _connected(where) as sock:
        sock.settimeout(WAIT_S)
        sock.sendall(_request(json.dumps(body).encode()))
        data = b""
        while MARK not in data:
            more = sock.recv(_RECV_BYTES)
            assert more, "the stream was cut"
            data += more
        return time.monotonic_ns()


def _lost_ns(upstream: str) -> list[int]:
    with _connected(upstream) as sock, sock.makefile("rb") as answer:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while line := answer.readline().strip():
            size = int(line.partition(b": ")[2]) if line.startswith(b"Content-Length") else 0
        found: list[int] = json.loads(answer.read(size))
    return found


def _done(job: dict[str, Any], runner: asyncio.Runner) -> dict[str, Any]:
    if "late_s" in job:
        return read_late(job)
    return leave(job) if "times" in job else runner.run(run(job))


def main() -> None:
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(_done(json.loads(line), runner)), flush=True)


if __name__ == "__main__":
    main()
