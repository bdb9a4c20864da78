"""Progress on the terminal: bars that leave no trace, plain lines elsewhere."""

from __future__ import annotations

import io
from typing import Any

import pytest

from paddock.cli.progress import MAX_BARS, PLAIN_S, Display, bar


class Screen(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def document(number: int = 1, done: int = 50_000_000, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "what": f"pull smol:v{number}",
        "phase": "",
        "done_bytes": done,
        "total_bytes": 100_000_000,
        "bytes_per_s": 10_000_000,
        "left_s": 5,
        **more,
    }


def screen_of(text: str) -> list[str]:
    """What a terminal shows after that: lines, and the two codes that bars use."""
    lines: list[str] = []
    for part in text.split("\x1b["):
        up, _, rest = part.partition("A")
        if up.isdigit():
            del lines[len(lines) - int(up) :]
        lines += (rest if up.isdigit() else part.removeprefix("J")).splitlines()
    return lines


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (
            document(),
            "pull smol:v1  [######------]   50 %  50.0 of 100.0 MB  10.0 MB/s  5 s left",
        ),
        (document(phase="verifying 1 GB"), "pull smol:v1  [######------]  verifying 1 GB"),
        (
            document(done=0, total_bytes=0, bytes_per_s=0, left_s=None),
            "pull smol:v1  [------------]  begins",
        ),
        (
            document(what="pull registry.example.com/team/model:latest"),
            "pull registry.ex…  [######------]   50 %  50.0 of 100.0 MB  10.0 MB/s  5 s left",
        ),
    ],
)
def test_a_bar_fits_into_its_line(progress: dict[str, Any], line: str) -> None:
    assert bar(progress, 79) == line
    assert len(line) <= 79


def test_bars_stand_below_the_lines_that_stay_and_are_gone_at_the_end() -> None:
    screen = Screen()
    with Display(screen, term="xterm") as display:
        display.show("smol:v1", "PullModel", document())
        display.show("smol:v2", "PullModel", document(2))
        display.show("smol:v1", "PullModel", document(done=60_000_000))
        display.note("other: done")
        shown = screen_of(screen.getvalue())
        assert shown[0] == "other: done"
        assert [line[:12] for line in shown[1:]] == ["pull smol:v1", "pull smol:v2"]
        display.ended_all("smol:v1", "PullModel")
        assert [line[:12] for line in screen_of(screen.getvalue())[1:]] == ["pull smol:v2"]
    assert screen_of(screen.getvalue()) == ["other: done"]


def test_many_bars_are_cut_short() -> None:
    screen = Screen()
    with Display(screen, term="xterm") as display:
        for number in range(MAX_BARS + 3):
            display.show(f"smol:v{number}", "PullModel", document(number))
        assert len(screen_of(screen.getvalue())) == MAX_BARS + 1
        assert screen_of(screen.getvalue())[-1] == "and 3 more"


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO(), "xterm"), (Screen(), "dumb")])
def test_without_a_terminal_there_is_a_plain_line_now_and_then(
    stream: io.StringIO, term: str
) -> None:
    clock = Clock()
    with Display(stream, term=term, clock=clock) as display:
        for now_s in range(11):
            clock.now_s = float(now_s) * PLAIN_S / 5
            display.show("smol", "PullModel", document(done=now_s * 10_000_000))
        display.note("smol: done")
    assert stream.getvalue().splitlines() == [
        "smol: pull smol:v1: 50.0 of 100.0 MB (50 %), 5 s left",
        "smol: pull smol:v1: 100.0 of 100.0 MB (100 %), 5 s left",
        "smol: done",
    ]


def test_what_is_over_soon_gets_no_plain_line() -> None:
    stream = io.StringIO()
    with Display(stream, term="xterm") as display:
        display.show("smol", "PullModel", document())
    assert stream.getvalue() == ""


class Gone(Screen):
    """A terminal that has gone."""

    def write(self, _text: str, /) -> int:
        raise BrokenPipeError


def test_a_reader_that_has_gone_does_not_end_the_work() -> None:
    with Display(Gone(), term="xterm") as display:
        display.show("smol:v1", "PullModel", document())
        display.note("other: done")
