"""A real terminal (a pty) for a command that talks to a person.

Owns the process and the pty; what the command writes is collected, and waited for by what it says.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

WAIT_S = 60.0


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], *, term: str = "dumb"):
        ours, theirs = pty.openpty()
        self._fd = ours
        self._process = subprocess.Popen(
            list(command),
            env=dict(env) | {"TERM": term},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    def type(self, text: str) -> None:
        """Types, as a person would."""
        os.write(self._fd, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the command, as the terminal's driver sends it."""
        self._process.send_signal(2)

    def wait_for(self, text: str, *, times: int = 1) -> str:
        """Reads on until `text` was seen so often. Gives all that was seen."""
        until = time.monotonic() + WAIT_S
        while self.seen.count(text) < times:
            left = until - time.monotonic()
            assert left > 0, f"{text!r} not seen {times} times in:\n{self.seen}"
            self._read(left)
        return self.seen

    def _read(self, timeout_s: float) -> None:
        if select.select([self._fd], [], [], timeout_s)[0]:
            self.seen += os.read(self._fd, 65536).decode(errors="replace")

    def interrupt_until(self, text: str) -> None:
        """Ctrl-C, and again as a person would: one that comes between the prompt and the wait for a
        key is noticed at the next key only (CPython's readline)."""
        until = time.monotonic() + WAIT_S
        while text not in self.seen:
            assert time.monotonic() < until, f"{text!r} not seen in:\n{self.seen}"
            self.interrupt()
            again = time.monotonic() + 2
            while text not in self.seen and (left := again - time.monotonic()) > 0:
                self._read(left)

    def forget(self) -> None:
        """What was seen so far no longer counts."""
        self.seen = ""

    def ends(self) -> int:
        """Waits for the end and gives the exit code."""
        return self._process.wait(WAIT_S)
