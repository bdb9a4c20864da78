"""Logs: one line an event: coloured on a terminal, fields in the journal, else JSON on stderr.

An event is a noun phrase and fields. Prompts, answers and secrets are never logged.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

# Takes an event: its level, its fields, and what happened under `event`.
Record = Callable[[Mapping[str, Any]], None]


def configure_logs(
    level: str,
    form: str,
    *,
    colors: bool = True,
    stream: TextIO | None = None,
    journal: Record | None = None,
) -> None:
    """Set up logging for this process: `form` is `auto`, `console` or `json`.

    `auto` is the console on a terminal, then the journal where one is given, else JSON. Colours are
    for terminals, and not where `NO_COLOR` is set.
    """
    out = sys.stderr if stream is None else stream
    colors = colors and out.isatty() and not os.environ.get("NO_COLOR")
    if form == "auto":
        form = "console" if out.isatty() else "json" if journal is None else "journal"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            *_renderer(form, colors=colors),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=_factory(form, out, journal),
        cache_logger_on_first_use=True,
    )


def _renderer(form: str, *, colors: bool) -> list[Processor]:
    match form:
        case "console":
            return [structlog.dev.ConsoleRenderer(colors=colors)]
        case "journal":
            return [structlog.processors.format_exc_info, _as_record]
        case _:
            return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _factory(form: str, out: TextIO, journal: Record | None) -> Callable[..., Any]:
    if form == "journal" and journal is not None:
        record = journal
        return lambda *_: _Records(record)
    return structlog.PrintLoggerFactory(out)


def _as_record(_: Any, __: str, event: MutableMapping[str, Any]) -> tuple[Any, Any]:
    return (event,), {}


class _Records:
    """A logger for structlog, whose every level hands the event on."""

    def __init__(self, record: Record):
        self.debug = self.info = self.warning = self.error = self.critical = record
        self.msg = self.exception = self.fatal = self.warn = self.log = record
