"""The managed server: keeps an `ollama serve` there, where nobody else does.

Owns the decision who serves: a server that answers already is used and never stopped; a program
that is no Ollama is left alone, and told of; else one of ours is started, and started again when it
ends. Tells how it stands, and asks the server for nothing but its version.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from paddock.core import managed
from paddock.core.managed import ServerState
from paddock.edges.managed_look import (
    Answer,
    Serving,
    find_program,
    is_served,
    prepare_folder,
    who_answers,
)
from paddock.edges.managed_process import ServerProcess, exit_words
from paddock.errors import PaddockError

log = structlog.get_logger()

LOOK_S = 2.0
AWAY_S = 15.0
READY_LOOK_S, READY_LOOK_MOST_S = 0.02, 0.5
STARTING_S = 60.0


@dataclass(slots=True)
class ManagedServer:
    """Keeps a server there while `run` runs. `tell` hears each change of its state, `back` that it
    answers after it had not; `settled` is set once there is more to tell than that it starts."""

    serving: Serving
    tell: Callable[[ServerState], None]
    back: Callable[[], None]
    settled: asyncio.Event
    _failed: int = 0
    _told: str = ""

    async def run(self) -> None:
        """Keep a server there until cancelled; then end it, where it is ours."""
        self._tell(managed.looking(self.serving.url), settled=False)
        while True:
            try:
                if await is_served(self.serving):
                    await self._use_found()
                else:
                    await self._serve(find_program(self.serving))
            except PaddockError as error:
                await self._wait_for_person(error)

    async def _use_found(self) -> None:
        """Somebody else's server: used while it answers, and waited for when it is gone, for it may
        only be restarting."""
        url = self.serving.url
        log.info("ollama found", url=url, stopped_at_exit=False)
        self._failed = 0
        self._tell(managed.found(url))
        gone_s: float | None = None
        while gone_s is None or time.monotonic() < gone_s + AWAY_S:
            await asyncio.sleep(LOOK_S)
            is_gone = await who_answers(url) == Answer()
            if is_gone == (gone_s is not None):
                continue
            gone_s = time.monotonic() if is_gone else None
            until = _now() + timedelta(seconds=AWAY_S)
            self._tell(managed.away(url, until) if is_gone else managed.found(url))
        log.warning("ollama gone", url=url)

    async def _serve(self, program: str) -> None:
        """Start one, and see it to its end."""
        since_s = time.monotonic()
        prepare_folder(self.serving)
        server = await ServerProcess.start([program, "serve"], self.serving.env)
        self._told = ""
        log.info("ollama starting", pid=server.pid, program=program)
        ending = asyncio.create_task(server.ended())
        try:
            self._tell(managed.starting(server.pid, _now()), settled=False)
            if await self._answers(ending, since_s):
                self._tell(managed.serving(server.pid, _now()))
                log.info("ollama serves", pid=server.pid, elapsed_s=_elapsed_s(since_s))
                self.back()
            code = await asyncio.shield(ending)
        finally:
            if not ending.done():
                await _stop(server, ending)
        await self._ended(exit_words(code, server.last), time.monotonic() - since_s)

    async def _answers(self, ending: asyncio.Task[int], since_s: float) -> bool:
        """Wait until it answers; False when it has ended before."""
        pause_s, told_s = READY_LOOK_S, since_s
        while not ending.done():
            if (await who_answers(self.serving.url)).version is not None:
                return not ending.done()
            if time.monotonic() > told_s + STARTING_S:
                told_s = time.monotonic()
                log.warning("ollama does not answer yet", elapsed_s=_elapsed_s(since_s))
            await asyncio.wait([ending], timeout=pause_s)
            pause_s = min(2 * pause_s, READY_LOOK_MOST_S)
        return False

    async def _ended(self, how: str, ran_s: float) -> None:
        """It has ended by itself: tell why, and wait for the time of its next start."""
        self._failed = managed.failed_before(self._failed, ran_s)
        log.warning("ollama ended", how=how, ran_s=round(ran_s, 1))
        await self._pause(managed.ended(how))

    async def _wait_for_person(self, error: PaddockError) -> None:
        """It cannot be started: see now and then whether somebody has mended why."""
        level = log.debug if error.message == self._told else log.error
        level("ollama not started", reason=error.reason, error=error.message)
        self._told, self._failed = error.message, max(self._failed, 1)
        await self._pause(managed.stuck(error.reason, error.message))

    async def _pause(self, state: ServerState) -> None:
        """Wait for the time of the next start, and tell it."""
        self._failed += 1
        delay_s = managed.pause_s(self._failed, random.random())  # noqa: S311
        self._tell(state.until(_now() + timedelta(seconds=delay_s), self._failed + 1))
        await asyncio.sleep(delay_s)

    def _tell(self, state: ServerState, *, settled: bool = True) -> None:
        if settled:
            self.settled.set()
        self.tell(state)


async def _stop(server: ServerProcess, ending: asyncio.Task[int]) -> None:
    ending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ending
    await server.stop()
    log.info("ollama stopped", pid=server.pid)


def _now() -> datetime:
    return datetime.now(UTC)


def _elapsed_s(since_s: float) -> float:
    return round(time.monotonic() - since_s, 3)
