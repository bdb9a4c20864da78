"""Progress: numbers and words about long work, and the board that it is told on."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from paddock.core.conditions import Condition, ModelStatus, Status
from paddock.core.events import EventLog
from paddock.core.names import Name
from paddock.core.outcome import Outcome
from paddock.core.plan import PullModel
from paddock.core.progress import Progress, amount, duration, line, size, with_progress
from paddock.engine import progress as board_module
from paddock.engine.progress import Board, Meter

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SMOL = Name.parse("smol:v1")
PULL = PullModel(name=SMOL, reason="NotPulled", message="pull smol:v1", symbol="+", reference=SMOL)


def progress(
    done: int, total: int, *, first: int = 0, after_s: float = 10, phase: str = ""
) -> Progress:
    at = NOW + timedelta(seconds=after_s)
    what = "smol:v1", "PullModel", "pull smol:v1"
    return Progress(1, *what, done, total, first, after_s, at, phase)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (progress(1_200_000_000, 2_000_000_000), "1.2 of 2.0 GB (60 %), 7 s left"),
        (progress(20_000_000, 2_000_000_000), "0.0 of 2.0 GB (1 %), 16 min left"),
        (progress(1_999_999_999, 2_000_000_000), "2.0 of 2.0 GB (99 %), 1 s left"),
        (progress(2_000_000_000, 2_000_000_000), "2.0 of 2.0 GB (100 %)"),
        (progress(50, 100, after_s=0.5), "50 of 100 B (50 %)"),
        (progress(0, 0), "begins"),
        (progress(3_000, 0), "3.0 kB done"),
        (progress(5, 9, phase="verifying 9 B"), "verifying 9 B"),
    ],
)
def test_progress_is_told_in_words(known: Progress, words: str) -> None:
    assert line(known) == f"pull smol:v1: {words}"


def test_what_was_there_before_does_not_make_a_pull_look_fast() -> None:
    resumed = progress(1_100, 2_000, first=1_000)
    assert (resumed.rate, resumed.left_s, resumed.percent) == (10, 90, 55)


def test_a_server_that_takes_bytes_back_leaves_no_time_that_is_negative() -> None:
    assert progress(900, 2_000, first=1_000).left_s is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 s"), (119, "119 s"), (120, "2 min"), (5400, "90 min"), (7200, "2 h")],
)
def test_a_time_is_told_in_one_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_are_told_in_powers_of_1000() -> None:
    assert (size(999), size(999_950), size(5e15)) == ("999 B", "1.0 MB", "5000.0 TB")
    assert amount(1_000, 2_500_000) == "0.0 of 2.5 MB"


def _condition(kind: str, status: str, message: str) -> Condition:
    return Condition(kind, status, "NotPulled", message, "g", NOW)  # type: ignore[arg-type]


def _status(reconciling: str) -> Status:
    model = ModelStatus(
        "smol:v1",
        "registry: smol:v1",
        None,
        0,
        0,
        loaded=False,
        keep_alive=None,
        expires_at=None,
        conditions=(
            _condition("Ready", "False", "pull smol:v1"),
            _condition("Reconciling", reconciling, "pull smol:v1"),
            _condition("SourceAvailable", "Unknown", "pull smol:v1"),
        ),
    )
    return Status("f", "g", (), (model, replace(model, name="other")))


def test_a_model_that_is_reconciled_says_how_far_it_is() -> None:
    told = with_progress(_status("True"), (progress(1, 4),))
    [smol, other] = told.models
    assert [c.message for c in smol.conditions] == [
        "pull smol:v1: 1 of 4 B (25 %), 30 s left",
        "pull smol:v1: 1 of 4 B (25 %), 30 s left",
        "pull smol:v1",
    ]
    assert {c.message for c in other.conditions} == {"pull smol:v1"}


def test_a_model_at_rest_does_not_say_how_far_it_is() -> None:
    assert with_progress(_status("False"), (progress(1, 4),)) == _status("False")


def test_progress_has_events_of_its_own_that_push_nothing_out() -> None:
    log = EventLog(size=2)
    for _ in range(2):
        log.add_outcome(Outcome(PULL, "done", 1.0), NOW)
    for done in range(100):
        log.set_progress(progress(done, 100))
    found = log.after(0)
    assert [(event.id, event.result) for event in found] == [
        (1, "done"),
        (2, "done"),
        (102, "progress"),
    ]
    assert found[-1].to_json()["progress"]["done_bytes"] == 99
    assert "progress" not in found[0].to_json()
    assert found[0].to_json()["elapsed_s"] == 1.0
    log.end_progress(1)
    assert [event.id for event in log.after(0)] == [1, 2]
    log.add_outcome(Outcome(PULL, "failed", 1.0), NOW)
    assert [event.id for event in log.after(2)] == [103]


async def test_those_who_listen_are_told_now_and_then_and_of_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(board_module, "TELL_S", 0.0)
    board, moved, ended = Board(), list[Progress](), list[Progress]()
    board.listen(moved.append, ended.append)
    with board.meter(PULL, "pull smol:v1") as meter:
        meter.report(1, 4)
        await asyncio.sleep(0)
        meter.turn_to("verifying 4 B")
        await asyncio.sleep(0)
        assert [p.phase for p in moved] == ["", "verifying 4 B"]
        assert [p.done_bytes for p in board.under_way] == [1]
        meter.report(4, 4)
    await asyncio.sleep(0)
    assert len(moved) == 2, "nothing is told of what has ended"
    assert [p.done_bytes for p in ended] == [4]
    assert board.under_way == ()


async def test_thousands_of_reports_are_told_at_most_four_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(i / 1000 for i in range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    board, moved = Board(), list[Progress]()
    board.listen(moved.append, lambda _: None)
    with board.meter(PULL, "pull smol:v1") as meter:
        for done in range(4_000):  # four seconds, or a little more, of this clock
            meter.report(done, 4_000)
            if done % 100 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert 14 <= len(moved) <= 17


async def test_what_is_over_at_once_is_never_told() -> None:
    board, moved = Board(), list[Progress]()
    board.listen(moved.append, lambda _: None)
    with board.meter(PULL, "pull smol:v1") as meter:
        for done in range(100):
            meter.report(done, 100)
        await asyncio.sleep(0)
    assert moved == []


def _report_all(meter: Meter) -> None:
    for done in range(1001):
        meter.report(done, 1000)


async def test_bytes_are_counted_once_from_any_thread_whatever_a_server_takes_back() -> None:
    board = Board()
    with board.meter(PULL, "a") as one, board.meter(PULL, "b") as two:
        one.report(50, 100, first_bytes=40)
        one.report(45, 100, first_bytes=40)
        one.report(60, 100, first_bytes=40)
        thread = threading.Thread(target=_report_all, args=(two,))
        thread.start()
        thread.join()
    assert board.moved_bytes == {"PullModel": 20 + 1000}


async def test_an_action_that_fails_is_not_under_way_any_more() -> None:
    board, ended = Board(), list[Progress]()
    board.listen(lambda _: None, ended.append)
    with pytest.raises(OSError, match="gone"), board.meter(PULL, "pull smol:v1"):
        raise OSError("gone")
    assert (board.under_way, len(ended)) == ((), 1)


async def test_the_board_is_bounded() -> None:
    board = Board()
    meters = [board.meter(PULL, "x") for _ in range(board_module.MAX_UNDER_WAY + 5)]
    for meter in meters:
        meter.__enter__()
    assert len(board.under_way) == board_module.MAX_UNDER_WAY
    for meter in meters:
        meter.__exit__(None, None, None)
    assert board.under_way == ()
