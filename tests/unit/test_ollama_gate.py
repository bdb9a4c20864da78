"""When an Ollama may be asked what is in memory: an old one seldom, and never during a load."""

from __future__ import annotations

import pytest

from paddock.edges.ollama import gate as room
from paddock.edges.ollama.gate import GAP_S, Gate


class _Clock:
    """The seconds that the gate sees."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """A clock that moves when it is told to."""
    found = _Clock()
    monkeypatch.setattr(room, "time", found)
    return found


@pytest.mark.parametrize("version", ["0.32.4", "0.33.0-rc2", "v1.0.0", "0.0.0", "", "dev"])
def test_a_server_that_is_not_known_to_be_old_is_always_asked(clock: _Clock, version: str) -> None:
    gate = Gate()
    gate.meet(version)
    gate.asked()
    with gate.change():
        assert gate.wait_s == 0.0
    assert gate.poll_s == 0.0


@pytest.mark.parametrize("version", ["0.24.0", "0.32.3", "v0.30.0-rc16"])
def test_an_old_one_is_asked_seldom(clock: _Clock, version: str) -> None:
    gate = Gate()
    gate.meet(version)
    waits = [gate.wait_s]
    gate.asked()
    waits.append(gate.wait_s)
    clock.now_s += GAP_S
    assert [*waits, gate.wait_s] == [0.0, None, 0.0]


def test_an_old_one_is_never_asked_while_a_load_is_under_way(clock: _Clock) -> None:
    gate = Gate()
    gate.meet("0.24.0")
    clock.now_s += 100.0
    with gate.change(), gate.change():
        assert gate.wait_s is None
    assert gate.wait_s == 0.0


def test_what_was_done_is_looked_at_once_the_gap_is_over(clock: _Clock) -> None:
    """The last answer is from before it."""
    gate = Gate()
    gate.meet("0.24.0")
    gate.asked()
    clock.now_s += 2.0
    with gate.change():
        pass
    assert gate.wait_s == pytest.approx(GAP_S - 2.0)
