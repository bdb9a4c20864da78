"""Looks that hang are left, and not begun again while they hang."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from paddock.engine import slow
from paddock.engine.slow import SlowLooks, Threads


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


def test_a_look_that_is_only_slow_is_waited_for_by_the_next() -> None:
    looks, begun, goes_on = SlowLooks(limit_s=60), threading.Event(), threading.Event()

    def look() -> str:
        begun.set()
        goes_on.wait()
        return "first"

    with ThreadPoolExecutor() as pool:
        first = pool.submit(looks.run, "/nas", look)
        begun.wait()
        second = pool.submit(looks.run, "/nas", lambda: "second")
        goes_on.set()
        assert (first.result(), second.result()) == ("first", "second")


def test_a_long_walk_goes_on_and_what_the_last_one_found_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, goes_on = SlowLooks(), threading.Event()

    def hang() -> str:
        goes_on.wait()
        return "new"

    assert looks.walk("/nas", lambda: "old") == "old"
    assert looks.walk("/nas", hang, 0.01) == "old"
    assert looks.walk("/nas", lambda: "never begun", 0.01) == "old"
    monkeypatch.setattr(slow, "KEPT_S", 0.0)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            looks.walk("/nas", hang, 0.01)
    goes_on.set()
    assert looks.walk("/nas", hang) == "new"


def test_a_walk_that_was_never_done_is_not_known() -> None:
    looks, goes_on = SlowLooks(), threading.Event()
    with pytest.raises(TimeoutError):
        looks.walk("/nas", goes_on.wait, 0.01)
    goes_on.set()


def test_calls_that_hang_neither_keep_others_waiting_nor_the_end() -> None:
    goes_on = threading.Event()

    async def work() -> str:
        asyncio.get_running_loop().set_default_executor(Threads(end_s=0.01))
        for _ in range(50):
            hung = asyncio.ensure_future(asyncio.to_thread(goes_on.wait))
            await asyncio.sleep(0)
            hung.cancel()
        with pytest.raises(PermissionError, match="closed"):
            await asyncio.to_thread(_closed)
        return await asyncio.to_thread(lambda: "done")

    assert asyncio.run(work()) == "done"
    goes_on.set()


def test_at_the_end_what_is_under_way_gets_a_moment() -> None:
    threads, goes_on = Threads(), threading.Event()
    call = threads.submit(goes_on.wait)
    threading.Timer(0.05, goes_on.set).start()
    threads.shutdown()
    assert call.done()
