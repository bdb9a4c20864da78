"""Events: what happened, in order, for those who follow.

Pure. A bounded log: the oldest go first. What is worth an event is an action carried out, and a
condition that changed its status. Of an action under way only the last word is kept, beside the
log: it has an id of its own, and pushes nothing out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from paddock.core.conditions import Condition, Status, rfc3339
from paddock.core.outcome import Outcome
from paddock.core.progress import Progress, line

MAX_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `model` is None for the host; `kind` is the action's or the
    condition's type; `result` is done, failed, progress, or the condition's status. `elapsed_s` is
    told of an action that has ended, `progress` of one that is under way."""

    id: int
    at: datetime
    model: str | None
    kind: str
    result: str
    reason: str
    message: str
    elapsed_s: float | None = None
    progress: Progress | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON of an event."""
        told: dict[str, Any] = {
            "id": self.id,
            "at": rfc3339(self.at),
            "model": self.model,
            "kind": self.kind,
            "result": self.result,
            "reason": self.reason,
            "message": self.message,
        }
        if self.elapsed_s is not None:
            told["elapsed_s"] = self.elapsed_s
        if self.progress is not None:
            told["progress"] = self.progress.to_json()
        return told


class EventLog:
    """The last events; ids grow by one, from the one after `last_id`, and are never used again
    while this process lives."""

    def __init__(self, size: int = MAX_EVENTS, *, last_id: int = 0):
        self._events: deque[Event] = deque(maxlen=size)
        self._under_way: dict[int, Event] = {}
        self.last_id = last_id

    def after(self, event_id: int) -> list[Event]:
        """The events that came after one; from the oldest kept where that one is gone."""
        found = [event for event in self._events if event.id > event_id]
        under_way = [event for event in self._under_way.values() if event.id > event_id]
        return sorted([*found, *under_way], key=lambda event: event.id) if under_way else found

    def add_outcome(self, outcome: Outcome, at: datetime) -> None:
        """An action was carried out, or failed."""
        told = outcome.to_json()
        if outcome.result != "skipped":
            self._add(at, told["name"], told["action"], outcome.result, told)

    def set_progress(self, progress: Progress) -> None:
        """An action under way is this far: it takes the place of what was said of it before."""
        self.last_id += 1
        self._under_way[progress.number] = Event(
            self.last_id,
            progress.at,
            progress.name,
            progress.action,
            "progress",
            "Progressing",
            line(progress),
            progress=progress,
        )

    def end_progress(self, number: int) -> None:
        """An action is not under way any more."""
        self._under_way.pop(number, None)

    def add_changes(self, before: Status, after: Status, at: datetime) -> None:
        """Conditions that changed their status."""
        for model, condition in changes(before, after):
            self._add(at, model, condition.type, condition.status, condition.to_json())

    def _add(
        self, at: datetime, model: str | None, kind: str, result: str, told: dict[str, Any]
    ) -> None:
        self.last_id += 1
        elapsed_s = told.get("elapsed_s")
        self._events.append(
            Event(self.last_id, at, model, kind, result, told["reason"], told["message"], elapsed_s)
        )


def changes(before: Status, after: Status) -> Iterator[tuple[str | None, Condition]]:
    """The conditions whose status differs, with their model; None: the host's."""
    if after is before:
        return
    old = {model.name: _by_type(model.conditions) for model in before.models}
    for condition in after.conditions:
        if _by_type(before.conditions).get(condition.type) != condition.status:
            yield None, condition
    for model in after.models:
        known = old.get(model.name, {})
        for condition in model.conditions:
            if known.get(condition.type) != condition.status:
                yield model.name, condition


def _by_type(conditions: tuple[Condition, ...]) -> dict[str, str]:
    return {condition.type: condition.status for condition in conditions}
