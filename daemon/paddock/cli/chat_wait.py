"""What a person sees while a chat waits: a line on their terminal that counts the seconds, and what
a model thinks before it answers.

Writes to the stream that it is given, stderr, where that is a terminal; the line is gone before
anything else is written. Asks the server for what is loaded and how large it is, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from paddock.cli.views import human, plain
from paddock.core.names import Name
from paddock.edges.daemon_client import Address, read_json
from paddock.errors import PaddockError

QUIET_S = 0.5
TICK_S = 1.0
ASK_S = 0.5
_ERASE = "\r\x1b[K"
_WIDTH = 80


def is_live(stream: TextIO) -> bool:
    """Whether a line on it can be written over."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}


@contextlib.contextmanager
def ticking(
    stream: TextIO, describe: Callable[[], str], *, since_s: float, quiet_s: float = QUIET_S
) -> Iterator[Callable[[], None]]:
    """Show what is waited for and for how long, since `since_s` of the monotonic clock; yields what
    ends it before the end."""
    if not is_live(stream):
        yield lambda: None
        return
    done = threading.Event()

    def tick() -> None:
        if done.wait(quiet_s):
            return
        what = plain(describe())
        while not done.is_set():
            _write(stream, f"{_ERASE}{_fitting(stream, what, time.monotonic() - since_s)}")
            done.wait(TICK_S)
        _write(stream, _ERASE)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()

    def end() -> None:
        if not done.is_set():
            done.set()
            thread.join()

    try:
        yield end
    finally:
        end()


class Thoughts:
    """What a model thinks, shown on a terminal beside its answer, and nowhere else."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._is_open = False

    def show(self, text: str) -> None:
        """Shows some more."""
        if text and is_live(self._stream):
            _write(self._stream, plain(text) if self._is_open else f"(thinking) {plain(text)}")
            self._is_open = True

    def end(self) -> None:
        """The answer begins, or there is none: it stands below."""
        if self._is_open:
            _write(self._stream, "\n\n")
            self._is_open = False


def _fitting(stream: TextIO, what: str, elapsed_s: float) -> str:
    """One line, no wider than the terminal: a second one would not be erased."""
    try:
        width = os.get_terminal_size(stream.fileno()).columns or _WIDTH
    except (OSError, ValueError):
        width = _WIDTH
    seconds = f": {elapsed_s:.0f} s"
    room = max(width - len(seconds) - 1, 1)
    return (what if len(what) <= room else f"{what[: room - 1]}…") + seconds


def _write(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def is_loaded(address: Address, model: str) -> bool:
    """Whether a model is in memory; nobody can tell: not."""
    return _find(address, "/api/ps", model) is not None


def loading(address: Address, model: str) -> str:
    """What is waited for while a model is loaded: its name, and its size where that is known."""
    found = _find(address, "/api/tags", model)
    size = 0 if found is None else found.get("size")
    about = f" ({human(size)})" if isinstance(size, int) and size else ""
    return f"loading {model}{about}"


def _find(address: Address, route: str, model: str) -> dict[str, Any] | None:
    with contextlib.suppress(PaddockError):
        name = Name.parse_api(model).folded
        for found in read_json(address, route, timeout_s=ASK_S).get("models") or []:
            if Name.parse_api(found["name"]).folded == name:
                return dict(found)
    return None
