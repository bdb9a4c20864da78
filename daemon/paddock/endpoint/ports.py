"""What the endpoint asks of the rest of Paddock, and the limits that it keeps.

Owns the `Host` protocol, which the service implements, the nouns that cross it, and the
settings of the socket. The endpoint reaches the engine through `Host` alone; nothing here does
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Verdict = Literal["serve", "not_ready", "not_found"]


@dataclass(frozen=True, slots=True)
class Admission:
    """What becomes of a request for one model.

    `keep_alive` is the wire value to put in where the client gave none or may not give its own
    (seconds, negative for ever; None: nothing is put in). `reason` and `message` are told to the
    client unless the verdict is `serve`.
    """

    name: str
    verdict: Verdict
    reason: str
    message: str
    retry_after_s: int
    keep_alive: int | float | None
    client_keep_alive_allowed: bool


class Host(Protocol):
    """What the service gives the endpoint."""

    def status(self) -> Mapping[str, Any]:
        """Gives the JSON of `/paddock/status`."""
        ...

    def plan(self) -> Mapping[str, Any] | None:
        """Gives the JSON of the last plan, or None before the first."""
        ...

    def healthy(self) -> bool:
        """Says whether the daemon makes progress."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Says whether the first cycle is done and Ollama answers, with one line for a person."""
        ...

    async def reconcile(self) -> Mapping[str, Any]:
        """Asks for a cycle and waits for its end: `{"outcomes": [...], "status": {...}}`."""
        ...

    async def admit(self, model: str) -> Admission:
        """Decides about one request for `model`, just before it is forwarded."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """The bounds that keep one client from harming the others.

    A body is JSON, with images in base64: 64 MiB holds several photographs. `first_answer_s` is
    long because a large model loads for minutes and an answer that is not streamed comes whole.
    """

    max_body_bytes: int = 64 * 2**20
    max_buffered_bytes: int = 256 * 2**20
    max_answer_bytes: int = 64 * 2**20
    max_streams: int = 256
    max_streams_per_user: int = 128
    header_s: float = 60.0
    body_s: float = 60.0
    connect_s: float = 5.0
    read_s: float = 30.0
    first_answer_s: float = 3600.0
    upstream_idle_s: float = 300.0
    client_stall_s: float = 600.0


@dataclass(slots=True)
class StreamCounts:
    """How the streams went since the start.

    Each that ended is counted once: `finished` whole, `broken` with an error record, `cut` without
    a word, `cancelled` by its client, or `refused` with an error in place of an answer.
    """

    open: int = 0
    started: int = 0
    finished: int = 0
    broken: int = 0
    cut: int = 0
    cancelled: int = 0
    refused: int = 0
