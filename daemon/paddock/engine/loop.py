"""The loop: one cycle after another, for as long as the daemon runs.

Owns what is remembered between cycles: the last good file, failures, what the polls saw, and the
status that everybody reads. It alone reads what an error means for the next attempt.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import structlog

from paddock.core.conditions import Status
from paddock.core.desired import Desired
from paddock.core.events import Event, EventLog
from paddock.core.failures import all_due
from paddock.core.managed import ServerState
from paddock.core.model_status import Cycle
from paddock.core.observed import Unknown
from paddock.core.outcome import Outcome
from paddock.core.plan import Plan
from paddock.core.progress import Progress, line, with_progress
from paddock.core.residency_plan import has_just_left
from paddock.core.summarize import retold, summarize
from paddock.engine.folders import Wanted
from paddock.engine.jobs import Jobs
from paddock.engine.logged import log_outcome
from paddock.engine.polls import pause_s
from paddock.engine.reconcile import Recall, reconcile
from paddock.engine.triggers import first_of
from paddock.engine.world import World
from paddock.errors import PaddockError, Retry, SpecError

log = structlog.get_logger()

# Long work is told of in the log now and then: those who want more follow the events.
LOG_PROGRESS_S = 60.0
# A runner in use is left to end its requests; the end of its process wakes the loop.
PATIENCE_S = 0.5

Load = Callable[[], Desired]


@dataclass(frozen=True, slots=True)
class Finished:
    """A cycle that has ended: `partial` with failed actions, `error` where it could not go on."""

    number: int
    outcomes: tuple[Outcome, ...]
    status: Status
    result: Literal["ok", "partial", "error"]
    elapsed_s: float
    at: datetime


Ended = Callable[[Finished], None]


class Loop:
    """Reconciles on each wake-up, at the latest every `poll_s` seconds; `ended` hears of cycles."""

    def __init__(self, world: World, load: Load, desired: Desired, *, poll_s: float, ended: Ended):
        self._world = world
        self._ended = ended
        self._load = load
        self._poll_s = poll_s
        self.wake = asyncio.Event()
        self._jobs = Jobs(world, self._report_job, self.wake.set)
        self._recall = Recall.of(world, self._jobs)
        self._troubles = 0
        self._finished = asyncio.Condition()
        self._started = 0
        self._last: Finished | None = None
        self.desired = desired
        self.wanted = Wanted(world, desired)
        self.plan: Plan | None = None
        self.cycle = Cycle(self.wanted.now, datetime.now(UTC))
        self.status = summarize(self.cycle)
        self._hurry = self._restarted = self._prune = False
        self._unwatched: dict[str, dict[str, str]] = {}
        self._server: ServerState | None = None
        self._askers: list[list[Outcome]] = []
        self._ended_jobs: list[Outcome] = []
        # Ids from the time on, so that they grow over restarts too: a follower goes on by the last.
        self.event_log = EventLog(last_id=time.time_ns() // 1_000_000)
        self._news, self._changes = asyncio.Event(), asyncio.Event()
        self._logged: dict[int, float] = {}
        world.progress.listen(self._progressed, self._ended_progress)
        world.runners.watch(self.wake.set)
        world.patience_s = PATIENCE_S

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile until `stop`."""
        try:
            while not stop.is_set():
                self._recall.is_poll = not self.wake.is_set() and not any(self._unwatched.values())
                self.wake.clear()
                await self._cycle()
                await first_of(self.wake, stop, timeout_s=self._pause_s())
        finally:
            await self._jobs.stop()

    async def ask(self, *, prune: bool = False) -> Finished:
        """Ask for a cycle, and wait for the end of one that began after this and left no long work
        under way. It has the outcomes of all since. All that failed is tried again at once: whoever
        asks may have mended it. With `prune`, what the file no longer names goes in it."""
        asked, outcomes = self._started, list[Outcome]()
        self._hurry = True
        self.wake_up(prune=prune)
        self._askers.append(outcomes)
        try:
            async with self._finished:
                await self._finished.wait_for(lambda: self._has_settled(asked))
        finally:
            self._askers = [asker for asker in self._askers if asker is not outcomes]
        assert self._last is not None
        return replace(self._last, outcomes=tuple(outcomes))

    async def turn(self) -> None:
        """Ask for a cycle, and wait for the end of one that began after this; jobs may go on."""
        asked = self._started
        self.wake.set()
        async with self._finished:
            await self._finished.wait_for(lambda: self.cycles > asked)

    def wake_up(self, *, prune: bool = False) -> None:
        """Ask for a cycle."""
        self._prune = self._prune or prune
        self.wake.set()

    def ollama_restarted(self) -> None:
        """Ask for a cycle, for which nothing has been loaded since Ollama started."""
        self._restarted = self._hurry = True
        self.wake.set()

    def not_watched(self, what: str, paths: Mapping[str, str]) -> None:
        """Take note of paths whose changes are seen at a poll alone, and why."""
        self._unwatched[what] = dict(paths)
        self.wake.set()

    def tell_server(self, state: ServerState) -> None:
        """Take note of how the server stands that we start, and tell it at once."""
        self._server = state
        self._publish(replace(self.cycle, at=datetime.now(UTC)))

    def _has_settled(self, asked: int) -> bool:
        is_over = self._last is not None and self._last.number > asked
        return is_over and not self._jobs.busy and not has_just_left(self.plan)

    async def events(self, after: int) -> list[Event]:
        """The events after an id; waits until there is one."""
        if after > self.event_log.last_id:
            after = 0  # an id from before a restart is ahead of ours: begin anew
        while not (found := self.event_log.after(after)):
            await self._news.wait()
        return found

    async def changed(self) -> None:
        """Wait until something was done, or the status was made anew; progress is neither."""
        await self._changes.wait()

    @property
    def status_now(self) -> Status:
        """The status, with how far long work is at this moment."""
        return with_progress(self.status, self._world.progress.under_way)

    @property
    def cycles(self) -> int:
        """How many cycles have ended."""
        return 0 if self._last is None else self._last.number

    async def _cycle(self) -> None:
        self._started += 1
        if self._hurry:
            self._hurry = False
            self._recall.failures = all_due(self._recall.failures, datetime.now(UTC))
        if self._restarted:
            self._restarted = False
            self._recall.ollama_restarted()
        began_s = time.monotonic()
        spec_trouble = await self._reload()
        wish = self.desired.pruning() if self._prune and spec_trouble is None else self.desired
        self._prune = False
        outcomes: list[Outcome] = []
        cycle = Cycle(self.wanted.now, datetime.now(UTC), spec_trouble=spec_trouble)

        def publish(now: Cycle) -> None:
            self.plan = now.plan
            self.wanted.saw(now.desired)
            self._publish(replace(now, spec_trouble=spec_trouble))

        try:
            cycle, outcomes = await reconcile(
                self._world, wish, self._recall, self._report, publish
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
        if desired is not self.desired:
            await asyncio.to_thread(self.wanted.look, desired)
        self.desired = desired
        return None

    def status_of(self, kind: str) -> str:
        """The reason of a condition of the host, where it is True."""
        found = next((c for c in self.status.conditions if c.type == kind), None)
        return found.reason if found is not None and found.status == "True" else ""

    def _publish(self, cycle: Cycle) -> None:
        unwatched = dict(ChainMap(*self._unwatched.values()))
        cycle = replace(cycle, unwatched=unwatched, server=self._server)
        before, self.status = self.status, retold(self.status, self.cycle, cycle)
        self.cycle = cycle
        self.event_log.add_changes(before, self.status, cycle.at)
        self._tell_change()
        if self.status.ready and not before.ready:
            log.info("converged", models=len(self.status.models))

    def _report_job(self, outcome: Outcome) -> None:
        """Jobs end between cycles: the next one counts them."""
        self._ended_jobs.append(outcome)
        self._report(outcome)

    def _report(self, outcome: Outcome) -> None:
        for asker in self._askers:
            asker.append(outcome)
        self.event_log.add_outcome(outcome, datetime.now(UTC))
        self._tell_change()
        log_outcome(outcome)

    def _progressed(self, progress: Progress) -> None:
        self.event_log.set_progress(progress)
        self._tell()
        if progress.elapsed_s - self._logged.get(progress.number, 0.0) >= LOG_PROGRESS_S:
            self._logged[progress.number] = progress.elapsed_s
            log.info(line(progress), model=progress.name, action=progress.action)

    def _ended_progress(self, progress: Progress) -> None:
        self.event_log.end_progress(progress.number)
        self._logged.pop(progress.number, None)

    def _tell_change(self) -> None:
        self._changes.set()
        self._changes = asyncio.Event()
        self._tell()

    def _tell(self) -> None:
        """Wake those who wait for events; the next ones wait for the next."""
        self._news.set()
        self._news = asyncio.Event()

    async def _finish(self, outcomes: list[Outcome], elapsed_s: float) -> None:
        outcomes, self._ended_jobs = [*self._ended_jobs, *outcomes], []
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
        jitter, now = random.random(), self._world.clock()  # noqa: S311
        cycle = replace(self.cycle, failures=self._recall.failures)
        return pause_s(cycle, now, poll_s=self._poll_s, troubles=self._troubles, jitter=jitter)
