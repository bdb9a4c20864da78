"""What the endpoint asks of the rest of Paddock, and the limits that it keeps.

Owns the `Host` protocol, which the service implements, the nouns that cross it, and the
settings of the socket. The endpoint reaches the engine through `Host` alone; nothing here does
anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from paddock.core.access import Peer, Policy
from paddock.core.desired import Residency
from paddock.core.keep_alive import KeepAlive
from paddock.core.metrics import Histogram

NO_RESIDENCY = Residency()
FIRST_BYTE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

Verdict = Literal["serve", "not_ready", "not_found"]


@dataclass(frozen=True, slots=True)
class Admission:
    """What becomes of a request for one model.

    `reason` and `message` are told to the client unless the verdict is `serve`; an empty message is
    Ollama's own for a name it lacks. `mending_s` is how long even a client that did not ask to wait
    is kept, because what is wrong is likely mended by then. `residency` and `keep_alive` are what
    the file says of the model's memory at this moment.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    message: str = ""
    retry_after_s: int = 0
    mending_s: float = 0.0
    residency: Residency = NO_RESIDENCY
    keep_alive: KeepAlive | None = None


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

    async def reconcile(self, *, prune: bool = False) -> Mapping[str, Any]:
        """Asks for a cycle and waits for its end: `{"outcomes": [...], "status": {...}}`. With
        `prune`, what the file no longer names goes in it."""
        ...

    def wake(self, *, prune: bool = False) -> None:
        """Asks for a cycle."""
        ...

    async def pause(self, models: Sequence[str]) -> Mapping[str, Any]:
        """Leaves models alone from now on, and waits until no cycle goes on with them. Raises
        PaddockError, with the reason NotDeclared for a name that is unknown."""
        ...

    async def resume(self, models: Sequence[str]) -> Mapping[str, Any]:
        """Has models cared for again. Raises as `pause` does."""
        ...

    async def explain(self, model: str) -> Mapping[str, Any] | None:
        """Gives all that is known of one model; None for no such one. Raises InvalidName."""
        ...

    async def admit(self, model: str, peer: Peer | None) -> Admission:
        """Decides about one request for `model`, just before it is forwarded."""
        ...

    def used(self, model: str) -> None:
        """Takes note of a use that could carry no keep_alive: where the file gives one, it is set
        once the use has ended."""
        ...

    async def changed(self, timeout_s: float) -> None:
        """Waits until another decision is likely, or for that long."""
        ...

    async def policy(self) -> Policy:
        """Gives the judge of who may see what."""
        ...

    async def events(self, after: int) -> Sequence[Mapping[str, Any]]:
        """Gives the events after an id, oldest first; waits until there is one."""
        ...

    def events_so_far(self, after: int) -> Sequence[Mapping[str, Any]]:
        """Gives the events after an id that there are now."""
        ...

    def last_event_id(self) -> int:
        """Gives the id of the last event, or one that is lower than that of the first."""
        ...

    def metrics(self, counts: StreamCounts) -> str:
        """Gives the text of `/metrics`; how the streams went is for the endpoint to say."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """The bounds that keep one client from harming the others.

    A body is JSON, with images in base64: 64 MiB holds several photographs. `max_header_bytes` is
    for one header, or the line of the request. `first_answer_s` is
    long because a large model loads for minutes and an answer that is not streamed comes whole.
    """

    max_header_bytes: int = 8 * 2**10
    max_body_bytes: int = 64 * 2**20
    max_buffered_bytes: int = 256 * 2**20
    max_answer_bytes: int = 64 * 2**20
    max_streams: int = 256
    max_streams_per_user: int = 128
    max_connections: int = 2048
    max_connections_per_user: int = 1024
    max_followers: int = 64
    max_wait_s: float = 600.0
    heartbeat_s: float = 15.0
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
    a word, `cancelled` by its client, or `refused` with an error in place of an answer. `failures`
    counts what Ollama did not answer, or not to the end; reads are among them.
    """

    open: int = 0
    started: int = 0
    finished: int = 0
    broken: int = 0
    cut: int = 0
    cancelled: int = 0
    refused: int = 0
    failures: int = 0
    chunks: int = 0
    followers: int = 0
    connections: int = 0
    connections_refused: int = 0
    first_byte: Histogram = field(
        default_factory=lambda: Histogram(
            "paddock_stream_first_byte_seconds",
            "Time from a request's head to the first byte of its answer.",
            FIRST_BYTE_S,
        )
    )
