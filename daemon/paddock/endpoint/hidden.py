"""Takes the scratch models of the header probe out of the lists that a client reads.

Pure: an answer that names none comes back as the very bytes that Ollama sent.
"""

from __future__ import annotations

import json
from typing import Any

from paddock.core.names import SCRATCH_HOST

_MARK = SCRATCH_HOST.encode()
_LISTS = ("models", "data")
_NAMES = ("name", "model", "id")


def names_scratch(model: str) -> bool:
    """Says whether a client names a model of the scratch host."""
    return (
        model.lower()
        .removeprefix("http://")
        .removeprefix("https://")
        .startswith(f"{SCRATCH_HOST}/")
    )


def without_scratch(body: bytes) -> bytes:
    """Gives a list of models without those of the scratch host."""
    if _MARK not in body.lower():
        return body
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    if not isinstance(answer, dict):
        return body
    shown = {key: _shown(value) if key in _LISTS else value for key, value in answer.items()}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()


def _shown(items: Any) -> Any:
    if not isinstance(items, list):
        return items
    return [item for item in items if not _is_scratch(item)]


def _is_scratch(item: Any) -> bool:
    return isinstance(item, dict) and any(names_scratch(str(item.get(key, ""))) for key in _NAMES)
