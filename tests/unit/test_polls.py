"""When the next look is due, where nothing asks for one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from paddock.core.digest import digest_of
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import Ledger, Observed, Running
from paddock.core.outcome import Failure
from paddock.core.plan import Plan, Waiting
from paddock.engine.polls import pause_s
from worlds import desire

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
A = Name.parse("a")
SOURCE = {"source": {"gguf": "/m/a.gguf"}}
PINNED = SOURCE | {"preload": True}
POLL_S = 10.0


def _cycle(model: Mapping[str, Any] = PINNED, *expiries: datetime | None) -> Cycle:
    running = tuple(Running(A, digest_of(b"a"), expiry, 1) for expiry in expiries)
    observed = Observed(
        at=NOW, version="0.34.4", tags={}, running=running, manifests={}, blobs={}, ledger=Ledger()
    )
    return Cycle(desire({"a": model}), NOW, observed, Plan("g", "f", 1))


def _pause_s(cycle: Cycle, *, troubles: int = 0, now: datetime = NOW) -> float:
    return pause_s(cycle, now, poll_s=POLL_S, troubles=troubles, jitter=1.0)


def _in(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_memory_is_polled_where_the_file_says_something_of_it() -> None:
    assert _pause_s(_cycle(PINNED)) == POLL_S
    assert _pause_s(_cycle(SOURCE | {"keep_alive": "5m"})) == POLL_S


def test_it_is_polled_seldom_where_the_file_says_nothing_of_it() -> None:
    assert _pause_s(_cycle(SOURCE)) == 3 * POLL_S


def test_what_nobody_watches_is_polled_for_all_the_same() -> None:
    assert _pause_s(replace(_cycle(SOURCE), unwatched={"/m": "nfs"})) == POLL_S


@pytest.mark.parametrize(
    ("expiry", "pause"),
    [(_in(4), 4.2), (_in(60), POLL_S), (_in(-60), POLL_S), (None, POLL_S), (_in(-0.19), 0.05)],
)
def test_a_look_comes_just_after_an_expiry(expiry: datetime | None, pause: float) -> None:
    assert _pause_s(_cycle(PINNED, expiry)) == pytest.approx(pause)


def test_a_look_comes_at_the_edge_of_a_window() -> None:
    window = {"days": "mon-sun", "from": "08:00", "to": "19:00", "preload": True}
    cycle = _cycle(SOURCE | {"schedule": [window]})
    assert _pause_s(cycle, now=datetime(2026, 11, 23, 18, 59, 57, tzinfo=UTC)) == 3.0


def test_a_look_comes_at_the_next_attempt() -> None:
    failures: Mapping[Name | str, Failure] = {A: Failure(A, "Failed", "it failed", 1, _in(2))}
    assert _pause_s(replace(_cycle(), failures=failures)) == 2.0


def test_what_is_moving_in_memory_is_looked_at_soon() -> None:
    waiting = (Waiting(A, "MemoryInUse", "load, once b has left memory", "~"),)
    cycle = replace(_cycle(), plan=Plan("g", "f", 1, waiting=waiting))
    assert _pause_s(cycle) == 1.0


def test_a_cycle_that_could_not_go_on_is_tried_again_after_a_while() -> None:
    assert [_pause_s(_cycle(), troubles=n) for n in (1, 2, 3, 9)] == [1.0, 2.0, 4.0, POLL_S]
