"""How many streams there are, and whose.

Owns the counts and the two limits on them: in all, and per user.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from paddock.endpoint.answers import Problem
from paddock.endpoint.exchange import Exchange, ExchangeFailed
from paddock.endpoint.ports import EndpointLimits, StreamCounts


class Streams:
    """The streams that are open, and the counts since the start."""

    def __init__(self, limits: EndpointLimits) -> None:
        self.counts = StreamCounts()
        self.exchanges: set[Exchange] = set()
        self.by_user: Counter[int | None] = Counter()
        self.none_open = asyncio.Event()
        self.none_open.set()
        self._limits = limits

    def slot(self, uid: int | None) -> Slot:
        """Gives what holds one stream of that user while it is entered. Raises Problem (429)."""
        limits, mine = self._limits, self.by_user[uid]
        if self.counts.open < limits.max_streams and mine < limits.max_streams_per_user:
            return Slot(self, uid)
        self.counts.refused += 1
        many = f"{self.counts.open} in all, {mine} of this user"
        message = f"too many requests at once ({many}); try again when one has ended"
        raise Problem(429, message, code="rate_limit_exceeded", headers={"Retry-After": "1"})

    @contextlib.contextmanager
    def behind(self, exchange: Exchange) -> Iterator[None]:
        """Knows an exchange that is behind no stream meanwhile, and closes it at the end."""
        self.exchanges.add(exchange)
        try:
            yield
        finally:
            self.exchanges.discard(exchange)
            exchange.close()

    async def drained(self, timeout_s: float) -> None:
        """Waits until no stream is open, or for that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.none_open.wait()

    def fail_all(self, message: str) -> None:
        """Ends every exchange for the reason given."""
        for exchange in tuple(self.exchanges):
            exchange.fail(message)


class Slot:
    """The place of one stream among all of them, and the exchange behind it, which ends with it."""

    __slots__ = ("_exchange", "_streams", "_uid")

    def __init__(self, streams: Streams, uid: int | None) -> None:
        self._streams, self._uid = streams, uid
        self._exchange: Exchange | None = None

    def put(self, exchange: Exchange) -> None:
        """Puts an exchange behind the stream."""
        self._exchange = exchange
        self._streams.exchanges.add(exchange)

    def __enter__(self) -> Self:
        streams = self._streams
        streams.counts.open += 1
        streams.counts.started += 1
        streams.by_user[self._uid] += 1
        streams.none_open.clear()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        streams, counts = self._streams, self._streams.counts
        if self._exchange is not None:
            streams.exchanges.discard(self._exchange)
            self._exchange.close()
        counts.open -= 1
        streams.by_user[self._uid] -= 1
        if counts.open == 0:
            streams.none_open.set()
        if isinstance(error, asyncio.CancelledError | ConnectionError):
            counts.cancelled += 1
        elif isinstance(error, Exception):
            counts.refused += 1
            counts.failures += isinstance(error, ExchangeFailed)
