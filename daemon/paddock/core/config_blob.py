"""The config blob: whether Ollama could decode it, so that it would list the model.

Pure. Go refuses a value of another type than its field's (ollama:types/model/config.go ConfigV2),
and Ollama then passes over the whole model (ollama:server/model_list.go describeModel).
"""

from __future__ import annotations

import json

MAX_CONFIG_BYTES = 4 << 20

_TEXT_FIELDS = """
    model_format model_family model_type file_type renderer parser requires remote_host
    remote_model base_name
"""
_TEXT = frozenset(_TEXT_FIELDS.split())
_TEXTS = frozenset({"model_families", "capabilities"})
_NUMBERS = frozenset({"context_length", "embedding_length"})
_OBJECTS = frozenset({"draft", "generation_defaults"})


def is_config(data: bytes) -> bool:
    """Whether these bytes are a config that Ollama takes: a JSON object with fields of its types.

    Keys that it does not know, null, and what follows the object are fine.
    """
    if len(data) > MAX_CONFIG_BYTES:
        return False
    try:
        document, _ = json.JSONDecoder().raw_decode(data.decode(errors="replace").lstrip())
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and all(_fits(*item) for item in document.items())


def _fits(key: str, value: object) -> bool:
    folded = key.casefold()
    if value is None:
        return True
    if folded in _TEXT:
        return isinstance(value, str)
    if folded in _TEXTS:
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if folded in _NUMBERS:
        return isinstance(value, int) and not isinstance(value, bool)
    return folded not in _OBJECTS or isinstance(value, dict)
