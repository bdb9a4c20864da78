"""A cycle asked of the daemon, and followed while it runs.

The daemon's events are shown as they come, from a thread; what they did not tell is shown from the
answer. Where they cannot be followed, the answer alone is shown.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paddock.cli import views
from paddock.cli.progress import Display
from paddock.edges.daemon_client import DaemonUnreachable, post_json
from paddock.edges.daemon_events import EventStream
from paddock.errors import PaddockError

Document = Mapping[str, Any]


def ask_and_follow(socket: Path, timeout_s: float | None, *, prune: bool = False) -> Document:
    """Ask for a cycle, show what is done, and give the answer: outcomes and status. Raises
    PaddockError, also when it takes longer than that."""
    with Display(sys.stderr) as display:
        shown = _Shown(display)
        try:
            with _following(socket, shown):
                route = "/paddock/reconcile?prune=1" if prune else "/paddock/reconcile"
                result = post_json(socket, route, timeout_s=timeout_s)
        except DaemonUnreachable as error:
            if not isinstance(error.__cause__, TimeoutError):
                raise
            what = f"not done within {timeout_s:g} s; the daemon goes on with it"
            raise PaddockError(f"{what}: see paddock status", reason="Timeout") from error
        except KeyboardInterrupt:
            display.note("interrupted; the daemon goes on with it: see paddock status")
            raise
        for outcome in result["outcomes"]:
            shown.outcome(outcome)
    return result


class _Shown:
    """What was shown already, so that the answer does not repeat it."""

    def __init__(self, display: Display):
        self._display = display
        self._told: Counter[tuple[str, ...]] = Counter()

    def event(self, event: Document) -> None:
        """An event, where it is of an action."""
        if event["model"] is None:
            return
        if event["result"] == "progress":
            self._display.show(event["model"], event["kind"], event["progress"])
        elif event["result"] in {"done", "failed"}:
            outcome = {**event, "name": event["model"], "action": event["kind"]}
            self._display.ended_all(event["model"], event["kind"])
            self._display.note(views.outcome_line(outcome))
            self._told[_key(outcome)] += 1

    def outcome(self, outcome: Document) -> None:
        """An outcome of the answer, where no event told of it."""
        if self._told[_key(outcome)] > 0:
            self._told[_key(outcome)] -= 1
        else:
            self._display.note(views.outcome_line(outcome))


def _key(outcome: Document) -> tuple[str, ...]:
    return tuple(str(outcome[part]) for part in ("name", "action", "result", "message"))


@contextlib.contextmanager
def _following(socket: Path, shown: _Shown) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(EventStream(socket))
        except PaddockError:  # too many follow already: the answer tells the same, later
            yield
            return
        reader = threading.Thread(target=_read, args=(stream, shown), daemon=True)
        reader.start()
        try:
            yield
        finally:
            stream.stop()
            reader.join()


def _read(stream: EventStream, shown: _Shown) -> None:
    for event in stream:
        shown.event(event)
