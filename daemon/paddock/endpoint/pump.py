"""The pump of one stream: what comes from Ollama goes to the client, between two sockets.

Owns the bytes from the head on: the framing, followed so that an error can be told between two
chunks, the pace (a slow client holds back its own stream and nothing else) and the end. A chunk
wakes no task and is not copied: it is read in a lane, and written past the client's transport while
that has nothing of its own to send.
"""

from __future__ import annotations

import asyncio
import enum
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp.abc import AbstractStreamWriter

from paddock.endpoint.exchange import Exchange, ExchangeFailed
from paddock.endpoint.framing import BadAnswer, Framing, Head
from paddock.endpoint.ports import EndpointLimits

_LAST_CHUNK = b"0\r\n\r\n"


class Ending(enum.Enum):
    """How a stream ended: whole, told of as an error, or cut off without a word."""

    FINISHED = "finished"
    BROKEN = "broken"
    CUT = "cut"


@dataclass(slots=True)
class Wire:
    """How one answer is written for one client: its own head, and whether chunks go as they are.

    `told` writes an error as a record of the stream; `is_whole` says of its last bytes whether they
    end it as its dialect does.
    """

    head: bytes
    framing: Framing
    raw: bool
    keep_alive: bool
    told: Callable[[str], bytes | None]
    is_whole: Callable[[bytes], bool] | None = None


