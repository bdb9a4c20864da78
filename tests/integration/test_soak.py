"""A few rounds of months: nothing that a daemon holds grows. `make bench` lives through it all."""

from __future__ import annotations

import pytest

from paddock_cli import User
from soaking import HANDLES, grown, growth, living

ROUNDS, CYCLES = 3, 60


def test_nothing_that_it_holds_grows(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the records that have a bound: events, and what was found out."""
    with living(user, monkeypatch) as life:
        life.round(CYCLES)  # to be warm
        life.look()
        for _ in range(ROUNDS):
            life.round(CYCLES)
            life.look()
    for what in HANDLES:
        assert growth(life.held, what) < 0.5, [held.handles for held in life.held]
    assert grown(life.held) == {}
