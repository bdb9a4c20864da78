"""`events`: what happened, as the daemon tells it, one line an event.

With -f it goes on for as long as it is let, and over restarts of the daemon.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from paddock.cli import views
from paddock.cli.daemon import daemon_socket, no_daemon
from paddock.cli.options import is_verbose, settings_of
from paddock.edges.daemon_client import DaemonRefused, DaemonUnreachable
from paddock.edges.daemon_events import EventStream
from paddock.errors import PaddockError, SettingsError
from paddock.settings import Settings

AGAIN_S = 0.25
MOST_AGAIN_S = 2.0

_TRY_AGAIN = frozenset({429, 503})  # many follow already, or it is stopping

Document = Mapping[str, Any]


def run(options: argparse.Namespace) -> int:
    """Print the events there are, and with -f those that come."""
    if options.output == "yaml":
        raise SettingsError("events are told as text or json; leave out -o yaml", reason="Usage")
    settings = settings_of(options)
    socket = daemon_socket(settings)
    if socket is None:
        raise PaddockError(
            f"{no_daemon(settings)}, and only a daemon has events; start paddock run"
        )
    printer = _Printer(options.since, as_json=options.output == "json", more=is_verbose(options))
    _read(socket, printer, follow=options.follow)
    if options.follow:
        _go_on(settings, printer)
    return 0


def _read(socket: Path, printer: _Printer, *, follow: bool) -> None:
    with EventStream(socket, after=printer.last_id, follow=follow) as stream:
        for event in stream:
            printer.show(event)


def _go_on(settings: Settings, printer: _Printer) -> NoReturn:
    """Read again after each end, from the last event on; an outage is told of once."""
    seen, pause_s = -1, AGAIN_S
    while True:
        if printer.last_id != seen:
            views.note("paddock: the daemon has gone; waiting for it")
            seen, pause_s = printer.last_id, AGAIN_S
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, MOST_AGAIN_S)
        socket = daemon_socket(settings)
        if socket is not None:
            _read_again(socket, printer)


def _read_again(socket: Path, printer: _Printer) -> None:
    try:
        _read(socket, printer, follow=True)
    except DaemonUnreachable:
        pass  # it answered, and has gone since: the same as not yet there
    except DaemonRefused as error:
        if error.status not in _TRY_AGAIN:
            raise


class _Printer:
    """Shows events, and knows the last one that it was given."""

    def __init__(self, last_id: int, *, as_json: bool, more: bool):
        self.last_id = last_id
        self._as_json = as_json
        self._more = more

    def show(self, event: Document) -> None:
        """One event; how far an action is, only in JSON or with -v."""
        self.last_id = int(event["id"])
        if self._as_json:
            views.line(json.dumps(event, ensure_ascii=False))
        elif self._more or event["result"] != "progress":
            views.line(line(event))


def line(event: Document) -> str:
    """One event for people: when, of which model, what, how it went, why."""
    model = event["model"] or "-"
    what = f"{event['kind']:<16}  {event['result']:<7}"
    return f"{event['at']}  {model:<20}  {what}  {event['reason']}: {event['message']}"
