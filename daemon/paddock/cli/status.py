"""`status`: how the models stand, as the daemon says, or by looking; with `--watch` for as long as
somebody looks on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddock.cli import views
from paddock.cli.daemon import ANSWER_S, daemon_socket, no_daemon
from paddock.cli.look import look_once
from paddock.cli.options import settings_of
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.summarize import summarize
from paddock.edges.daemon_client import DaemonUnreachable, get_json
from paddock.errors import PaddockError
from paddock.settings import Settings

EXIT_NOT_READY = 3
WATCH_S = 1.0
LOOK_S = 5.0  # without a daemon each look asks Ollama and reads the store

Document = Mapping[str, Any]


def run(options: argparse.Namespace) -> int:
    """Show how the models stand."""
    settings = settings_of(options)
    socket = daemon_socket(settings)
    if socket is None:
        views.note(f"{no_daemon(settings)}: this is what can be seen without one")
    if options.watch:
        return _watch(options, settings)
    document = _status(options, settings, socket)
    views.show(document, views.status_text(document), options.output)
    asked = [document] if options.name is None else document["models"]
    return 0 if all(views.ready(d)["status"] == "True" for d in asked) else EXIT_NOT_READY


def _watch(options: argparse.Namespace, settings: Settings) -> int:
    """Until interrupted; on a terminal in place, else anew with each change."""
    on_terminal = sys.stdout.isatty() and options.output == "text"
    shown = ""
    while True:
        socket = daemon_socket(settings)
        try:
            document = _status(options, settings, socket)
        except DaemonUnreachable:  # it has just gone: look by ourselves
            continue
        text = json.dumps(document) if options.output == "json" else views.status_text(document)
        if text != shown:
            views.show_again(document, text, options.output, on_terminal=on_terminal)
            shown = text
        time.sleep(LOOK_S if socket is None else WATCH_S)


def _status(options: argparse.Namespace, settings: Settings, socket: Path | None) -> Document:
    if socket is None:
        document = asyncio.run(_look(settings))
    else:
        document = get_json(socket, "/paddock/status", timeout_s=ANSWER_S)
    return document if options.name is None else _only(document, options.name)


async def _look(settings: Settings) -> Document:
    desired, observed, plan = await look_once(settings)
    return summarize(Cycle(desired, observed.at, observed, plan)).to_json()


def _only(document: Document, text: str) -> Document:
    name = Name.parse(text)
    models = [m for m in document["models"] if Name.parse_api(m["name"]).folded == name.folded]
    if not models:
        what = f"{name} is not declared in {document['file']}"
        raise PaddockError(f"{what}; paddock status shows all that are", reason="NotDeclared")
    return {**document, "models": models}
