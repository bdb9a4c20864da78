"""`pause` and `resume`: leave models alone, and care for them again.

Through the daemon that holds the store, or under the store's lock where there is none.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paddock.cli import views
from paddock.cli.options import desire_of, settings_of
from paddock.core.desired import Desired
from paddock.core.names import Name
from paddock.edges.daemon_client import find_daemon, post_json
from paddock.edges.lock import read_holder
from paddock.edges.state import State
from paddock.edges.store.reader import STATE_DIR
from paddock.engine import pause as ledger
from paddock.engine.folders import Wanted
from paddock.engine.world import World, this_process
from paddock.settings import Settings

EXIT_IN_PART = 3

Switch = Callable[[State, Desired, Sequence[str]], dict[str, Any]]


def pause(options: argparse.Namespace) -> int:
    """Leave models alone until they are resumed, over every restart."""
    document = _switch(options, "pause", ledger.pause)
    lines = [_line(model, "paused", "is paused already") for model in document["models"]]
    views.show(document, "\n".join(lines), options.output)
    return 0


def resume(options: argparse.Namespace) -> int:
    """Care for models again; those that the file suspends stay so."""
    document = _switch(options, "resume", ledger.resume)
    lines = [_line(model, "resumed", "was not paused") for model in document["models"]]
    views.show(document, "\n".join(lines), options.output)
    suspended = [model["name"] for model in document["models"] if model["suspended_in_file"]]
    for name in suspended:
        views.note(f"paddock: {name} stays suspended: {document['file']} says suspend: true")
    return EXIT_IN_PART if suspended else 0


def _line(model: Mapping[str, Any], done: str, already: str) -> str:
    return f"{model['name']}: {done}" if model["changed"] else f"{model['name']} {already}"


def _switch(options: argparse.Namespace, verb: str, switch: Switch) -> Mapping[str, Any]:
    settings = settings_of(options)
    for text in options.names:
        Name.parse(text)
    socket = _socket(settings)
    if socket is None:
        return asyncio.run(_alone(settings, options.names, switch))
    body = {"models": options.names}
    return post_json(socket, f"/paddock/{verb}", body, timeout_s=None)


def _socket(settings: Settings) -> Path | None:
    """The daemon of this very store: another one's ledger would be the wrong place."""
    if settings.socket is not None:
        return find_daemon([settings.socket])
    holder = read_holder(settings.models_path / STATE_DIR)
    return None if holder is None or holder.socket is None else Path(holder.socket)


async def _alone(settings: Settings, names: Sequence[str], switch: Switch) -> Mapping[str, Any]:
    desire = desire_of(settings)
    desired = desire()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = this_process(since, str(desire.path.resolve()), None)
    world = World.to_write(settings.url, settings.models_path, holder)
    try:
        return switch(world.state, Wanted(world, desired).now, names)
    finally:
        await world.close()
