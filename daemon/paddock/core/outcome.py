"""Outcome: what became of an action, and Failure: what the loop remembers of a model's trouble.

Pure data, made by `engine/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from paddock.core.plan import Action, Subject
from paddock.errors import Retry

Result = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One action, carried out or not. `message` says why where it was not."""

    action: Action
    result: Result
    elapsed_s: float
    reason: str = ""
    message: str = ""
    retry: Retry = Retry.BACKOFF

    def to_json(self) -> dict[str, Any]:
        """The JSON of an outcome."""
        return {
            "action": type(self.action).__name__,
            "name": self.action.name.display,
            "result": self.result,
            "reason": self.reason or self.action.reason,
            "message": self.message or self.action.message,
            "elapsed_s": round(self.elapsed_s, 3),
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """The last error of a model, or at a path of a publish tree. `next_at` None: not tried again
    until something changes."""

    name: Subject
    reason: str
    message: str
    attempts: int
    next_at: datetime | None
    actions: tuple[Action, ...] = ()

    @property
    def stalled(self) -> bool:
        """Whether a person must act."""
        return self.next_at is None
