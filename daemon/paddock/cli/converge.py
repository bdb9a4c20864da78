"""`apply`: the daemon's own path once, through it where it runs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from paddock.cli import views
from paddock.cli.follow import ask_and_follow
from paddock.cli.options import desire_of, settings_of
from paddock.cli.progress import Display
from paddock.core.desired import Desired
from paddock.core.keep_alive import KeepAlive
from paddock.core.layouts import SETTLED_S
from paddock.core.model_status import Cycle
from paddock.core.outcome import Outcome
from paddock.core.summarize import summarize
from paddock.edges.lock import Holder, read_holder
from paddock.edges.store.reader import STATE_DIR
from paddock.engine.apply import Report
from paddock.engine.desire import Desire
from paddock.engine.reconcile import Recall, reconcile
from paddock.engine.slow import use_threads
from paddock.engine.world import World, this_process
from paddock.errors import LockedError, PaddockError, SettingsError
from paddock.logs import configure_logs
from paddock.settings import Settings

EXIT_PARTIAL = 3

T = TypeVar("T")


def apply(options: argparse.Namespace) -> int:
    """Make it so: through the daemon that holds this store, or under the lock."""
    settings = settings_of(options)
    # What is logged on the way is no result: it goes to stderr.
    configure_logs("warning", "console", colors=not getattr(options, "no_color", False))
    desire = desire_of(settings)
    desired = desire()
    timeout_s = _seconds(options.timeout)
    holder = read_holder(settings.models_path / STATE_DIR)
    if holder is not None and holder.socket is not None:
        result = _ask(holder, desire, timeout_s, prune=options.prune)
    else:
        desired = desired.pruning() if options.prune else desired
        result = asyncio.run(_within(_apply(settings, desire, desired), timeout_s))
    views.show(
        {"format_version": 1, **result},
        views.applied_text(result["outcomes"], result["status"]),
        options.output,
    )
    return 0 if views.ready(result["status"])["status"] == "True" else EXIT_PARTIAL


def _ask(
    holder: Holder, desire: Desire, timeout_s: float | None, *, prune: bool
) -> Mapping[str, Any]:
    """Let the daemon do it, if it is about the same file."""
    mine = str(desire.path.resolve())
    if mine != holder.file:
        what = f"{holder} keeps this store as {holder.file} says, not {mine}"
        raise LockedError(f"{what}; edit that file, or stop it", holder=str(holder))
    assert holder.socket is not None
    views.note(f"asking {holder}")
    return ask_and_follow(Path(holder.socket), timeout_s, prune=prune)


async def _apply(settings: Settings, desire: Desire, desired: Desired) -> Mapping[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = this_process(since, str(desire.path.resolve()), None)
    use_threads()
    world = World.to_write(settings.url, settings.models_path, holder, settings.roots)
    world.hf_token = settings.token
    with Display(sys.stderr) as display:
        world.progress.listen(display.moved, display.ended)

        def report(outcome: Outcome) -> None:
            display.note(views.outcome_line(outcome.to_json()))

        try:
            cycle, outcomes = await _settled(world, desired, report)
        finally:
            await world.close()
        for out in cycle.desired.found.notes:
            display.note(f"note: {out.sentence}")
    told = [outcome.to_json() for outcome in outcomes]
    return {"outcomes": told, "status": summarize(cycle).to_json()}


async def _settled(world: World, desired: Desired, report: Report) -> tuple[Cycle, list[Outcome]]:
    """Reconcile, and once more where a file of a folder was being written until just now."""
    cycle, outcomes = await reconcile(world, desired, Recall(), report, _nobody)
    if any(out.reason == "StillWritten" for out in cycle.desired.found.notes):
        await asyncio.sleep(SETTLED_S)
        cycle, more = await reconcile(world, desired, Recall(), report, _nobody)
        outcomes += more
    return cycle, outcomes


def _nobody(_: Cycle) -> None:
    """Nobody watches a single apply between its rounds."""


async def _within(work: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError as error:
        what = f"not done within {timeout_s:g} s; what was done stays, and apply goes on from it"
        raise PaddockError(what, reason="Timeout") from error


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = KeepAlive.parse(text).seconds
    except ValueError as error:
        raise SettingsError(f"--timeout: {error}", reason="Usage") from error
    return seconds or None
