"""Status: what Paddock says of each model and of the host, after Kubernetes' conventions.

Pure. Conditions are computed from what was wanted, seen, planned and done; the status before this
one only dates the transitions. `Ready` is computed from the others, never set by hand. The same
object is what `paddock status` prints and `/paddock/status` serves.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from paddock.core.digest import Digest

FORMAT_VERSION = 1

Truth = Literal["True", "False", "Unknown"]

# What a condition says: status, reason, message.
Fact: TypeAlias = tuple[Truth, str, str]


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact about a model or the host: `reason` in CamelCase, `message` one line for people."""

    type: str
    status: Truth
    reason: str
    message: str
    observed_generation: str
    last_transition_time: datetime

    def to_json(self) -> dict[str, str]:
        """The condition as metav1.Condition writes it."""
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": rfc3339(self.last_transition_time),
        }


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What is known of one declared model. `copied_bytes` is what the store holds of it as files of
    its own; `keep_alive` is as the file says it now, `window_until` when the window closes that is
    open."""

    name: str
    source: str
    digest: Digest | None
    size_bytes: int
    copied_bytes: int
    loaded: bool
    keep_alive: str | None
    expires_at: datetime | None
    conditions: tuple[Condition, ...]
    window_until: datetime | None = None

    @property
    def suspended(self) -> bool:
        """Whether it is left alone."""
        return any(found.type == "Suspended" for found in self.conditions)

    def to_json(self) -> dict[str, Any]:
        """The JSON of one model."""
        return {
            "name": self.name,
            "source": self.source,
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "copied_bytes": self.copied_bytes,
            "loaded": self.loaded,
            "keep_alive": self.keep_alive,
            "expires_at": None if self.expires_at is None else rfc3339(self.expires_at),
            "window_until": None if self.window_until is None else rfc3339(self.window_until),
            "conditions": [condition.to_json() for condition in self.conditions],
        }


@dataclass(frozen=True, slots=True)
class Status:
    """The host and its declared models."""

    file: str
    generation: str
    conditions: tuple[Condition, ...]
    models: tuple[ModelStatus, ...]

    @property
    def ready(self) -> bool:
        """Whether everything is as the file says."""
        return condition(self.conditions, "Ready").status == "True"

    def model(self, name: str) -> ModelStatus | None:
        """The status of a model by its name as people write it."""
        return next((m for m in self.models if m.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """The JSON of `paddock status -o json`."""
        return {
            "format_version": FORMAT_VERSION,
            "file": self.file,
            "generation": self.generation,
            "conditions": [condition.to_json() for condition in self.conditions],
            "models": [model.to_json() for model in self.models],
        }


def conditions_of(
    facts: Mapping[str, Fact], generation: str, at: datetime
) -> tuple[Condition, ...]:
    """Facts by type as conditions; what others worded (Ollama, the system) is put on one line."""
    return tuple(_condition(kind, fact, generation, at) for kind, fact in facts.items())


@functools.lru_cache(maxsize=128)  # of a thousand models mostly the same is told: one object
def _condition(kind: str, fact: Fact, generation: str, at: datetime) -> Condition:
    status, reason, message = fact
    return Condition(kind, status, reason, " ".join(message.split()), generation, at)


def condition(conditions: tuple[Condition, ...], kind: str) -> Condition:
    """The condition of a type. Raises KeyError where there is none."""
    for found in conditions:
        if found.type == kind:
            return found
    raise KeyError(kind)


def date_transitions(new: Status, old: Status | None) -> Status:
    """The new status, each condition dated by when it last changed its status."""
    if old is None:
        return new
    before = {model.name: model.conditions for model in old.models}
    models = tuple(
        replace(model, conditions=_dated(model.conditions, before.get(model.name, ())))
        for model in new.models
    )
    return replace(new, models=models, conditions=_dated(new.conditions, old.conditions))


def _dated(new: tuple[Condition, ...], old: tuple[Condition, ...]) -> tuple[Condition, ...]:
    before: Mapping[str, Condition] = {found.type: found for found in old}
    return tuple(_date(found, before.get(found.type)) for found in new)


def _date(new: Condition, old: Condition | None) -> Condition:
    if old is None or old.status != new.status:
        return new
    at = min(new.last_transition_time, old.last_transition_time)  # clocks can be set back
    fact = new.status, new.reason, new.message
    return _condition(new.type, fact, new.observed_generation, at)


def rfc3339(at: datetime) -> str:
    """A time as JSON has it: `2026-01-31T12:00:00Z`."""
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
