"""The `paddock` command as its users run it, and its daemon.

Owns the processes that it starts. A command is the installed package in a process of its own, told
of files and servers by its environment alone; nothing of it is imported here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from real import RealOllama

COMMAND = (sys.executable, "-m", "paddock")
WAIT_S = 20.0
HEAD = "version: 1\nmodels:\n"
SMOL = "  smol:\n    source: {gguf: ./smol.gguf}\n"


class Result(NamedTuple):
    """What a command left: its exit code, and all that it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on stdout."""
        return json.loads(self.out)


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without any setting of Ollama or Paddock, and with `more`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OLLAMA_", "PADDOCK_"))}
    clean.pop("XDG_RUNTIME_DIR", None)
    return clean | more


def run(
    arguments: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    cwd: Path | None = None,
    timeout_s: float = 60.0,
    prefix: Sequence[str | Path] = (),
) -> Result:
    """Runs `paddock ARGUMENTS` to its end; `prefix` may run it as another user."""
    done = subprocess.run(
        [*prefix, *COMMAND, *arguments],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@dataclass
class User:
    """A person with a folder, in it models.yaml and a GGUF of their own, and a server."""

    folder: Path
    server: RealOllama
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.server.gguf, self.gguf)
        self.gguf.chmod(0o644)

    @property
    def file(self) -> Path:
        return self.folder / "models.yaml"

    @property
    def gguf(self) -> Path:
        return self.folder / "smol.gguf"

    @property
    def socket(self) -> Path:
        return self.folder / "paddock.sock"

    @property
    def environment(self) -> dict[str, str]:
        """The settings that this user has exported."""
        usual = clean_environment(
            OLLAMA_HOST=self.server.host,
            OLLAMA_MODELS=str(self.server.models_dir),
            PADDOCK_FILE=str(self.file),
            PADDOCK_SOCKET=str(self.socket),
        )
        return usual | self.env

    def declare(self, models: str, *, head: str = HEAD) -> None:
        """Writes models.yaml as editors do: a new file, renamed over the old one."""
        new = self.folder / ".models.yaml.new"
        new.write_text(head + models)
        new.replace(self.file)

    def paddock(self, *arguments: str | Path, **env: str) -> Result:
        """Runs one command."""
        return run(arguments, self.environment | env, cwd=self.folder)

    def apply(self, *arguments: str, code: int = 0) -> Result:
        """Runs `paddock apply`, which must end with this exit code."""
        result = self.paddock("apply", *arguments)
        assert result.code == code, result
        return result

    def statuses(self) -> dict[str, tuple[str, str]]:
        """Each model's Ready condition as `paddock status` tells it: its status and reason."""
        return readiness(self.paddock("status", "-o", "json").json)

    def daemon(self, **env: str) -> Daemon:
        """A daemon that looks twice a second; use as a context manager."""
        return Daemon(self, {"PADDOCK_POLL": "0.5", "PADDOCK_LOG_FORMAT": "json", **env})


def readiness(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The status and reason of each model's Ready condition."""
    return {m["name"]: _named(m, "Ready") for m in document["models"]}


def _named(document: Mapping[str, Any], kind: str) -> tuple[str, str]:
    found = next(c for c in document["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


@dataclass
class Daemon:
    """`paddock run` of a user. Leaving it ends it as systemd does, and expects exit code 0."""

    user: User
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    command: Sequence[str | Path] = field(default_factory=lambda: COMMAND)  # a test may set it

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.process is None:
            return
        code = self.stop()
        assert kind is not None or code == 0, f"it ended with {code}:\n{self.log_text()[-3000:]}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the daemon was not started"
        return self.process.pid

    @property
    def _log(self) -> Path:
        return self.user.folder / "paddock.log"

    def log_text(self) -> str:
        """All that it wrote, over every start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Starts it and waits until its socket answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "run"],
                env={**self.user.environment, **self.env},
                cwd=self.user.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait(self._answers, "its socket answers")

    def stop(self, timeout_s: float = 15.0) -> int:
        """Sends SIGTERM and gives the exit code."""
        self.signal(signal.SIGTERM)
        return self.ended(timeout_s)

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self, timeout_s: float = 15.0) -> int:
        """Waits for its end and gives the exit code; killed when it takes too long."""
        assert self.process is not None
        process, self.process = self.process, None
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def get(self, path: str) -> tuple[int, Any]:
        """Asks the socket: the status and the JSON of the answer."""
        with contextlib.closing(UnixConnection(self.user.socket)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def status(self) -> Any:
        """The status document as the daemon gives it now."""
        code, document = self.get("/paddock/status")
        assert code == 200, document
        return document

    def condition(self, kind: str) -> tuple[str, str]:
        """The status and reason of a condition of the host."""
        return _named(self.status(), kind)

    def is_ready(self) -> bool:
        """Whether the host and each of its models are as the file says."""
        document = self.status()
        named = [_named(model, "Ready")[0] for model in document["models"]]
        return _named(document, "Ready")[0] == "True" and set(named) <= {"True"}

    def wait_ready(self) -> None:
        """Waits until everything is as the file says."""
        self.wait(self.is_ready, "everything is ready")

    def wait(self, fact: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
        """Waits until a fact holds; the daemon must live until then."""
        deadline = time.monotonic() + timeout_s
        while not fact():
            alive = self.process is not None and self.process.poll() is None
            late = time.monotonic() > deadline
            assert alive, f"the daemon ended before {what}:\n{self.log_text()[-3000:]}"
            assert not late, f"not in {timeout_s} s: {what}\n{self.log_text()[-3000:]}"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float = 60.0):
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
