"""The managed server of a daemon: what it is started with, and that it is kept while the daemon
runs.

Puts the settings, the supervisor (`edges/managed.py`) and the loop together. With the setting
`managed` off it does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from paddock.core.managed import serve_environment
from paddock.edges.managed import ManagedServer
from paddock.edges.managed_look import Serving, find_program, is_served, prepare_folder
from paddock.engine.loop import Loop
from paddock.settings import Settings

log = structlog.get_logger()

FIRST_ANSWER_S = 10.0


async def prepare(
    settings: Settings, environ: Mapping[str, str]
) -> tuple[Settings, Serving | None]:
    """What is to be served, and the settings with the models folder to serve: the user's own where
    none is set and nobody serves yet. Raises OllamaError where it could not be served."""
    if not settings.managed:
        return settings, None
    if not await is_served(_serving(settings, environ)):
        if settings.models_dir is None:
            own = Path.home() / ".ollama" / "models"
            settings = settings.model_copy(update={"models_dir": own})
        serving = _serving(settings, environ)
        find_program(serving)
        prepare_folder(serving)
    return settings, _serving(settings, environ)


def _serving(settings: Settings, environ: Mapping[str, str]) -> Serving:
    host, port = settings.bind
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    folder, home = str(settings.models_path), str(Path.home())
    env = serve_environment(environ, bind=bind, models_dir=folder, home=home)
    return Serving(settings.url, host, port, settings.program, env)


@asynccontextmanager
async def kept(serving: Serving | None, loop: Loop) -> AsyncIterator[asyncio.Event]:
    """Keep a server there inside, and end it after where it is ours; yields the event that it
    answers, or does not for a known reason."""
    settled = asyncio.Event()
    if serving is None:
        settled.set()
        yield settled
        return
    server = ManagedServer(serving, loop.tell_server, loop.ollama_restarted, settled)
    keeping = asyncio.create_task(server.run())
    await asyncio.sleep(0)  # so that there is a state to tell from the first request on
    keeping.add_done_callback(_failed)
    try:
        yield settled
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


def _failed(keeping: asyncio.Task[None]) -> None:
    if not keeping.cancelled() and (error := keeping.exception()) is not None:
        log.error("server no longer kept", error=str(error), exc_info=error)
