"""`export`: models.yaml for what is installed, so that another host becomes the same.

Looks at the store, and asks Ollama what it holds in memory; works without either daemon, and
writes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Mapping, Sequence
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
    version, found = asyncio.run(_look(settings, options.names, digests=options.digests))
    head = _head(version)
    text = _text(found, head).removesuffix("\n")
    views.show(_document(found, head), text, options.output, is_file=True)
    return 0


def spec_of_installed(settings: Settings) -> str:
    """The text of models.yaml for all that is installed."""
    version, found = asyncio.run(_look(settings, (), digests=True))
    return _text(found, _head(version))


def _head(version: str) -> dict[str, str]:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"at": at, "host": socket.gethostname(), "version": version}


def _text(found: Export, head: Mapping[str, str]) -> str:
    return spec_text(
        found.models,
        comments=found.comments,
        head=export_head(**head),
        tail=skipped_lines(found.skipped),
    )


async def _look(settings: Settings, asked: Sequence[str], *, digests: bool) -> tuple[str, Export]:
    world = World.to_read(settings.url, settings.models_path)
    try:
        world.store.check_exists()
        version, pinned = await _asked(world)
        names = installed_names(world.store, asked)
        inventory = await asyncio.to_thread(take_inventory, world.store, world.state, pinned)
    finally:
        await world.close()
    return version, export(inventory, names, digests=digests)


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
