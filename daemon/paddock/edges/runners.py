"""Runners: the processes that hold models in memory, whose end is noticed at once.

Ollama lists a runner that was killed until the next request for it, for nothing else asks whether
it lives (ollama:server/sched.go needsReload). A runner has the path of its GGUF's blob in its
command line (ollama:llm/llama_server.go startLlamaServer): it is found there once, and from then on
a pidfd waits for its end, which costs nothing. Reads /proc and signals nobody. Where processes
cannot be seen (hidepid, another host, not Linux) nothing is known, and whoever is listed lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Ollama takes a runner that was asked to go off its list a moment after its process has ended.
SETTLE_S = 0.05
AGAIN_S, LONGEST_S = 1.0, 60.0
_MODEL_OPTION, _SERVER = b"--model", b"ollama"
_CMDLINE_BYTES = 1 << 16


@dataclass(slots=True)
class _Runner:
    """What is known of one listed runner. `pidfd` None: not found, or ended. `line` is how Ollama
    told of it when it was last looked for; `seen` says that its process was there."""

    line: Hashable
    pid: int | None = None
    pidfd: int | None = None
    seen: bool = False
    wait_s: float = AGAIN_S
    look_at_s: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether its process was there, and is not any more."""
        return self.seen and self.pidfd is None


