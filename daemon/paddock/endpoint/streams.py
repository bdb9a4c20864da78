"""How many streams there are, and whose.

Owns the counts and the two limits on them: in all, and per user.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator

from paddock.endpoint.answers import Problem
from paddock.endpoint.exchange import Exchange
from paddock.endpoint.ports import EndpointLimits, StreamCounts


class Streams:
    """The streams that are open, the exchanges behind them, and the counts since the start."""

    def __init__(self, limits: EndpointLimits) -> None:
        self.counts = StreamCounts()
        self._limits = limits
        self._by_user: Counter[int | None] = Counter()
        self._exchanges: set[Exchange] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    @contextlib.contextmanager
    def slot(self, uid: int | None) -> Iterator[None]:
        """Holds one stream of that user meanwhile. Raises Problem (429)."""
        self._check(uid)
        self.counts.open += 1
        self.counts.started += 1
        self._by_user[uid] += 1
        self._none_open.clear()
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.counts.cancelled += 1
            raise
        except Exception:
            self.counts.refused += 1
            raise
        finally:
            self.counts.open -= 1
            self._by_user[uid] -= 1
            if self.counts.open == 0:
                self._none_open.set()

    @contextlib.contextmanager
    def behind(self, exchange: Exchange) -> Iterator[None]:
        """Knows the exchange meanwhile, and closes it at the end, whatever the end is."""
        self._exchanges.add(exchange)
        try:
            yield
        finally:
            self._exchanges.discard(exchange)
            exchange.close()

    async def drained(self, timeout_s: float) -> None:
        """Waits until no stream is open, or for that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none_open.wait()

    def fail_all(self, message: str) -> None:
        """Ends every exchange for the reason given."""
        for exchange in tuple(self._exchanges):
            exchange.fail(message)

    def _check(self, uid: int | None) -> None:
        limits, mine = self._limits, self._by_user[uid]
        if self.counts.open < limits.max_streams and mine < limits.max_streams_per_user:
            return
        self.counts.refused += 1
        many = f"{self.counts.open} in all, {mine} of this user"
        message = f"too many requests at once ({many}); try again when one has ended"
        raise Problem(429, message, code="rate_limit_exceeded", headers={"Retry-After": "1"})
