"""`run` and `chat`: the daemon, and a talk through it."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from paddock.cli.options import settings_of
from paddock.edges.accounts import group_name
from paddock.edges.daemon_client import closed_socket, find_daemon, socket_candidates
from paddock.edges.lock import read_holder
from paddock.edges.store.reader import STATE_DIR
from paddock.settings import Settings

ANSWER_S = 10.0
NAME = "paddock"


def run(options: argparse.Namespace) -> int:
    """Keep the models as the file says until told to stop."""
    from paddock import service
    from paddock.core.journal import to_fields
    from paddock.edges.journal import journal_of
    from paddock.endpoint.lane_loop import new_loop
    from paddock.logs import configure_logs

    settings = settings_of(options)
    colors = not getattr(options, "no_color", False)
    journal = journal_of(os.environ, sys.stderr)
    configure_logs(
        settings.log_level,
        settings.log_format,
        colors=colors,
        journal=None if journal is None else lambda event: journal.send(to_fields(event, NAME)),
    )
    faulthandler.enable()  # a watchdog's SIGABRT leaves the stacks in the log
    gc.freeze()  # to look through all that was imported takes 50 ms, in which no chunk moves
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(service.run(settings, os.environ))
    return 0


def chat(options: argparse.Namespace) -> int:
    """Chat with a model through the daemon, or with Ollama where there is none."""
    from paddock.cli.chat import Chat, ChatOutput, Streams, read_images, run_chat

    settings = settings_of(options)
    output = ChatOutput.JSON if options.json or options.output == "json" else ChatOutput.TEXT
    socket = daemon_socket(settings)
    asked = Chat(
        options.name,
        socket,
        settings.url,
        output,
        alone="" if socket else no_daemon(settings),
        system=options.system,
        images=read_images(options.image),
    )
    return run_chat(asked, options.prompt, Streams(sys.stdin, sys.stdout, sys.stderr))


def daemon_socket(settings: Settings) -> Path | None:
    """The socket of the daemon that answers: as set, as the lock says, then the usual places."""
    return find_daemon(_candidates(settings))


def no_daemon(settings: Settings) -> str:
    """Why there is no such socket."""
    closed = closed_socket(_candidates(settings))
    return "no daemon answers" if closed is None else _closed(closed)


def _closed(path: Path) -> str:
    """What closes a socket to this user, and what would open it."""
    try:
        found = path.stat()
    except OSError:
        return f"the daemon's socket {path} cannot be reached: its folder is closed to you"
    mode, group = stat.S_IMODE(found.st_mode), group_name(found.st_gid)
    join = f"join the group {group}, or " if mode & stat.S_IWGRP else ""
    return (
        f"the daemon's socket {path} is closed to you (mode {mode:04o}, group {group}); "
        f"{join}set SOCKET_MODE and SOCKET_GROUP for the daemon"
    )


def _candidates(settings: Settings) -> Sequence[Path]:
    if settings.socket is not None:
        return [settings.socket]
    holder = read_holder(settings.models_path / STATE_DIR)
    held = [] if holder is None or holder.socket is None else [Path(holder.socket)]
    return [*held, *socket_candidates(os.environ, os.geteuid())]
