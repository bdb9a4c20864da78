"""Pause and resume: what a person says in the ledger about a model, under any spelling of its name.

Writes the ledger's list of paused models and nothing else; what follows from it is the planner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paddock.core.desired import Desired
from paddock.core.suspend import find, report, stored
from paddock.edges.state import State


def pause(state: State, desired: Desired, texts: Sequence[str]) -> dict[str, Any]:
    """Leave models alone until they are resumed; all or, where a name is unknown, none. Raises
    InvalidName and PaddockError."""
    before = state.ledger()
    names = find(texts, desired, before)
    for name in names:
        if not stored(name, before):
            state.pause(name)
    return report(names, desired, before, state.ledger())


def resume(state: State, desired: Desired, texts: Sequence[str]) -> dict[str, Any]:
    """Care for models again, where the file does not suspend them. Raises as `pause` does."""
    before = state.ledger()
    names = find(texts, desired, before)
    for name in names:
        for paused in stored(name, before):
            state.resume(paused)
    return report(names, desired, before, state.ledger())
