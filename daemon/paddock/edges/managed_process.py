"""One `ollama serve` of ours: started, its log passed on, and stopped.

Owns the process, by way of a guardian (`managed_child.py`) that outlives us for as long as it takes
to end it. The log is read to the end whatever becomes of it: a pipe that nobody reads would hold up
the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from paddock.core.managed_log import LONGEST_BYTES, LogLine, parse_line, too_long
from paddock.errors import OllamaError

log = structlog.get_logger()

STOP_S = 10.0
REAP_S = 5.0
LAST_WORDS_S = 1.0
_READ_BYTES = 65536
# The program that runs us, whatever has become of its path or of who may walk there.
_SELF = "/proc/self/exe" if Path("/proc/self/exe").exists() else sys.executable
_GUARDIAN = Path(__file__).with_name("managed_child.py")


@dataclass(slots=True)
class ServerProcess:
    """A server that was started. `last`: the last word of its log that tells of an error, else the
    last one at all."""

    pid: int
    guardian: asyncio.subprocess.Process
    last: str = ""
    _is_error: bool = False
    _reading: asyncio.Task[None] | None = field(default=None, repr=False)

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str]) -> ServerProcess:
        """Start a command. Raises OllamaError where it cannot be run at all."""
        guardian = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_GUARDIAN), str(STOP_S), *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            executable=_SELF,
            env=env,
            start_new_session=True,  # Ctrl-C is for us: streams under way may end first
        )
        assert guardian.stdout is not None
        word, _, value = (await guardian.stdout.readline()).decode().strip().partition(" ")
        if word != "pid":
            await guardian.wait()
            raise OllamaError(f"{command[0]} cannot be started", reason="OllamaNotStarted")
        server = cls(int(value), guardian)
        server._reading = asyncio.create_task(server._read_log())
        return server

    async def ended(self) -> int:
        """Wait for its end; gives its exit code, negative: the signal that killed it."""
        assert self.guardian.stdout is not None
        code = -int(signal.SIGKILL)
        async for line in self.guardian.stdout:
            word, _, value = line.decode(errors="replace").strip().partition(" ")
            if word == "ended":
                code = int(value)
            elif word == "error":
                self.last, self._is_error = f"it cannot be run: {value}", True
        if await self.guardian.wait() != 0:
            self._end_group()  # the guardian was killed, and could not
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=LAST_WORDS_S)
        return code

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL after ten seconds; returns when none of it is left."""
        assert self.guardian.stdin is not None
        self.guardian.stdin.close()
        try:
            async with asyncio.timeout(STOP_S + REAP_S):
                await self.ended()
        except TimeoutError:
            log.error("ollama does not die", pid=self.pid)
            self._end_group()
            with contextlib.suppress(ProcessLookupError):
                self.guardian.kill()
            await self.guardian.wait()
        if self._reading is not None:
            self._reading.cancel()

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _read_log(self) -> None:
        assert self.guardian.stderr is not None
        rest, before, is_cut = b"", None, False
        while data := await self.guardian.stderr.read(_READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                told = too_long() if is_cut else parse_line(line.decode(errors="replace"), before)
                before, is_cut = self._pass_on(told) or before, False
            if len(rest) > LONGEST_BYTES:
                rest, is_cut = b"", True
        self._pass_on(parse_line(rest.decode(errors="replace"), before))

    def _pass_on(self, told: LogLine | None) -> LogLine | None:
        if told is None:
            return None
        given = {"fields": told.fields, "source": told.source}
        level = getattr(log, told.level)
        level(told.event, **{key: value for key, value in given.items() if value}, of="ollama")
        if told.level == "error" or not self._is_error:
            self.last, self._is_error = told.event, told.level == "error"
        return told


def exit_words(code: int, last: str) -> str:
    """How a server ended, with its last word where it ended by itself."""
    if code < 0:
        names = {found.value: found.name for found in signal.Signals}
        return f"was killed by {names.get(-code, f'signal {-code}')}"
    return f"exited with {code}: {last}" if last else f"exited with {code}"
