"""`export`: models.yaml for what is installed, so that another host becomes the same.

Looks at the store, and asks Ollama what it holds in memory; works without either daemon, and
writes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from paddock.cli import views
from paddock.cli.options import settings_of
from paddock.core.export import Export, export, export_head, skipped_lines
from paddock.core.names import Name
from paddock.core.spec import VERSION
from paddock.core.spec_text import spec_text
from paddock.engine.inventory import installed_names, take_inventory
from paddock.engine.world import World
from paddock.errors import OllamaError
from paddock.settings import Settings


def run(options: argparse.Namespace) -> int:
    """Print models.yaml for what is installed."""
    settings = settings_of(options)
    version, found = asyncio.run(_look(settings, options))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    head = {"at": at, "host": socket.gethostname(), "version": version}
    text = spec_text(
        found.models,
        comments=found.comments,
        head=export_head(**head),
        tail=skipped_lines(found.skipped),
    )
    views.show(_document(found, head), text.removesuffix("\n"), options.output, is_file=True)
    return 0


async def _look(settings: Settings, options: argparse.Namespace) -> tuple[str, Export]:
    world = World.to_read(settings.url, settings.models_path)
    try:
        world.store.check_exists()
        version, pinned = await _asked(world)
        names = installed_names(world.store, options.names)
        inventory = await asyncio.to_thread(take_inventory, world.store, world.state, pinned)
    finally:
        await world.close()
    return version, export(inventory, names, digests=options.digests)


async def _asked(world: World) -> tuple[str, frozenset[Name]]:
    """Ollama's version, and what it holds for ever; neither where it does not answer."""
    try:
        version, running = await asyncio.gather(world.ollama.version(), world.ollama.running())
    except OllamaError as error:
        views.note(f"{error.message}; what it holds in memory is left out")
        return "", frozenset()
    return version, frozenset(r.name.folded for r in running if r.expires_at is None)


def _document(found: Export, head: Mapping[str, str]) -> Mapping[str, Any]:
    return {
        "format_version": 1,
        "host": head["host"],
        "at": head["at"],
        "ollama_version": head["version"],
        "spec": {"version": VERSION, "models": found.models},
        "notes": {name: note for name, note in found.comments.items() if note},
        "skipped": [{"name": name, "message": why} for name, why in found.skipped.items()],
    }
