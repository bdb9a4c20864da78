"""Which paths the socket serves, and what each is.

Owns the table of `METHOD /path`; only paths of this table ever reach Ollama, and in the spelling
of the table. Pure.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from urllib.parse import unquote

# The other dialects have no such field, and Ollama ignores it there.
KEEP_ALIVE = frozenset({"/api/chat", "/api/generate", "/api/embed", "/api/embeddings"})
# Server-sent events, where the client asks for a stream.
SSE_STREAMS = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"}
)
LISTS = frozenset({"/api/tags", "/api/ps", "/v1/models"})

_GET = ("GET", "HEAD")
_POST = ("POST",)
_BLOB = re.compile(r"/api/blobs/.*")
_MODEL = re.compile(r"/v1/models/[A-Za-z0-9_%][A-Za-z0-9_%.:@+-]*")


class Kind(enum.Enum):
    """What is done with a request."""

    STREAM = "stream"
    READ = "read"
    SHOW = "show"
    CONTROL = "control"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Route:
    """A path that exists, and the methods that it takes."""

    kind: Kind
    path: str
    methods: tuple[str, ...]


def _routes(kind: Kind, methods: tuple[str, ...], *paths: str) -> dict[str, Route]:
    return {path: Route(kind, path, methods) for path in paths}


_TABLE = {
    **_routes(Kind.STREAM, _POST, *KEEP_ALIVE),
    **_routes(Kind.STREAM, _POST, "/v1/embeddings", *SSE_STREAMS),
    **_routes(Kind.READ, _GET, "/", "/api/version", *LISTS),
    **_routes(Kind.SHOW, _POST, "/api/show"),
    **_routes(Kind.CONTROL, _GET, "/paddock/status", "/paddock/plan", "/healthz", "/readyz"),
    **_routes(Kind.CONTROL, ("GET",), "/paddock/events", "/paddock/explain"),
    **_routes(Kind.CONTROL, _GET, "/metrics"),
    **_routes(Kind.CONTROL, _POST, "/paddock/reconcile", "/paddock/pause", "/paddock/resume"),
    **_routes(Kind.STORE, _POST, "/api/create", "/api/pull", "/api/push", "/api/copy"),
    **_routes(Kind.STORE, ("DELETE",), "/api/delete"),
}


STREAMS = frozenset(path for path, route in _TABLE.items() if route.kind is Kind.STREAM)

# What a listener that anybody may reach serves: numbers, and no model's name.
PUBLIC = frozenset({"/healthz", "/readyz", "/metrics"})


def model_of(path: str) -> str | None:
    """Gives the model that the path itself names, as Ollama's router reads it."""
    return unquote(path.removeprefix("/v1/models/")) if _MODEL.fullmatch(path) else None


def find_route(path: str) -> Route | None:
    """Finds a path, given as it stands in the request line, without its query."""
    if _MODEL.fullmatch(path):
        return Route(Kind.READ, path, _GET)
    if _BLOB.fullmatch(path):
        return Route(Kind.STORE, path, ("POST", "HEAD"))
    return _TABLE.get(path)
