"""What tests of memory share: who is in it, which processes hold it, and what Paddock asked for.

Clients talk to the server, Paddock through a proxy that keeps a record: so its requests are told
from theirs.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddock.edges.runners import find_runners
from paddock_cli import Daemon, User
from real import RealOllama
from recording_proxy import RecordingProxy

FOREVER = "23"  # Ollama's "for ever" lies in the year 2318 or after
LOOKS = 3
WAIT_S = 30.0


@dataclass
class Sent:
    """The requests of Paddock's that may have changed what is in memory, since the beginning."""

    proxy: RecordingProxy
    begin: int = field(init=False)

    def __post_init__(self) -> None:
        self.begin = len(self.proxy.seen)

    @property
    def paths(self) -> list[str]:
        return [seen.path for seen in self.proxy.seen[self.begin :] if seen.mutates]

    def wait_quiet(self, daemon: Daemon) -> None:
        """Waits until Paddock has looked some more times and found nothing to do."""
        begin, known = len(self.proxy.seen), len(self.paths)

        def is_quiet() -> bool:
            nonlocal begin, known
            if len(self.paths) > known:
                begin, known = len(self.proxy.seen), len(self.paths)
            looks = [seen for seen in self.proxy.seen[begin:] if seen.path == "/api/ps"]
            return len(looks) >= LOOKS and daemon.is_ready()

        daemon.wait(is_quiet, "nothing is left to do")


def is_pinned(server: RealOllama, name: str = "smol:latest") -> bool:
    """Whether a model is in memory for ever, as Ollama tells."""
    found = server.ps().get(name)
    return found is not None and str(found["expires_at"]).startswith(FOREVER)


def runners(server: RealOllama) -> list[int]:
    """The server's child processes."""
    tasks = Path(f"/proc/{server.pid}/task").iterdir()
    with contextlib.suppress(FileNotFoundError):
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return []


def kill_runner(server: RealOllama) -> None:
    """Kills the one runner there is, as the kernel does for want of memory."""
    [pid] = runners(server)
    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def through_proxy(user: User) -> Iterator[RecordingProxy]:
    """The record of what the user's Paddock asks; their clients are not in it."""
    with RecordingProxy(user.server.url) as proxy:
        user.env["OLLAMA_HOST"] = proxy.host
        yield proxy


class LongAnswer:
    """An answer that is under way: its runner is held in the middle of it until it shall go on."""

    def __init__(self, server: RealOllama, name: str, tokens: int):
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        body = {"model": name, "prompt": "ba", "options": {"num_predict": tokens}}
        self._connection.request("POST", "/api/generate", json.dumps(body))
        self._response = self._connection.getresponse()
        self._response.readline()

    def hold(self, pid: int) -> None:
        """Stops the runner that gives it."""
        self._pid = pid
        os.kill(pid, signal.SIGSTOP)

    def finish(self) -> dict[str, Any]:
        """Lets the runner go on, and gives the last line."""
        os.kill(self._pid, signal.SIGCONT)
        with contextlib.closing(self._connection):
            last: dict[str, Any] = json.loads(self._response.read().splitlines()[-1])
        return last


@contextlib.contextmanager
def stopped_at_start(path: str) -> Iterator[Callable[[], bool]]:
    """Stops the next process that holds a blob as soon as it is there, and lets it go on later."""
    found: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not found and not over.is_set():
            for pid in find_runners([path], is_ours=True).values():
                os.kill(pid, signal.SIGSTOP)
                found.append(pid)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: bool(found)
    finally:
        over.set()
        watcher.join(WAIT_S)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
