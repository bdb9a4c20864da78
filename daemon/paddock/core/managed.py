"""A server that we start ourselves: how it stands in words, what it is given, when it starts again.

Pure. What is told here is a condition of the host; `edges/managed.py` starts and stops the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from paddock.core.conditions import Fact
from paddock.core.failures import backoff_s
from paddock.core.unknown import Unknown

STEADY_S = 60.0
# What is for us alone: our settings (a token among them), and what systemd tells its services.
_OURS = frozenset(
    {
        "CREDENTIALS_DIRECTORY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "MAINPID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)


@dataclass(frozen=True, slots=True)
class ServerState:
    """How the server stands that we start, or found there: `serves` when it answers, `stalled` when
    a person must act."""

    reason: str
    message: str
    serves: bool = False
    stalled: bool = False

    @property
    def fact(self) -> Fact:
        """The host's condition ServerRunning."""
        return "True" if self.serves else "False", self.reason, self.message

    def until(self, at: datetime, attempt: int) -> ServerState:
        """The same, with the time of the next attempt to start it."""
        return replace(self, message=f"{self.message} (try {attempt} at {_clock(at)})")

    @property
    def trouble(self) -> Unknown:
        """Why nothing can be done without it."""
        return Unknown(self.reason, self.message)


def looking(url: str) -> ServerState:
    """Nothing is known yet."""
    return ServerState("OllamaStarting", f"paddock looks whether a server answers at {url}")


def starting(pid: int, since: datetime) -> ServerState:
    """It was started, and does not answer yet."""
    what = f"ollama serve (pid {pid}) is starting since {_clock(since)}"
    return ServerState("OllamaStarting", what)


def serving(pid: int, since: datetime) -> ServerState:
    """It answers."""
    what = f"ollama serve runs with pid {pid}, started by paddock at {_clock(since)}"
    return ServerState("Managed", what, serves=True)


def found(url: str) -> ServerState:
    """Somebody else's server answers there."""
    what = f"a server that paddock did not start answers at {url}; it is used, and never stopped"
    return ServerState("AlreadyServed", what, serves=True)


def away(url: str, until: datetime) -> ServerState:
    """Somebody else's server has gone: it may be restarting."""
    what = f"the server at {url} is gone; paddock starts one at {_clock(until)} if it stays away"
    return ServerState("OllamaAway", what)


def ended(how: str) -> ServerState:
    """It ended by itself, and is started again."""
    return ServerState("OllamaBackingOff", f"ollama serve {how}")


def stuck(reason: str, message: str) -> ServerState:
    """It cannot be started, and a person must act."""
    return ServerState(reason, message, stalled=True)


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S} UTC"


def failed_before(before: int, ran_s: float) -> int:
    """How many starts had failed in a row before one that ran so long: a server that holds for a
    minute begins the count anew."""
    return 0 if ran_s >= STEADY_S else before


def pause_s(failed: int, jitter: float) -> float:
    """How long to wait before the next start: not at all the first time, then 1 s, doubling to
    5 min; `jitter` from 0 to 1 spreads it."""
    return 0.0 if failed <= 1 else backoff_s(failed - 1, jitter)


def serve_environment(
    environ: Mapping[str, str], *, bind: str, models_dir: str, home: str
) -> dict[str, str]:
    """What the server is given: all that we have (OLLAMA_*, CUDA_*, proxies), where to listen and
    its models folder; not what is for us alone."""
    passed = {
        key: value
        for key, value in environ.items()
        if key not in _OURS and not key.startswith("PADDOCK_")
    }
    return {"HOME": home, **passed, "OLLAMA_HOST": bind, "OLLAMA_MODELS": models_dir}
