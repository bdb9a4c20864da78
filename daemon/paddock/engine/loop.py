"""The loop: one cycle after another, for as long as the daemon runs.

Owns what is remembered between cycles: the last good file, failures, what the polls saw, and the
status that everybody reads. It alone reads what an error means for the next attempt.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import structlog

from paddock.core.conditions import Status, date_transitions
from paddock.core.desired import Desired
from paddock.core.events import Event, EventLog
from paddock.core.failures import backoff_s, next_attempt
from paddock.core.model_status import Cycle
from paddock.core.observed import Unknown
from paddock.core.outcome import Outcome
from paddock.core.plan import Plan
from paddock.core.summarize import summarize
from paddock.engine.reconcile import Recall, reconcile
from paddock.engine.world import World
from paddock.errors import PaddockError, Retry, SpecError

log = structlog.get_logger()

Load = Callable[[], Desired]


@dataclass(frozen=True, slots=True)
class Finished:
    """A cycle that has ended: `partial` with actions that failed, `error` where it could not go
    on."""

    number: int
    outcomes: tuple[Outcome, ...]
    status: Status
    result: Literal["ok", "partial", "error"]
    elapsed_s: float
    at: datetime


Ended = Callable[[Finished], None]


class Loop:
    """Reconciles on each wake-up, and at the latest every `poll_s` seconds; `ended` is told of each
    cycle."""

    def __init__(self, world: World, load: Load, desired: Desired, *, poll_s: float, ended: Ended):
        self._world = world
        self._ended = ended
        self._load = load
        self._poll_s = poll_s
        self._recall = Recall()
        self._troubles = 0
        self._finished = asyncio.Condition()
        self._started = 0
        self._last: Finished | None = None
        self.wake = asyncio.Event()
        self.desired = desired
        self.plan: Plan | None = None
        self.status = summarize(Cycle(desired, datetime.now(UTC)))
        self._events = EventLog()
        self._news = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile until `stop`."""
        while not stop.is_set():
            self.wake.clear()
            await self._cycle()
            await _first_of(self.wake, stop, timeout_s=self._pause_s())

    async def ask(self) -> Finished:
        """Ask for a cycle, and wait for the end of one that began after this."""
        asked = self._started
        self.wake.set()
        async with self._finished:
            await self._finished.wait_for(
                lambda: self._last is not None and self._last.number > asked
            )
        assert self._last is not None
        return self._last

    async def events(self, after: int) -> list[Event]:
        """The events after an id; waits until there is one."""
        while self._events.last_id == after:
            await self._news.wait()
        # An id from before a restart is ahead of ours: begin anew.
        return self._events.after(after if after < self._events.last_id else 0)

    @property
    def cycles(self) -> int:
        """How many cycles have ended."""
        return 0 if self._last is None else self._last.number

    async def _cycle(self) -> None:
        self._started += 1
        began_s = time.monotonic()
        spec_trouble = await self._reload()
        outcomes: list[Outcome] = []
        cycle = Cycle(self.desired, datetime.now(UTC), spec_trouble=spec_trouble)

        def publish(now: Cycle) -> None:
            self.plan = now.plan
            self._publish(replace(now, spec_trouble=spec_trouble))

        try:
            cycle, outcomes = await reconcile(
                self._world, self.desired, self._recall, self._report, publish
            )
            self._troubles = 0
        except PaddockError as error:
            self._troubles += 1
            self._log_trouble(error)
            trouble = Unknown(error.reason, error.message)
            cycle = replace(cycle, trouble=trouble, stalled=error.retry is Retry.STALLED)
        self._publish(replace(cycle, spec_trouble=spec_trouble))
        await self._finish(outcomes, time.monotonic() - began_s)

    async def _reload(self) -> Unknown | None:
        """Take the file as it is now, or keep the last good one and say so."""
        try:
            desired = await asyncio.to_thread(self._load)
        except SpecError as error:
            first, more = error.diagnostics[0], len(error.diagnostics) - 1
            what = f"{first}" + (f" (and {more} more)" if more else "")
            if self.status_of("Stalled") != "SpecInvalid":
                log.error("file invalid", problem=str(first), more=more, kept="the last good one")
            return Unknown("SpecInvalid", what)
        if desired.generation != self.desired.generation:
            log.info("file changed", generation=desired.generation, models=len(desired.models))
        self.desired = desired
        return None

    def status_of(self, kind: str) -> str:
        """The reason of a condition of the host, where it is True."""
        found = next((c for c in self.status.conditions if c.type == kind), None)
        return found.reason if found is not None and found.status == "True" else ""

    def _publish(self, cycle: Cycle) -> None:
        before, self.status = self.status, date_transitions(summarize(cycle), self.status)
        self._events.add_changes(before, self.status, cycle.at)
        self._tell()
        if self.status.ready and not before.ready:
            log.info("converged", models=len(self.status.models))

    def _report(self, outcome: Outcome) -> None:
        self._events.add_outcome(outcome, datetime.now(UTC))
        self._tell()
        _log_outcome(outcome)

    def _tell(self) -> None:
        """Wake those who wait for events; the next ones wait for the next."""
        self._news.set()
        self._news = asyncio.Event()

    async def _finish(self, outcomes: list[Outcome], elapsed_s: float) -> None:
        failed = any(outcome.result == "failed" for outcome in outcomes)
        self._last = Finished(
            number=self._started,
            outcomes=tuple(outcomes),
            status=self.status,
            result="error" if self._troubles else "partial" if failed else "ok",
            elapsed_s=elapsed_s,
            at=datetime.now(UTC),
        )
        self._ended(self._last)
        async with self._finished:
            self._finished.notify_all()

    def _log_trouble(self, error: PaddockError) -> None:
        level = log.warning if self._troubles == 1 else log.debug
        level("cycle failed", reason=error.reason, error=error.message, attempt=self._troubles)

    def _pause_s(self) -> float:
        """Until the next tick, or the next attempt if that is sooner."""
        if self._troubles:
            return min(backoff_s(self._troubles, random.random()), self._poll_s)  # noqa: S311
        due = next_attempt(self._recall.failures)
        if due is None:
            return self._poll_s
        return min(max((due - datetime.now(UTC)).total_seconds(), 0.05), self._poll_s)


async def _first_of(*events: asyncio.Event, timeout_s: float) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _log_outcome(outcome: Outcome) -> None:
    told = outcome.to_json()
    fields = {"model": told["name"], **{k: told[k] for k in ("action", "reason", "elapsed_s")}}
    match outcome.result:
        case "done":
            log.info(told["message"], **fields)
        case "failed":
            log.warning("action failed", error=told["message"], **fields)
        case "skipped":
            log.debug("action skipped", **fields)