class Runners:
    """The runners of one Ollama, by the paths of their blobs. Nothing is watched until `watch`."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        self._known: dict[str, _Runner] = {}
        self._tell: Callable[[], None] | None = None
        self._is_near = False  # whether a runner was seen in the store's own folder

    def watch(self, tell: Callable[[], None]) -> None:
        """From now on watch the runners that are listed; `tell` is called when one has ended."""
        self._tell = tell

    async def ended(self, listed: Mapping[str, Hashable]) -> frozenset[str]:
        """Of the blobs that Ollama lists, each with what it tells of its runner, those whose
        process has ended since, and no new one holds."""
        if self._tell is None or not hasattr(os, "pidfd_open"):
            return frozenset()
        for path in self._known.keys() - listed.keys():
            self._drop(self._known.pop(path))
        due = [path for path, line in listed.items() if self._is_due(path, line)]
        if due:
            found = await asyncio.to_thread(self._open, due)
            for path in due:
                self._take(path, found.get(path))
        return frozenset(path for path in listed if self._known[path].ended)

    def expect(self, path: str) -> None:
        """A load has just succeeded: look for its process at once."""
        runner = self._known.get(path)
        if runner is not None:
            runner.look_at_s, runner.wait_s = 0.0, AGAIN_S

    def pid(self, path: str) -> int | None:
        """The process that holds a blob, where it is known and lives."""
        runner = self._known.get(path)
        return None if runner is None or runner.pidfd is None else runner.pid

    def close(self) -> None:
        """Watch nothing any more."""
        for runner in self._known.values():
            self._drop(runner)
        self._known.clear()
        self._tell = None

    def _open(self, due: Collection[str]) -> dict[str, tuple[int, int]]:
        """A container's runner counts only while none was seen by its folder: another Ollama may
        have the same file in memory."""
        found = open_runners(due, self._proc, is_ours=True)
        self._is_near = self._is_near or bool(found)
        return found if self._is_near else open_runners(due, self._proc)

    def _is_due(self, path: str, line: Hashable) -> bool:
        """Whether a runner has to be looked for: it is new, or Ollama tells something new of one
        that is not found, or a while has passed since."""
        runner = self._known.setdefault(path, _Runner(line))
        if runner.pidfd is not None:
            return False
        if runner.line != line:
            runner.line, runner.wait_s = line, AGAIN_S
            return True
        return time.monotonic() >= runner.look_at_s

    def _take(self, path: str, found: tuple[int, int] | None) -> None:
        runner = self._known[path]
        runner.look_at_s = time.monotonic() + runner.wait_s
        runner.wait_s = min(2 * runner.wait_s, LONGEST_S)
        if found is None:
            return
        self._drop(runner)
        runner.pid, runner.pidfd = found
        runner.seen, runner.wait_s, runner.look_at_s = True, AGAIN_S, 0.0
        asyncio.get_running_loop().add_reader(runner.pidfd, self._end, runner)

    def _end(self, runner: _Runner) -> None:
        self._drop(runner)
        if self._tell is not None:
            asyncio.get_running_loop().call_later(SETTLE_S, self._tell)

    def _drop(self, runner: _Runner) -> None:
        if runner.pidfd is not None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                asyncio.get_running_loop().remove_reader(runner.pidfd)
            os.close(runner.pidfd)
            runner.pid = runner.pidfd = None


def find_runners(
    blobs: Collection[str], proc: Path = PROC, *, is_ours: bool = False
) -> dict[str, int]:
    """The process that holds each of these blobs, where one is seen; with `is_ours` only where its
    folder is known to be the one given, and not just nowhere to be seen."""
    by_file = {os.path.basename(path): path for path in blobs}  # noqa: PTH119 - of text
    found: dict[str, tuple[bool, int]] = {}
    for pid, model in _models(proc):
        path = by_file.get(os.path.basename(model))  # noqa: PTH119
        same = None if path is None else _is_same(model, path)
        if path is None or same is False or (is_ours and same is None):
            continue
        if _is_ollamas(proc, pid) and (bool(same), pid) > found.get(path, (False, 0)):
            found[path] = bool(same), pid
    return {path: pid for path, (_, pid) in found.items()}


def open_runners(
    blobs: Collection[str], proc: Path = PROC, *, is_ours: bool = False
) -> dict[str, tuple[int, int]]:
    """The process that holds each of these blobs and a pidfd of it, where one is seen."""
    found: dict[str, tuple[int, int]] = {}
    for path, pid in find_runners(blobs, proc, is_ours=is_ours).items():
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            model = _model_of(proc, pid)
            if model is not None and _is_same(model, path) is not False:
                found[path] = pid, pidfd
            else:  # another one has its number by now
                os.close(pidfd)
    return found


def read_bytes(pid: int, proc: Path = PROC) -> int:
    """How much a runner has brought into memory so far: mapped, or read where that may be seen."""
    return max(_resident(pid, proc), _has_read(pid, proc))


def _resident(pid: int, proc: Path) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int((proc / str(pid) / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _has_read(pid: int, proc: Path) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((proc / str(pid) / "io").read_text().split(None, 2)[1])
    return 0


def _models(proc: Path) -> Iterator[tuple[int, str]]:
    """Every process that was given a model by option, with its path."""
    with contextlib.suppress(OSError):
        for name in os.listdir(proc):  # noqa: PTH208 - a thousand entries, and Paths are slow
            model = _model_of(proc, int(name)) if name.isdecimal() else None
            if model is not None:
                yield int(name), model


def _model_of(proc: Path, pid: int) -> str | None:
    with contextlib.suppress(OSError), open(f"{proc}/{pid}/cmdline", "rb") as file:  # noqa: PTH123
        arguments = file.read(_CMDLINE_BYTES).split(b"\0")
        if _MODEL_OPTION in arguments[:-1]:
            return os.fsdecode(arguments[arguments.index(_MODEL_OPTION) + 1])
    return None


def _is_ollamas(proc: Path, pid: int) -> bool:
    """Whether a process was started by an Ollama that lives: a runner outlives one that is killed,
    and serves nobody then."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        parent = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1]
        return _SERVER in (proc / parent / "cmdline").read_bytes().lower()
    return False


def _is_same(model: str, blob: str) -> bool | None:
    """Whether a command line means this blob: in our folder, whatever it is called there. None for
    one in a folder that is not seen from here, as in a container. Another store may hold the same
    blob."""
    theirs, ours = os.path.dirname(model), os.path.dirname(blob)  # noqa: PTH120
    if theirs == ours:
        return os.path.basename(model) == os.path.basename(blob)  # noqa: PTH119
    try:
        same = os.path.samefile(theirs, ours)  # noqa: PTH121
    except FileNotFoundError:
        return None
    except OSError:
        return False
    return same and os.path.basename(model) == os.path.basename(blob)  # noqa: PTH119
