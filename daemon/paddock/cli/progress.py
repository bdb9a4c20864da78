"""Progress on the terminal of the person who waits: bars where there is one, else a line now and
then.

Writes to the stream that it is given, stderr; the result of a command never goes there. Bars stand
below everything else and are gone at the end.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from paddock.core.progress import Progress, amount, duration, size, tell

PLAIN_S = 5.0
MAX_BARS = 8
_BAR_CELLS = 12
_NAME_CELLS = 12
_WIDTH = 80

Document = Mapping[str, Any]


class Display:
    """What is under way, on a stream; use as a context manager."""

    def __init__(
        self, stream: TextIO, term: str | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self._stream = stream
        self._clock = clock
        term = os.environ.get("TERM", "") if term is None else term
        self._has_bars = stream.isatty() and term not in {"", "dumb"}
        self._bars: dict[int, tuple[str, str, Document]] = {}
        self._said_s: dict[int, float] = {}
        self._drawn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._bars.clear()
        self._draw()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._draw(text)

    def moved(self, progress: Progress) -> None:
        """An action of this process is so far."""
        self.show(progress.name, progress.action, progress.to_json())

    def ended(self, progress: Progress) -> None:
        """An action of this process has ended."""
        self._drop(progress.number)

    def show(self, name: str, action: str, progress: Document) -> None:
        """An action on a model is so far."""
        number = progress["number"]
        if self._has_bars:
            self._bars[number] = (name, action, progress)
            self._draw()
        elif self._is_due(number):
            self._write(f"{name}: {progress['what']}: {tell(progress)}\n")

    def ended_all(self, name: str, action: str) -> None:
        """All actions of a kind on a model have ended."""
        for number, (of, kind, _) in list(self._bars.items()):
            if (of, kind) == (name, action):
                self._drop(number)

    def _drop(self, number: int) -> None:
        self._said_s.pop(number, None)
        if self._bars.pop(number, None) is not None:
            self._draw()

    def _is_due(self, number: int) -> bool:
        """Not at once: what is over soon needs no word."""
        now_s = self._clock()
        if now_s - self._said_s.setdefault(number, now_s) < PLAIN_S:
            return False
        self._said_s[number] = now_s
        return True

    def _draw(self, above: str | None = None) -> None:
        """The bars anew, below a line that stays."""
        erase = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        lines = self._lines()
        self._drawn = len(lines)
        stays = [] if above is None else [above]
        text = erase + "".join(f"{line}\n" for line in [*stays, *lines])
        if text:
            self._write(text)

    def _write(self, text: str) -> None:
        # Who reads no more shall not end the work: it goes on, untold.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()

    def _lines(self) -> list[str]:
        width = self._width() - 1  # a full line would wrap, and be two to erase
        bars = [bar(progress, width) for _, _, progress in self._bars.values()]
        more = len(bars) - MAX_BARS
        return [*bars[:MAX_BARS], f"and {more} more"] if more > 0 else bars

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or _WIDTH
        except (OSError, ValueError):
            return _WIDTH


def bar(progress: Document, width: int) -> str:
    """One line of a bar: `pull x  [###---------]  25 %  0.5 of 2.0 GB  12.0 MB/s  2 min left`;
    where it is too long, it is the name that is cut."""
    rest = "  ".join(_parts(progress))
    room = max(_NAME_CELLS, width - len(rest) - 2)
    what = str(progress["what"])
    what = what if len(what) <= room else f"{what[: room - 1]}…"
    return f"{what}  {rest}"[:width]


def _parts(progress: Document) -> Iterator[str]:
    done, total = progress["done_bytes"], progress["total_bytes"]
    share = min(1.0, done / total) if total else 0.0
    cells = round(share * _BAR_CELLS)
    yield f"[{'#' * cells}{'-' * (_BAR_CELLS - cells)}]"
    if progress["phase"] or not total:
        yield tell(progress)
        return
    yield f"{int(100 * share):3} %"
    yield amount(done, total)
    if progress["bytes_per_s"]:
        yield f"{size(progress['bytes_per_s'])}/s"
    if progress["left_s"] is not None:
        yield f"{duration(progress['left_s'])} left"
