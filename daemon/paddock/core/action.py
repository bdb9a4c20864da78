"""Action: what every action of a plan has, and what its failure holds back.

Pure data; the actions themselves are in `core/plan.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from paddock.core.names import Name

# What fails or goes on by itself: a model, or a path of a publish tree.
Subject: TypeAlias = Name | str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAction:
    """`reason` is one CamelCase word for machines, `message` one line for people. `symbol` says
    what the action does to its model: `+` makes it, `~` changes it, `-` removes it."""

    name: Name
    reason: str
    message: str = field(compare=False)
    symbol: str
    linked_bytes: int = 0
    copied_bytes: int | None = 0

    rank: ClassVar[int]

    @property
    def subject(self) -> Subject:
        """What a failure of this action holds back: the model, or a path of a publish tree, whose
        trouble is not its model's."""
        return self.name
