"""Looks that hang are left, and not begun again while they hang."""

from __future__ import annotations

import threading

import pytest

from paddock.engine.slow import SlowLooks


def test_a_look_that_hangs_is_left_and_holds_up_its_own_mount_alone() -> None:
    looks, goes_on, begun = SlowLooks(limit_s=0.05), threading.Event(), list[str]()

    def hang() -> str:
        begun.append("hung")
        goes_on.wait()
        return "late"

    with pytest.raises(TimeoutError, match="a look at /nas takes longer than"):
        looks.run("/nas", hang)
    for _ in range(20):
        with pytest.raises(TimeoutError, match="a look at /nas has not returned yet"):
            looks.run("/nas", hang)
    assert begun == ["hung"], "no pile of threads"
    assert looks.run("/other", lambda: "there") == "there"
    [thread] = [t for t in threading.enumerate() if t.name == "look at /nas"]
    goes_on.set()
    thread.join()
    assert looks.run("/nas", lambda: "back") == "back"


def test_what_a_look_raises_is_raised() -> None:
    with pytest.raises(PermissionError, match="closed"):
        SlowLooks().run("/nas", _closed)


def _closed() -> None:
    raise PermissionError("closed")