class Pump:
    """One stream from `exchange` to `client`; once there is a head, `wire_for` says how."""

    def __init__(
        self,
        client: asyncio.Transport,
        writer: AbstractStreamWriter,
        exchange: Exchange,
        *,
        wire_for: Callable[[Head], Wire],
        limits: EndpointLimits,
    ) -> None:
        self._client = client
        self._writer = writer
        self._exchange = exchange
        self._wire_for = wire_for
        self._limits = limits
        self._descriptor = client.get_extra_info("socket").fileno()
        self._moved_s = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[None] = self._loop.create_future()
        self._held = self._surplus = False
        self._last = b""  # what was last passed on
        self._wire: Wire | None = None
        self._failure: ExchangeFailed | None = None
        self._ending: Ending | None = None

    @property
    def keep_alive(self) -> bool:
        """Whether the client can tell where the answer ended."""
        wire = self._wire
        return wire is not None and wire.keep_alive and self._ending is not Ending.CUT

    @property
    def chunks(self) -> int:
        """How many came."""
        return self._framing.chunks

    def start(self) -> None:
        """Takes the answer as it comes; no task is woken before its end."""
        self._watch()
        self._exchange.when_headed(self._begin, self._lost)

    async def run(self) -> Ending:
        """Waits for the end. Raises ExchangeFailed where nothing was written."""
        while self._ending is None:
            await self._woken
            self._woken = self._loop.create_future()
            if self._held and self._ending is None:
                await self._drain()
        if self._failure is not None:
            raise self._failure
        return self._ending

    def stop(self) -> None:
        """Lets go of the exchange, whatever the end was."""
        if self._timer is not None:
            self._timer.cancel()
        if self._wire is not None and self._framing.done and not self._surplus:
            self._exchange.release()
        self._exchange.close()

    def _begin(self) -> bool:
        """Writes the head and what there is, and takes what follows."""
        head = self._exchange.answer
        assert head is not None
        try:
            self._wire = wire = self._wire_for(head)
        except ExchangeFailed as failure:
            self._exchange.fail(failure.message, failure.status)
            return False
        self._framing, self._raw = wire.framing, wire.raw
        early = self._follow(self._exchange.take())
        all_gone = self._write(wire.head + early)
        self._exchange.attach(self._receive, self._lost)
        self._moved_s = time.monotonic()
        if all_gone and not self._framing.done:
            return self._ending is None
        self._settle(all_gone=all_gone)
        return False

    # --- per chunk: no task is woken, nothing is copied

    def _receive(self, data: bytes) -> bool:
        """Says whether bytes moved and nothing else happened."""
        if self._ending is not None:
            self._surplus = True
            return False
        if self._raw and self._framing.passes(data):
            self._last = data
            all_gone = self._write(data)
        else:
            all_gone = self._write(self._follow(data))
        self._moved_s = time.monotonic()
        if all_gone and not self._framing.done:
            return self._ending is None
        self._settle(all_gone=all_gone)
        return False

    def _follow(self, data: bytes) -> bytes:
        payload: list[bytes] | None = None if self._raw else []
        try:
            end = self._framing.feed(data, payload)
        except BadAnswer:
            self._end(Ending.CUT)
            return b""
        if payload is not None:
            self._surplus = end < len(data)
            data = b"".join(payload)
        elif end < len(data):
            data = data[:end]
            self._surplus = True
        if self._framing.done:
            return self._with_end(data)
        self._last = data
        return data

    def _with_end(self, data: bytes) -> bytes:
        """Adds an error where Ollama ended in good order what was not whole: it does so under /v1
        when its runner dies (`ollama:middleware/openai.go`)."""
        assert self._wire is not None
        is_whole = self._wire.is_whole
        if is_whole is None or is_whole(self._last + data):
            return data
        record = self._wire.told("ollama ended its answer before it was whole; its log may say why")
        raw = self._raw
        if record is None or (raw and not data.endswith(_LAST_CHUNK)):
            return data
        self._end(Ending.BROKEN)
        return data.removesuffix(_LAST_CHUNK) + _chunk(record) if raw else data + record

    def _write(self, data: bytes) -> bool:
        """Says whether all has gone. What has not waits in the transport, and what comes after it.

        While the transport has nothing to send, what is written past it keeps its order.
        """
        client = self._client
        if client.is_closing():
            return False  # its descriptor may soon be another connection's
        sent = 0
        if not self._held:
            try:
                sent = os.write(self._descriptor, data)
            except BlockingIOError:
                pass
            except OSError:
                client.abort()
                return False
            if sent == len(data):
                return True
        client.write(data[sent:])
        return False

    def _settle(self, *, all_gone: bool) -> None:
        if self._framing.done:
            self._end(Ending.FINISHED)
        elif self._client.is_closing():
            self._end(Ending.CUT)
        elif not all_gone and not self._held:
            self._held = True
            self._exchange.pause()
            self._wake()

    # --- pace and end

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._limits.client_stall_s):
                await self._writer.drain()
        except TimeoutError:
            self._client.abort()
            self._end(Ending.CUT)
            return
        self._held = False
        self._moved_s = time.monotonic()
        self._exchange.resume()

    def _watch(self) -> None:
        """Gives Ollama up that is silent for too long. One timer, moved on when it goes off."""
        limits, now_s = self._limits, time.monotonic()
        silent_s = 0.0 if self._held else now_s - self._moved_s
        limit_s = limits.first_answer_s if self._wire is None else limits.upstream_idle_s
        if silent_s < limit_s:
            left_s = min(limit_s - silent_s, limits.upstream_idle_s)
            self._timer = self._loop.call_later(left_s, self._watch)
        elif self._wire is None:
            self._exchange.fail_late(limit_s)
        else:
            self._exchange.fail(f"ollama sent nothing for {limit_s:g} s")

    def _lost(self, message: str) -> None:
        if self._ending is not None:
            return
        if self._wire is None:
            self._failure = self._exchange.failure
            self._end(Ending.CUT)
            return
        if self._framing.ends_with_connection:
            self._end(Ending.FINISHED)
            return
        record = self._wire.told(message)
        if record is None or not self._framing.clean:
            self._end(Ending.CUT)
            return
        self._write(_chunk(record) if self._raw else record)
        self._end(Ending.BROKEN)

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._wake()

    def _wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)


def _chunk(record: bytes) -> bytes:
    """A record as the last chunk but one, and the last."""
    return b"%x\r\n%b\r\n%b" % (len(record), record, _LAST_CHUNK)
