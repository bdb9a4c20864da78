"""Logs: one line an event, to stderr; coloured on a terminal, JSON when asked.

An event is a noun phrase and fields. Prompts, answers and secrets are never logged.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor


def configure_logs(
    level: str, form: str, *, colors: bool = True, stream: TextIO | None = None
) -> None:
    """Set up logging for this process: `form` is `auto`, `console` or `json`.

    Colours are for terminals, and not where `NO_COLOR` is set.
    """
    out = sys.stderr if stream is None else stream
    colors = colors and out.isatty() and not os.environ.get("NO_COLOR")
    if form == "auto":
        form = "console" if out.isatty() else "json"
    renderer: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=colors)]
        if form == "console"
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
