"""Jobs: what takes long (pulls, downloads, hashes, loads), carried out beside the cycles of a
daemon.

A cycle starts what its plan asks for and goes on with the rest; the end of a job wakes the loop,
and the next cycle sees what came of it. What no plan asks for any more is given up. When nothing
else is to be done, digests that were taken at their word are verified, one at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence, Set

from paddock.core.names import Name
from paddock.core.outcome import Outcome
from paddock.core.plan import (
    Action,
    DownloadFile,
    HashSource,
    LoadModel,
    PullModel,
    SetKeepAlive,
)
from paddock.core.questions import question
from paddock.engine.apply import PARALLEL, Report, attempt, claim_for, gone
from paddock.engine.world import World
from paddock.errors import OllamaUnreachable

GIVEN_UP_S = 1.0
# A keep_alive is set at once, unless Ollama has to load the model for it after all.
MEMORY = (LoadModel, SetKeepAlive)
LONG = (PullModel, DownloadFile, HashSource, *MEMORY)


class Jobs:
    """The jobs of one daemon. `wake` is called at the end of each."""

    def __init__(self, world: World, report: Report, wake: Callable[[], None]):
        self._world = world
        self._report = report
        self._wake = wake
        self._tasks: dict[object, asyncio.Task[None]] = {}
        self._at_once = {kind: asyncio.Semaphore(limit) for kind, limit in PARALLEL.items()}
        self._outcomes: list[Outcome] = []
        self._verifying: object = None
        self._wakes_at_s = 0.0
        self._unverifiable: set[object] = set()

    @property
    def busy(self) -> bool:
        """Whether a job that a plan asked for is under way, or has ended and no cycle saw it."""
        return bool(self._outcomes or self._tasks.keys() - {self._verifying})

    @property
    def loading(self) -> list[Name]:
        """The models that are being loaded, or wait for their turn to be."""
        kinds = [asked for asked in self._tasks if isinstance(asked, tuple) and len(asked) == 2]
        return [name for kind, name in kinds if kind is LoadModel]

    def start(self, actions: Iterable[Action]) -> None:
        """Start what is not under way yet, and has not ended since it was looked whether it had;
        more than may run at once wait for their turn."""
        unseen = {question(outcome.action) for outcome in self._outcomes}
        for action in actions:
            asked = question(action)
            if asked == self._verifying:
                self._verifying = None
            elif asked not in self._tasks and asked not in unseen:
                claim_for(self._world, [action])
                self._begin(asked, action)

    def has(self, action: Action) -> bool:
        """Whether this is under way."""
        return isinstance(action, LONG) and question(action) in self._tasks

    def take(self) -> list[Outcome]:
        """What has ended since this was asked last; to be asked before a look, which then sees what
        came of it."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def give_up_but(self, actions: Iterable[Action], kept: Set[object] = frozenset()) -> None:
        """Cancel what none of these actions asks for, and is no question that is `kept`."""
        wanted = kept | {question(action) for action in actions if isinstance(action, LONG)}
        for asked in self._tasks.keys() - wanted - {self._verifying}:
            self._tasks[asked].cancel()

    def verify(self, sources: Sequence[HashSource]) -> None:
        """Hash the first of these in the background, unless there is something to do."""
        for action in sources:
            asked = question(action)
            if self._tasks or asked in self._unverifiable:
                continue
            self._verifying = asked
            self._begin(asked, action)

    async def stop(self) -> None:
        """Give up everything; it is done again at the next start, or goes on where it was."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, asked: object, action: Action) -> None:
        self._tasks[asked] = asyncio.create_task(self._carry_out(asked, action))

    async def _carry_out(self, asked: object, action: Action) -> None:
        wake = self._wake
        try:
            async with self._at_once[type(action)]:
                outcome = await attempt(self._world, action)
            self._end(asked, outcome)
        except OllamaUnreachable as error:
            self._end(asked, gone(action, error))
        except asyncio.CancelledError:
            wake = self._wake_later
            raise
        finally:
            del self._tasks[asked]
            if self._verifying == asked:
                self._verifying = None
            wake()

    def _wake_later(self) -> None:
        """A file that grows is another question in each cycle, which gives up the last one: if each
        woke the loop at once, it would not rest before the file does."""
        now_s, running = time.monotonic(), asyncio.get_running_loop()
        if now_s >= self._wakes_at_s:
            self._wakes_at_s = now_s + GIVEN_UP_S
            running.call_later(GIVEN_UP_S, self._wake)

    def _end(self, asked: object, outcome: Outcome) -> None:
        self._report(outcome)
        if self._verifying != asked:
            self._outcomes.append(outcome)
        elif outcome.result == "failed":
            self._unverifiable.add(asked)
