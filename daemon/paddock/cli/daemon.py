"""`run`, `status` and `chat`: the daemon, and what is asked of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddock.cli import views
from paddock.cli.options import desire_of, settings_of
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import Memory
from paddock.core.summarize import summarize
from paddock.edges.daemon_client import find_daemon, get_json, socket_candidates
from paddock.edges.lock import read_holder
from paddock.edges.store.reader import STATE_DIR
from paddock.engine.reconcile import look
from paddock.engine.world import World
from paddock.errors import PaddockError
from paddock.settings import Settings

EXIT_NOT_READY = 3
ANSWER_S = 10.0


def run(options: argparse.Namespace) -> int:
    """Keep the models as the file says until told to stop."""
    from paddock import service
    from paddock.logs import configure_logs

    settings = settings_of(options)
    colors = not getattr(options, "no_color", False)
    configure_logs(settings.log_level, settings.log_format, colors=colors)
    asyncio.run(service.run(settings, os.environ))
    return 0


def status(options: argparse.Namespace) -> int:
    """Show how the models stand: as the daemon says, or by looking."""
    settings = settings_of(options)
    socket = daemon_socket(settings)
    document: Mapping[str, Any]
    if socket is not None:
        document = get_json(socket, "/paddock/status", timeout_s=ANSWER_S)
    else:
        views.note("no daemon answers: this is what can be seen without one")
        document = asyncio.run(_look(settings))
    asked = [document]
    if options.name is not None:
        document = _only(document, options.name)
        asked = document["models"]
    views.show(document, views.status_text(document), options.output)
    return 0 if all(views.ready(d)["status"] == "True" for d in asked) else EXIT_NOT_READY


def chat(options: argparse.Namespace) -> int:
    """Chat with a model through the daemon, or with Ollama where there is none."""
    from paddock.cli.chat import Chat, ChatOutput, Streams, read_images, run_chat

    settings = settings_of(options)
    output = ChatOutput.JSON if options.json or options.output == "json" else ChatOutput.TEXT
    asked = Chat(
        options.name,
        daemon_socket(settings),
        settings.url,
        output,
        system=options.system,
        images=read_images(options.image),
    )
    return run_chat(asked, options.prompt, Streams(sys.stdin, sys.stdout, sys.stderr))


def daemon_socket(settings: Settings) -> Path | None:
    """The socket of the daemon that answers: as set, as the lock says, then the usual places."""
    if settings.socket is not None:
        return find_daemon([settings.socket])
    holder = read_holder(settings.models_path / STATE_DIR)
    held = [] if holder is None or holder.socket is None else [Path(holder.socket)]
    candidates = [*held, *socket_candidates(os.environ, os.geteuid())]
    return find_daemon(candidates)


async def _look(settings: Settings) -> Mapping[str, Any]:
    desired = desire_of(settings)()
    world = World.to_read(settings.url, settings.models_path, settings.roots)
    try:
        desired, observed, plan = await look(world, desired, Memory())
    finally:
        await world.close()
    return summarize(Cycle(desired, observed.at, observed, plan)).to_json()


def _only(document: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    name = Name.parse(text)
    models = [m for m in document["models"] if Name.parse_api(m["name"]).folded == name.folded]
    if not models:
        what = f"{name} is not declared in {document['file']}"
        raise PaddockError(f"{what}; paddock status shows all that are", reason="NotDeclared")
    return {**document, "models": models}
