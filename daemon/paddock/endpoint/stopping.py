"""The end of the endpoint, as those who wait must hear of it.

Owns one event. Whatever waits without a stream of its own waits through `unless`, so that a stop
answers it in words and does not cut it off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from paddock.endpoint.answers import Problem

T = TypeVar("T")


class Stopping:
    """Whether the endpoint stops."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def begin(self) -> None:
        """Says so to all who wait."""
        self._event.set()

    @property
    def begun(self) -> bool:
        """Whether it was said."""
        return self._event.is_set()

    def check(self) -> None:
        """Raises Problem (503) once it stops."""
        if self.begun:
            headers = {"Retry-After": "1", "Connection": "close"}
            raise Problem(503, "paddock is stopping", headers=headers)

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Gives what `work` gives. Raises Problem (503) when it stops before."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.check()
            return await task
        finally:
            task.cancel()
            stop.cancel()
