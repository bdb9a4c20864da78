"""A few rounds of months: nothing that a daemon holds grows. `make bench` lives through it all."""

from __future__ import annotations

import pytest

from paddock_cli import User
from soaking import HANDLES, grown, living, steadily

ROUNDS, CYCLES = 3, 60


def test_nothing_that_it_holds_grows(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the records that have a bound: events, and what was found out."""
    with living(user, monkeypatch) as life:
        life.round(CYCLES)  # to be warm
        life.look()
        for _ in range(ROUNDS):
            life.round(CYCLES)
            life.look()
    growing = [what for what in (*HANDLES, *grown(life.held)) if steadily(life.held, what)]
    assert growing == [], life.held
