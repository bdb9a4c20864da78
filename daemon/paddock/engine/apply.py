"""Apply: carry out a plan, action by action, in its order.

Takes nothing but actions. One model's error stops that model's later actions and no other's. Every
name is claimed in the ledger before the first byte of it is written.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import assert_never

import structlog

from paddock.core.outcome import Outcome
from paddock.core.plan import (
    Action,
    DownloadFile,
    HashSource,
    LinkBlob,
    LoadModel,
    ProbeModel,
    PublishLink,
    PullModel,
    RemoveManifest,
    RemoveScratch,
    SetKeepAlive,
    Subject,
    UnlinkBlob,
    UnloadModel,
    UnpublishLink,
    WriteBlob,
    WriteManifest,
)
from paddock.engine import work
from paddock.engine.download import download
from paddock.engine.hashing import hash_source
from paddock.engine.probe import probe, remove_scratch
from paddock.engine.pull import pull
from paddock.engine.residency import load_model, set_keep_alive, unload_model
from paddock.engine.trees import publish_link, unpublish_link
from paddock.engine.world import World
from paddock.errors import OllamaUnreachable, PaddockError, Retry

log = structlog.get_logger()

Report = Callable[[Outcome], None]

# What may run side by side, and how many at once.
# Ollama loads one model after another (ollama:server/sched.go processPending).
PARALLEL = {
    HashSource: os.cpu_count() or 1,
    PullModel: 2,
    DownloadFile: 2,
    UnloadModel: 16,
    LoadModel: 1,
    SetKeepAlive: 4,
}


async def apply_plan(world: World, actions: Sequence[Action], report: Report) -> list[Outcome]:
    """Carry out actions that are in a legal order. Raises OllamaUnreachable once it is gone."""
    claim_for(world, actions)
    run = _Run(world, report)
    for kind, group in itertools.groupby(actions, key=type):
        at_once = asyncio.Semaphore(PARALLEL.get(kind, 1))
        async with asyncio.TaskGroup() as tasks:
            for action in group:
                tasks.create_task(run.one(action, at_once))
    if run.unreachable is not None:
        raise run.unreachable
    return run.outcomes


def claim_for(world: World, actions: Sequence[Action]) -> None:
    """Claim the names that these actions make, before the first byte of them is written."""
    makes = (WriteBlob, LinkBlob, WriteManifest)
    names = {action.name for action in actions if isinstance(action, makes)}
    pulled = {action.reference for action in actions if isinstance(action, PullModel)}
    world.fresh_claims |= (names | pulled) - world.state.ledger().owned.keys()
    world.state.claim(sorted(names | pulled))
    made = {a.name for a in actions if isinstance(a, WriteManifest) and a.replaces is None}
    world.state.adopt(sorted(made))


async def attempt(world: World, action: Action) -> Outcome:
    """Carry out one action; whatever goes wrong is its outcome. Raises OllamaUnreachable."""
    started = time.monotonic()
    try:
        await execute(world, action)
    except OllamaUnreachable:
        raise
    except PaddockError as error:
        elapsed = time.monotonic() - started
        return Outcome(action, "failed", elapsed, error.reason, error.message, error.retry)
    except Exception as error:
        # A defect of ours in one action must not keep the other models from their work.
        log.exception("action crashed", action=type(action).__name__, model=str(action.name))
        elapsed, what = time.monotonic() - started, f"{type(error).__name__}: {error}"
        return Outcome(action, "failed", elapsed, "InternalError", what, Retry.BACKOFF)
    return Outcome(action, "done", time.monotonic() - started)


def gone(action: Action, error: OllamaUnreachable) -> Outcome:
    """The outcome of an action under which Ollama went away."""
    return Outcome(action, "failed", 0.0, error.reason, error.message, error.retry)


class _Run:
    """The outcomes so far; a model that failed is left alone for the rest."""

    def __init__(self, world: World, report: Report):
        self.outcomes: list[Outcome] = []
        self._world = world
        self._report = report
        self._failed: dict[Subject, Outcome] = {}
        self.unreachable: OllamaUnreachable | None = None

    async def one(self, action: Action, at_once: asyncio.Semaphore) -> None:
        async with at_once:
            failed = self._failed.get(action.subject)
            if self.unreachable is not None:
                self._keep(Outcome(action, "skipped", 0.0, "OllamaUnreachable"))
                return
            if failed is not None:
                self._keep(Outcome(action, "skipped", 0.0, failed.reason, failed.message))
                return
            try:
                outcome = await attempt(self._world, action)
            except OllamaUnreachable as error:
                self.unreachable, outcome = error, gone(action, error)
            if outcome.result == "failed":
                self._failed[action.subject] = outcome
            self._keep(outcome)

    def _keep(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._report(outcome)


async def execute(world: World, action: Action) -> None:  # noqa: C901, PLR0912  an arm an action
    """Carry out one action. Raises PaddockError."""
    match action:
        case PullModel():
            await pull(world, action)
        case DownloadFile():
            await download(world, action)
        case HashSource():
            await hash_source(world, action)
        case ProbeModel():
            await probe(world, action)
        case WriteBlob():
            await asyncio.to_thread(work.write_blob, world, action)
        case LinkBlob():
            await work.link_blob(world, action)
        case UnloadModel():
            await unload_model(world, action)
        case WriteManifest():
            await work.write_manifest(world, action)
        case LoadModel():
            await load_model(world, action)
        case SetKeepAlive():
            await set_keep_alive(world, action)
        case RemoveManifest():
            await work.remove_manifest(world, action)
        case UnlinkBlob():
            await asyncio.to_thread(work.unlink_blob, world, action)
        case RemoveScratch():
            await remove_scratch(world, action.name)
        case PublishLink():
            await asyncio.to_thread(publish_link, world, action)
        case UnpublishLink():
            await asyncio.to_thread(unpublish_link, world, action)
        case _:
            assert_never(action)
