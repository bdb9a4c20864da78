"""Unknown: a part of the world that could not be read, which is never taken for an empty one.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A part that could not be read, and why: `reason` in CamelCase, `message` for a person."""

    reason: str
    message: str


Known: TypeAlias = T | Unknown
