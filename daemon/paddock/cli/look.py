"""One look, for the commands that only tell what they see."""

from __future__ import annotations

from paddock.cli.options import desire_of
from paddock.core.observed import Memory
from paddock.engine.observe import Wish
from paddock.engine.planning import Look, look
from paddock.engine.world import World
from paddock.errors import PaddockError
from paddock.settings import Settings


async def look_once(settings: Settings) -> Look:
    """What is desired, seen and would be done. Changes nothing, locks nothing. Raises PaddockError:
    first what is wrong with models.yaml, though Ollama is asked before that is read."""
    desire = desire_of(settings)
    try:
        return await _look(settings, desire)
    except PaddockError:
        desire()
        raise


async def _look(settings: Settings, desire: Wish) -> Look:
    world = World.to_read(settings.url, settings.models_path, settings.roots)
    try:
        return await look(world, desire, Memory())
    finally:
        await world.close()
