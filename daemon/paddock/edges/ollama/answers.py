"""Ollama's answers, read into our nouns.

Pure. Tags and ps are read from the raw JSON: a store may list thousands, and the typed client drops
what it does not know. A line that cannot be read is passed over; it belongs to nothing of ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from paddock.core.digest import Digest, parse_digest
from paddock.core.keep_alive import LASTING_S
from paddock.core.names import Name, is_scratch
from paddock.core.observed import Running, Tag
from paddock.errors import InvalidDigest, InvalidName

# Ollama shows "for ever" as 292 years from now (ollama:server/sched.go, api/types.go Duration).
_FOREVER = timedelta(seconds=LASTING_S)


def parse_tags(document: Any) -> Mapping[Name, Tag]:
    """`/api/tags` by name, without our scratch models."""
    found = {}
    for line in _models(document):
        with contextlib.suppress(InvalidName, InvalidDigest, KeyError, TypeError):
            name = Name.parse_api(line["name"])
            if not is_scratch(name):
                found[name] = Tag(_digest(line["digest"]), int(line.get("size") or 0))
    return found


def parse_running(document: Any, now: datetime) -> tuple[Running, ...]:
    """`/api/ps`, each runner once."""
    return tuple(_running(document, now))


def _running(document: Any, now: datetime) -> Iterator[Running]:
    for line in _models(document):
        with contextlib.suppress(InvalidName, InvalidDigest, KeyError, TypeError, ValueError):
            shown = datetime.fromisoformat(line["expires_at"])
            lasts = shown - now > _FOREVER
            yield Running(
                name=Name.parse_api(line["name"]),
                manifest_digest=_digest(line["digest"]),
                expires_at=None if lasts else shown,
                size_bytes=int(line.get("size") or 0),
                num_ctx=int(line.get("context_length") or 0) or None,
                lasts_to=shown if lasts else None,
            )


def _models(document: Any) -> list[Any]:
    models = document.get("models") if isinstance(document, dict) else None
    return models if isinstance(models, list) else []


def _digest(text: str) -> Digest:
    return parse_digest(text if text.startswith("sha256:") else f"sha256:{text}")
