"""A paced upstream: replays chunks that the real Ollama sent, each with the time it is sent at.

Owns a TCP server on loopback. The request says how many chunks and how many a second; 0 is a flood,
as fast as the socket takes them. `created_at` is the only thing in a chunk that is not as recorded:
it holds CLOCK_MONOTONIC in nanoseconds, which all processes of one machine share. GET gives the
times, by the same clock, at which connections were lost before their answer had ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import ClassVar, cast

TICK_S = 0.001
STAMP_DIGITS = 30  # as wide as the time that Ollama writes
MARK = b'"created_at":"'
END = b"0\r\n\r\n"
_STAMP = b"%%0%dd" % STAMP_DIGITS
_FLOOD_CHUNKS = 16


class Recording:
    """The chunks of one answer, each cut in two at its time stamp."""

    def __init__(self, path: Path) -> None:
        recorded = json.loads(path.read_text())
        self.head = recorded["head"].encode()
        self.parts = [_cut(record.encode()) for record in recorded["records"]]

    def chunk(self, index: int, now_ns: int) -> bytes:
        before, after = self.parts[index % len(self.parts)]
        return before + _STAMP % now_ns + after

    def size_bytes(self, chunks: int) -> int:
        """How much content so many chunks have."""
        sizes = [int(before.partition(b"\r\n")[0], 16) for before, _ in self.parts]
        return sum(sizes[index % len(sizes)] for index in range(chunks))


def _cut(record: bytes) -> tuple[bytes, bytes]:
    before, _, rest = record.partition(MARK)
    after = rest.partition(b'"')[2]
    size = len(before) + len(MARK) + STAMP_DIGITS + 1 + len(after)
    return b"%x\r\n%b%b" % (size, before, MARK), b'"' + after + b"\r\n"


class Wheel:
    """Sends each stream its next chunk when its tick comes; streams are spread over the ticks."""

    def __init__(self) -> None:
        self._slots: defaultdict[int, list[Stream]] = defaultdict(list)
        self._loop = asyncio.get_running_loop()
        self._tick, self._begun_s = 0, self._loop.time()
        self._next_phase = 0
        self._turn()

    def add(self, stream: Stream) -> None:
        self._next_phase += 1
        self._slots[self._tick + 1 + self._next_phase % stream.period_ticks].append(stream)

    def _turn(self) -> None:
        due = int((self._loop.time() - self._begun_s) / TICK_S)
        while self._tick < due:
            self._tick += 1
            for stream in self._slots.pop(self._tick, ()):
                if stream.send_next():
                    self._slots[self._tick + stream.period_ticks].append(stream)
        self._loop.call_at(self._begun_s + (self._tick + 1) * TICK_S, self._turn)


class Stream(asyncio.Protocol):
    """One connection and the answer that it is sent."""

    lost_ns: ClassVar[list[int]] = []
    period_ticks = 1

    def __init__(self, recording: Recording, wheel: Wheel) -> None:
        self._recording, self._wheel = recording, wheel
        self._data = b""
        self._sent = self._chunks = 0
        self._paused = self._flooding = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._sent < self._chunks:
            self.lost_ns.append(time.monotonic_ns())
        self._chunks = 0

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        lower = head.lower()
        size = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if found and len(body) >= size:
            self._data = b""
            self._close = b"connection: close" in lower
            if lower.startswith(b"get"):
                self._tell()
            else:
                self._begin(json.loads(body)["options"])

    def _tell(self) -> None:
        body = json.dumps(self.lost_ns).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def _begin(self, options: dict[str, int]) -> None:
        self._sent, self._chunks = 1, options["num_predict"]
        first = self._recording.chunk(0, time.monotonic_ns())
        self._transport.write(self._recording.head + first)
        if rate := options["rate"]:
            self.period_ticks = round(1 / rate / TICK_S)
            self._wheel.add(self)
        else:
            self._flooding = True
            self._flood()

    def send_next(self) -> bool:
        """Sends one chunk and says whether another one follows."""
        if self._sent < self._chunks:
            self._transport.write(self._recording.chunk(self._sent, time.monotonic_ns()))
            self._sent += 1
            return True
        self._finish()
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._flooding:
            self._flood()

    def _flood(self) -> None:
        while self._sent < self._chunks and not self._paused:
            many = min(_FLOOD_CHUNKS, self._chunks - self._sent)
            now = time.monotonic_ns()
            chunks = [self._recording.chunk(self._sent + index, now) for index in range(many)]
            self._sent += many
            self._transport.write(b"".join(chunks))
        if self._sent >= self._chunks and self._flooding:
            self._flooding = False
            self._finish()

    def _finish(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(END)
            if self._close:
                self._transport.close()


async def main(path: Path) -> None:
    recording, wheel = Recording(path), Wheel()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Stream(recording, wheel), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
