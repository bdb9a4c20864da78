"""The days that the residency is tried on: what the file says, and what else is in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from paddock.core.desired import Residency
from paddock.core.keep_alive import FOREVER
from resident_days import Day, Declared
from scheduling import Model

GIB = 1 << 30


def _model(name: str, gib: float) -> Model:
    return Model(name, name, 4096, int(gib * GIB))


def _pin(name: str, gib: float, priority: int) -> Declared:
    return Declared(
        _model(name, gib), Residency(True, FOREVER.below(3 - priority), priority=priority)
    )


_FREE = Declared(_model("u", 3), Residency())
_STRANGERS = (_model("x", 3), _model("y", 5))
_PINS = (_pin("a", 4, 3), _pin("b", 4, 2), _pin("c", 2, 1))
_LARGE = (_pin("a", 4, 3), _pin("b", 4, 2), _pin("c", 4, 1))


def roomy(seed: int) -> Day:
    """Everything fits at once, whatever its num_ctx."""
    return Day(seed, [*_PINS, _FREE], _STRANGERS, capacity=40 * GIB)


def limited(seed: int) -> Day:
    """There is room for all, and the file leaves models less: the last pin has no place."""
    return Day(seed, _LARGE, (), capacity=40 * GIB, limit=10 * GIB)


def quiet(seed: int) -> Day:
    """Three pins in the room of two, and nobody else."""
    day = Day(seed, _LARGE, (), capacity=10 * GIB)
    return replace(day, chat_s=1e9, stop_s=1e9, crash_s=1e9, restart_s=1e9)


def tight(seed: int) -> Day:
    """Three pins in the room of two, and clients of all three."""
    return Day(seed, _LARGE, (), capacity=10 * GIB)


def crowded(seed: int) -> Day:
    """The pins fit, and what clients want besides does not fit beside them."""
    return Day(seed, [*_PINS, _FREE], _STRANGERS, capacity=16 * GIB)


SCENES: Mapping[str, Callable[[int], Day]] = {
    scene.__name__: scene for scene in (roomy, limited, quiet, tight, crowded)
}
