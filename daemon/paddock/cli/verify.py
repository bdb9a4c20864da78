"""`verify`: hash the files of models against their digests, and mend what can be mended.

Only reads, without a daemon or beside one. With --repair it removes blobs of ours that are wrong,
and lets a cycle make them anew: the running daemon's, or one of its own under the lock.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paddock.cli import views
from paddock.cli.follow import ask_and_follow
from paddock.cli.options import desire_of, settings_of
from paddock.cli.progress import Display
from paddock.core.desired import Desired
from paddock.core.digest import short
from paddock.core.model_status import Cycle
from paddock.core.outcome import Outcome
from paddock.core.progress import Progress, size
from paddock.core.verify import Finding, Verdict, report
from paddock.edges.lock import read_holder
from paddock.edges.store.reader import STATE_DIR
from paddock.engine.inventory import installed_names
from paddock.engine.reconcile import Recall, reconcile
from paddock.engine.slow import use_threads
from paddock.engine.verify import repair, verify
from paddock.engine.world import World, open_ledger, this_process
from paddock.errors import LockedError
from paddock.settings import Settings

EXIT_WRONG = 3


def run(options: argparse.Namespace) -> int:
    """Hash the files of models, and say how each stands."""
    settings = settings_of(options)
    with Display(sys.stderr) as display:
        findings = asyncio.run(_verify(settings, options.names, display))
        mended: Sequence[Finding] = ()
        if options.repair and any(finding.repair for finding in findings):
            mended = _repair(settings, findings, display)
            findings = asyncio.run(_verify(settings, options.names, display))
    document = {**report(findings), "repaired": [finding.to_json() for finding in mended]}
    views.show(document, _text(document), options.output)
    return 0 if all(found.verdict is Verdict.OK for found in findings) else EXIT_WRONG


async def _verify(settings: Settings, texts: Sequence[str], display: Display) -> list[Finding]:
    use_threads()
    world = World.to_read(settings.url, settings.models_path)
    began_s = time.monotonic()

    def now(done_bytes: int, total_bytes: int) -> Progress:
        at, elapsed_s = datetime.now(UTC), time.monotonic() - began_s
        what = "verify", "Verify", "hash files"
        return Progress(0, *what, done_bytes, total_bytes, 0, elapsed_s, at)

    try:
        world.store.check_exists()
        names = frozenset(installed_names(world.store, texts)) if texts else None
        return await verify(
            world.store, world.state, names, lambda done, total: display.moved(now(done, total))
        )
    finally:
        display.ended(now(0, 0))
        await world.close()


def _repair(settings: Settings, findings: Sequence[Finding], display: Display) -> Sequence[Finding]:
    """By the file that the models are kept by: what it does not name, no cycle would make anew."""
    desire = desire_of(settings)
    desired, mine = desire(), str(desire.path.resolve())
    holder = read_holder(settings.models_path / STATE_DIR)
    if holder is None or holder.socket is None:
        return asyncio.run(_repair_alone(settings, findings, desired, display))
    if holder.file != mine:
        what = f"{holder} keeps this store as {holder.file} says, not {mine}"
        raise LockedError(f"{what}; name that file with -f", holder=str(holder))
    mended = asyncio.run(_repair_beside(settings, findings, desired))
    display.note(f"asking {holder}")
    ask_and_follow(Path(holder.socket), None)
    return mended


async def _repair_beside(
    settings: Settings, findings: Sequence[Finding], desired: Desired
) -> list[Finding]:
    """Beside a daemon, which holds the lock: what is removed here, its next cycle sees."""
    world = World.to_read(settings.url, settings.models_path)
    world.store.check_writable()
    world.state.close()
    world.state = open_ledger(world.store)
    try:
        return await repair(world, findings, desired)
    finally:
        await world.close()


async def _repair_alone(
    settings: Settings, findings: Sequence[Finding], desired: Desired, display: Display
) -> list[Finding]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = this_process(since, str(settings.spec_path.resolve()), None)
    world = World.to_write(settings.url, settings.models_path, holder)
    world.hf_token = settings.token
    world.progress.listen(display.moved, display.ended)

    def tell(outcome: Outcome) -> None:
        display.note(views.outcome_line(outcome.to_json()))

    try:
        mended = await repair(world, findings, desired)
        await reconcile(world, desired, Recall(), tell, _nobody)
    finally:
        await world.close()
    return mended


def _nobody(_: Cycle) -> None:
    """Nobody watches between the rounds."""


def _text(document: Mapping[str, Any]) -> str:
    """A line for each file, and the count."""
    lines = views.table([_row(file) for file in document["files"]])
    told = [f"{count} {verdict}" for verdict, count in document["summary"].items() if count]
    files = views.count(len(document["files"]), "file")
    lines += [f"mended: {file['path']}" for file in document["repaired"]]
    return "\n".join([*lines, f"{files}: {', '.join(told)}." if told else f"{files}."])


def _row(file: Mapping[str, Any]) -> tuple[str, ...]:
    digest = short(file["digest"]) if file["digest"] else file["kind"]
    message = file["message"]
    if file["repair"]:
        message = f"{message}; --repair can {file['repair']}"
    models = ", ".join(map(str, file["models"])) or "(no model)"
    return (file["verdict"], digest, size(file["size_bytes"]), models, file["path"], message)
