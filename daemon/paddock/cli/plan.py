"""`plan`: the path of `apply` and the daemon, up to where something would be done."""

from __future__ import annotations

import argparse
import asyncio

from paddock.cli import views
from paddock.cli.options import desire_of, is_verbose, settings_of
from paddock.core.desired import Desired
from paddock.core.observed import Memory
from paddock.core.plan import Plan
from paddock.core.plan_json import plan_to_json
from paddock.engine.planning import look
from paddock.engine.world import World
from paddock.settings import Settings

EXIT_CHANGES = 2


def plan(options: argparse.Namespace) -> int:
    """Show what apply would do; change nothing, lock nothing."""
    settings = settings_of(options)
    desired = desire_of(settings)()
    made = asyncio.run(_plan(settings, desired))
    document = plan_to_json(made)
    text = views.plan_text(document, made.models, verbose=is_verbose(options))
    views.show(document, text, options.output)
    return EXIT_CHANGES if options.detailed_exitcode and made.actions else 0


async def _plan(settings: Settings, desired: Desired) -> Plan:
    world = World.to_read(settings.url, settings.models_path, settings.roots)
    try:
        return (await look(world, desired, Memory())).plan
    finally:
        await world.close()
