"""Events: what happened, in order, for those who follow.

Pure. A bounded log: the oldest go first. What is worth an event is an action carried out, and a
condition that changed its status.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from paddock.core.conditions import Condition, Status, rfc3339
from paddock.core.outcome import Outcome

MAX_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `model` is None for the host; `kind` is the action's or the
    condition's type; `result` is done, failed, or the condition's status."""

    id: int
    at: datetime
    model: str | None
    kind: str
    result: str
    reason: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """The JSON of an event."""
        return {
            "id": self.id,
            "at": rfc3339(self.at),
            "model": self.model,
            "kind": self.kind,
            "result": self.result,
            "reason": self.reason,
            "message": self.message,
        }


class EventLog:
    """The last events; ids grow by one and are never used again while this process lives."""

    def __init__(self, size: int = MAX_EVENTS):
        self._events: deque[Event] = deque(maxlen=size)
        self.last_id = 0

    def after(self, event_id: int) -> list[Event]:
        """The events that came after one; from the oldest kept where that one is gone."""
        return [event for event in self._events if event.id > event_id]

    def add_outcome(self, outcome: Outcome, at: datetime) -> None:
        """An action was carried out, or failed."""
        told = outcome.to_json()
        if outcome.result != "skipped":
            self._add(at, told["name"], told["action"], outcome.result, told)

    def add_changes(self, before: Status, after: Status, at: datetime) -> None:
        """Conditions that changed their status."""
        for model, condition in changes(before, after):
            self._add(at, model, condition.type, condition.status, condition.to_json())

    def _add(
        self, at: datetime, model: str | None, kind: str, result: str, told: dict[str, Any]
    ) -> None:
        self.last_id += 1
        self._events.append(
            Event(self.last_id, at, model, kind, result, told["reason"], told["message"])
        )


def changes(before: Status, after: Status) -> Iterator[tuple[str | None, Condition]]:
    """The conditions whose status differs, with their model; None: the host's."""
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
