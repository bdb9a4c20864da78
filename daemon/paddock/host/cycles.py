"""A loop that tells how each of its cycles ended.

Owns the measuring only: the cycle itself is the engine's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from paddock.core.outcome import Outcome
from paddock.engine.loop import Loop

Result = Literal["ok", "partial", "error"]


@dataclass(frozen=True, slots=True)
class CycleEnd:
    """How a cycle ended: `partial` with actions that failed, `error` where it could not go on."""

    result: Result
    elapsed_s: float
    at_s: float
    outcomes: tuple[Outcome, ...]


class MeasuredLoop(Loop):
    """The engine's loop; `ended` is told of each cycle."""

    def __init__(self, *arguments: Any, ended: Callable[[CycleEnd], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ended = ended

    async def _cycle(self) -> None:
        began_s = time.monotonic()
        await super()._cycle()
        assert self._last is not None
        outcomes = self._last.outcomes
        self._ended(
            CycleEnd(self._result(outcomes), time.monotonic() - began_s, time.time(), outcomes)
        )

    def _result(self, outcomes: tuple[Outcome, ...]) -> Result:
        if self._troubles:
            return "error"
        return "partial" if any(outcome.result == "failed" for outcome in outcomes) else "ok"
