"""Progress: how far an action is that takes long, as numbers and as words.

Pure. One `Progress` is what is known at one time; the time comes in with it. The rate is the mean
since the start, without the bytes that were there before it: a pull that goes on where another
ended begins in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from paddock.core.conditions import Condition, ModelStatus, Status

# Before that much is known, a rate says nothing.
_SOON_S = 1.0
_UNITS = ("B", "kB", "MB", "GB", "TB")
# A unit is used from two of it on: `90 min`, but `2 h`.
_TIMES = ((3600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True)
class Progress:
    """An action has done so many bytes of so many at `at`, `elapsed_s` after it began, however the
    wall clock was set since; `total_bytes` 0: not known yet.

    `number` tells one from another, `first_bytes` were done before it began, `phase` is what it
    does beside moving bytes (`verifying`), if anything.
    """

    number: int
    name: str
    action: str
    what: str
    done_bytes: int
    total_bytes: int
    first_bytes: int
    elapsed_s: float
    at: datetime
    phase: str = ""

    @property
    def rate(self) -> float:
        """Bytes a second since the start; 0 while too little is known."""
        if self.elapsed_s < _SOON_S:
            return 0.0
        return max(0, self.done_bytes - self.first_bytes) / self.elapsed_s

    @property
    def left_s(self) -> float | None:
        """Seconds that are left at this rate; None where nobody can tell."""
        rate = self.rate
        if not rate or self.total_bytes <= self.done_bytes:
            return None
        return (self.total_bytes - self.done_bytes) / rate

    @property
    def percent(self) -> int | None:
        """The whole per cent that are done: 100 only when all is."""
        if self.total_bytes <= 0:
            return None
        return min(100, 100 * self.done_bytes // self.total_bytes)

    def to_json(self) -> dict[str, Any]:
        """The JSON of it, in an event."""
        left_s = self.left_s
        return {
            "number": self.number,
            "what": self.what,
            "phase": self.phase,
            "done_bytes": self.done_bytes,
            "total_bytes": self.total_bytes,
            "bytes_per_s": round(self.rate),
            "left_s": None if left_s is None else round(left_s),
        }


def tell(progress: Mapping[str, Any]) -> str:
    """What is done and what is left, in words, of a progress's JSON: `1.2 of 2.0 GB (61 %), 3 min
    left`."""
    done, total = progress["done_bytes"], progress["total_bytes"]
    if progress["phase"]:
        return str(progress["phase"])
    if not total:
        return f"{size(done)} done" if done else "begins"
    told = f"{amount(done, total)} ({min(100, 100 * done // total)} %)"
    left_s = progress["left_s"]
    return told if left_s is None else f"{told}, {duration(left_s)} left"


def line(progress: Progress) -> str:
    """One line about an action: `pull llama3.2:3b: 1.2 of 2.0 GB (61 %), 3 min left`."""
    return f"{progress.what}: {tell(progress.to_json())}"


def with_progress(status: Status, under_way: tuple[Progress, ...]) -> Status:
    """The status with what is under way in the messages of the models that it is for."""
    if not under_way:
        return status
    first = {progress.name: progress for progress in reversed(under_way)}
    models = tuple(
        model if model.name not in first else _told(model, line(first[model.name]))
        for model in status.models
    )
    return replace(status, models=models)


def _told(model: ModelStatus, text: str) -> ModelStatus:
    """Ready repeats what Reconciling says, where that is why a model is not ready."""
    now = next((c for c in model.conditions if c.type == "Reconciling"), None)
    if now is None or now.status != "True":
        return model
    conditions = tuple(
        replace(found, message=text) if _repeats(found, now) else found
        for found in model.conditions
    )
    return replace(model, conditions=conditions)


def _repeats(found: Condition, reconciling: Condition) -> bool:
    if found is reconciling:
        return True
    same = (found.reason, found.message) == (reconciling.reason, reconciling.message)
    return found.type == "Ready" and found.status != "True" and same


def amount(done_bytes: int, total_bytes: int) -> str:
    """So much of so much, in the unit of the whole: `1.2 of 2.0 GB`."""
    scale = _scale(total_bytes)
    return f"{_scaled(done_bytes, scale)} of {_scaled(total_bytes, scale)} {_UNITS[scale]}"


def size(size_bytes: float) -> str:
    """A size as people read it, in powers of 1000."""
    scale = _scale(size_bytes)
    return f"{_scaled(size_bytes, scale)} {_UNITS[scale]}"


def duration(seconds: float) -> str:
    """A time as people read it, in one unit: `12 s`, `3 min`, `2 h`."""
    for length_s, unit in _TIMES:
        if seconds >= 2 * length_s:
            return f"{round(seconds / length_s)} {unit}"
    return f"{max(1, round(seconds))} s"


def _scale(size_bytes: float) -> int:
    scale = 0
    while size_bytes >= 999.95 and scale < len(_UNITS) - 1:
        size_bytes, scale = size_bytes / 1000, scale + 1
    return scale


def _scaled(size_bytes: float, scale: int) -> str:
    return f"{size_bytes / 1000**scale:.1f}" if scale else f"{round(size_bytes)}"
