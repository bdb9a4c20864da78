"""A life in short: what a daemon goes through in months, done to a real one in minutes.

`Life` does one round of it: edits, broken links, chats, clients that go, followers, signals,
crashes of Ollama, lost pins, models that fail, questions. `look` says what the daemon holds
afterwards, when it is as it was before: what has grown is a leak, or a record that has a bound.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import paddock_cli
from bench.measured import rss_bytes
from paddock_cli import Daemon, UnixConnection, User
from real import OPTIONS
from stores import links
from tiny_models import chat_model

PINNED = (
    "  smol:\n    source: {gguf: ./smol.gguf}\n    preload: true\n    parameters: {num_thread: 1}\n"
)
DERIVED = "  terse:\n    source: {model: smol}\n    system: "
FOUND = "discover:\n  - {layout: directory, path: ./found}\n"
FAILING = (
    "  nowhere:\n    source: {gguf: ./nowhere.gguf}\n  broken:\n    source: {gguf: ./broken.gguf}\n"
)
SAID = [{"role": "user", "content": "ba"}]
CHAT = {"model": "smol", "messages": SAID, "options": OPTIONS, "max_tokens": 4}
LONG = CHAT | {"options": OPTIONS | {"num_predict": 400}}
HANDLES = ("descriptors", "threads", "watches", "children", "tasks")
# Whose objects are counted by type: those of Python itself come and go with them.
LASTING = ("paddock.", "aiohttp.", "asyncio.", "_asyncio.", "socket.", "ssl.", "threading.")
# What is kept on purpose, up to a bound; of timers that were cancelled asyncio keeps a hundred.
RECORDS = {
    "paddock.core.events.Event",
    "paddock.core.observed.ProbeAnswer",
    "paddock.core.observed.SmallLayer",
    "paddock.endpoint.framing.Head",
    "asyncio.events.TimerHandle",
}


@dataclass(frozen=True)
class Held:
    """What a daemon holds, after so many cycles."""

    cycles: int
    sizes: dict[str, int]
    handles: dict[str, int]
    types: dict[str, int]


@dataclass
class Life:
    """The daemon of a user with a tiny GGUF, and what is done to it."""

    user: User
    daemon: Daemon
    held: list[Held] = field(default_factory=list)
    _round: int = 0

    def round(self, cycles: int) -> None:
        """Everything once, and at least so many cycles."""
        self._round += 1
        end = self.cycles + cycles
        # The runner of Ollama 0.34.4 may never answer what follows a stream that was broken off.
        for stir in (
            self._edit, self._break, self._chat, self._follow, self._signal, self._unpin,
            self._fail, self._ask, self._find, self._leave, self._crash,
        ):  # fmt: skip
            stir()
            self.daemon.wait_ready()
        while self.cycles < end:
            self._post("/paddock/reconcile")

    @property
    def cycles(self) -> int:
        """How many cycles have ended."""
        text = self._get("/metrics")
        lines = [x for x in text.splitlines() if x.startswith("paddock_reconciles_total{")]
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)

    def _edit(self) -> None:
        system = f"Answer in {self._round} words."
        self.user.declare(f"{PINNED}{DERIVED}{system}\n{FOUND}")
        self.daemon.wait(lambda: self.user.server.system("terse") == system, "the edit is followed")

    def _break(self) -> None:
        for link in links(self.user.server.models_dir):
            link.unlink()
            self.daemon.wait(link.exists, "the link is back")

    def _chat(self) -> None:
        for path in ("/api/chat", "/v1/chat/completions"):
            assert self._post(path, CHAT)[0] == 200
        assert self._post("/api/chat", CHAT | {"model": "nobody"})[0] == 404
        assert self._post("/api/create", {"model": "mine"})[0] == 403

    def _leave(self) -> None:
        """Clients that go: in mid-stream, in mid-request, and without a word."""
        for told in (b"", b"GET /api/tags HTTP/1.1\r\nHost:", b"POST /api/chat HTTP/1.1\r\n"):
            with self._connected() as connection:
                connection.connect()
                connection.sock.sendall(told)
        with self._connected() as connection:
            connection.request("POST", "/api/chat", json.dumps(LONG))
            connection.getresponse().readline()

    def _follow(self) -> None:
        for query in ("", "?after=now", "?follow=0"):
            with self._connected() as connection:
                connection.request("GET", f"/paddock/events{query}")
                connection.getresponse().readline() if not query else None
        with self._connected() as connection:  # one that hears something
            connection.request("GET", "/paddock/events?after=now")
            answer = connection.getresponse()
            links(self.user.server.models_dir)[0].unlink()
            answer.readline()

    def _signal(self) -> None:
        before = self.cycles
        self.daemon.signal(signal.SIGHUP)
        self.daemon.wait(lambda: self.cycles > before, "a cycle")

    def _unpin(self) -> None:
        self.user.server.generate("smol", keep_alive="5m")
        self.daemon.wait(self._is_pinned, "it is pinned again")
        self.user.server.generate("smol", keep_alive=0)
        self.daemon.wait(self._is_pinned, "it is loaded again")

    def _is_pinned(self) -> bool:
        running = self.user.server.ps().get("smol:latest")
        return running is not None and str(running["expires_at"]).startswith("23")

    def _fail(self) -> None:
        """Models that cannot be made, and a file that is no file."""
        (self.user.folder / "broken.gguf").write_bytes(b"GGUF" + os.urandom(64))
        os.utime(self.user.folder / "broken.gguf", (1, 1))
        self.user.declare(f"{PINNED}{FAILING}{FOUND}")
        self.daemon.wait(lambda: len(self._not_ready()) == 2, "both fail")
        self.user.declare("  smol: {sauce: 1}\n")
        invalid = ("True", "SpecInvalid")
        self.daemon.wait(lambda: self.daemon.condition("Stalled") == invalid, "it is told")
        self.user.declare(f"{PINNED}{DERIVED}Be brief.\n{FOUND}")

    def _not_ready(self) -> list[str]:
        ready = paddock_cli.readiness(self.daemon.status())
        return [name for name, (state, _) in ready.items() if state == "False"]

    def _ask(self) -> None:
        for path in (
            "/paddock/status", "/paddock/plan", "/paddock/explain?model=smol", "/api/tags",
            "/api/ps", "/v1/models", "/healthz", "/readyz", "/metrics", "/nowhere",
        ):  # fmt: skip
            self._get(path)
        for verb in ("pause", "resume"):
            assert self._post(f"/paddock/{verb}", {"models": ["terse"]})[0] == 200

    def _find(self) -> None:
        """A file that goes from a folder of models, and comes back."""
        file, away = (self.user.folder / name for name in ("found/guest.gguf", "guest.gguf"))
        file.rename(away)
        self.daemon.wait(lambda: "guest:latest" not in self.user.server.tags(), "it is withdrawn")
        away.rename(file)
        self.daemon.wait(lambda: "guest:latest" in self.user.server.tags(), "it is back")

    def _crash(self) -> None:
        self.user.server.kill()
        self.user.server.start()
        self.daemon.wait(self._is_pinned, "it is loaded in the new server")

    def look(self) -> Held:
        """What the daemon holds now, with no client and nothing to do."""
        facts = self._told()
        types = Counter(facts["types"])
        for _ in range(2):  # what is held for a moment is not held the next time
            self._post("/paddock/reconcile")
            types &= Counter(self._told()["types"])
        process = Path("/proc", str(self.daemon.pid))
        handles = {
            "descriptors": len(list((process / "fd").iterdir())),
            "threads": facts["threads"],
            "watches": _watches(process),
            "children": len((process / f"task/{self.daemon.pid}/children").read_text().split()),
            "tasks": facts["tasks"],
        }
        sizes = {"rss": rss_bytes(self.daemon.pid), "objects": facts["objects"]}
        self.held.append(Held(self.cycles, sizes, handles, dict(types)))
        return self.held[-1]

    def _told(self) -> dict[str, Any]:
        told = self.user.folder / "soaked.json"
        told.unlink(missing_ok=True)
        self.daemon.signal(signal.SIGUSR2)
        self.daemon.wait(told.exists, "it tells what it holds")
        facts: dict[str, Any] = json.loads(told.read_text())
        return facts

    def _get(self, path: str) -> str:
        with self._connected() as connection:
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def _post(self, path: str, body: object = None) -> tuple[int, bytes]:
        with self._connected() as connection:
            connection.request("POST", path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _connected(self) -> contextlib.closing[UnixConnection]:
        return contextlib.closing(UnixConnection(self.user.socket))


def _watches(process: Path) -> int:
    """The inotify watches of a process."""
    found = 0
    for file in (process / "fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found += file.read_text().count("inotify wd:")
    return found


@contextlib.contextmanager
def living(user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    """A daemon that has made its models, and has had nothing done to it."""
    user.gguf.write_bytes(chat_model())
    os.utime(user.gguf, (1, 1))
    (user.folder / "found").mkdir()
    for seed, name in enumerate(("guest", "stays"), 2):  # a folder that empties is not believed
        file = user.folder / "found" / f"{name}.gguf"
        file.write_bytes(chat_model(seed))
        os.utime(file, (1, 1))
    user.declare(f"{PINNED}{DERIVED}Be brief.\n{FOUND}")
    program = str(Path(__file__).with_name("soaked.py"))
    monkeypatch.setattr(paddock_cli, "COMMAND", (sys.executable, program))
    with user.daemon(SOAKED=str(user.folder / "soaked.json")) as daemon:
        daemon.wait_ready()
        yield Life(user, daemon)


def growth(held: Sequence[Held], what: str) -> float:
    """What a thing grows by from one look to the next: the median of that between any two looks
    (Theil, Sen), which one that was taken at a bad time does not move."""
    amounts = [_amount(one, what) for one in held]
    pairs = itertools.combinations(enumerate(amounts), 2)
    return median((later - before) / (j - i) for (i, before), (j, later) in pairs)


def grown(held: Sequence[Held]) -> dict[str, float]:
    """The types of which at least one object more is left by each look, but for records."""
    kinds = held[-1].types.keys() - RECORDS
    more = {kind: growth(held, kind) for kind in kinds if kind.startswith(LASTING)}
    return {kind: by for kind, by in more.items() if by >= 1}


def steadily(held: Sequence[Held], what: str) -> bool:
    """Whether there is more of a thing at each look than at the one before. Of few looks the median
    alone is moved by two that were taken at a bad time."""
    return all(_amount(a, what) < _amount(b, what) for a, b in itertools.pairwise(held))


def _amount(held: Held, what: str) -> float:
    return {**held.types, **held.handles, **held.sizes}.get(what, 0)
