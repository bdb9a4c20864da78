"""`outdated`: what the registries have now, beside what is installed.

Needs neither a daemon nor Ollama; reads the store and the ledger, takes no lock, changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence

from paddock.cli import views
from paddock.cli.options import desire_of, settings_of
from paddock.core import outdated as core
from paddock.core.desired import DesiredModel
from paddock.core.digest import Digest, short
from paddock.core.names import Name
from paddock.core.respell import respell
from paddock.edges import registry
from paddock.engine.world import World
from paddock.errors import PaddockError
from paddock.settings import Settings

EXIT_OUTDATED = 2
EXIT_NONE_ASKED = 1
AT_ONCE = 8

Answer = Digest | PaddockError


def outdated(options: argparse.Namespace) -> int:
    """Show which pulled models are not what their registries have now."""
    settings = settings_of(options)
    names = [Name.parse(text) for text in options.names]
    rows = asyncio.run(_rows(settings, names))
    views.show(core.to_json(rows), _text(rows, settings), options.output)
    if core.none_was_asked(rows):
        return EXIT_NONE_ASKED
    behind = any(row.state == "outdated" for row in rows)
    return EXIT_OUTDATED if behind and options.detailed_exitcode else 0


async def _rows(settings: Settings, names: Sequence[Name]) -> list[core.Row]:
    world = World.to_read(settings.url, settings.models_path)
    try:
        world.store.check_exists()
        chosen = await asyncio.to_thread(_candidates, world, settings, names)
    finally:
        await world.close()
    answers = await _ask_all(chosen)
    judged = [core.judge(c, answers[c.reference, c.insecure]) for c in chosen]
    return [row for row in judged if row is not None]


def _candidates(
    world: World, settings: Settings, names: Sequence[Name]
) -> tuple[core.Candidate, ...]:
    manifests = world.store.manifests()
    declared: Mapping[Name, DesiredModel] = {}
    if settings.file is not None or settings.spec_path.exists():
        declared = respell(desire_of(settings)(), manifests).models
    made_here = {name for name in manifests if _ends_in_newline(world, name)}
    ledger = world.state.ledger()
    installed = core.Installed(manifests, ledger, frozenset(made_here))
    return core.candidates(declared, installed, names)


def _ends_in_newline(world: World, name: Name) -> bool:
    return (world.store.manifest_bytes(name) or b"").endswith(b"\n")


async def _ask_all(chosen: Sequence[core.Candidate]) -> Mapping[tuple[Name, bool], Answer]:
    """Each reference once, some at a time."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def ask(reference: Name, insecure: bool) -> Answer:
        async with at_once:
            try:
                return await registry.manifest_digest(reference, insecure=insecure)
            except PaddockError as error:
                return error

    keys = list(dict.fromkeys((c.reference, c.insecure) for c in chosen))
    return dict(zip(keys, await asyncio.gather(*(ask(*key) for key in keys)), strict=True))


def _text(rows: Sequence[core.Row], settings: Settings) -> str:
    if not rows:
        return f"No pulled models in {settings.models_path}."
    table = [("NAME", "INSTALLED", "REGISTRY", "STATE")]
    for row in rows:
        there = "-" if row.registry is None else short(row.registry)
        why = "" if row.state == "current" else f": {row.message}"
        table.append((row.name, short(row.installed), there, f"{row.state}{why}"))
    return "\n".join([*views.table(table), _last_line(rows)])


def _last_line(rows: Sequence[core.Row]) -> str:
    behind = sum(row.state == "outdated" for row in rows)
    told = f"{behind} of {views.count(len(rows), 'model')} outdated."
    return f"{told} Paddock moves none of them by itself." if behind else told
