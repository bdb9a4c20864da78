"""Hints: what to write instead of a value that is wrong.

Pure words; what is wrong is for `core/spec_problems.py` to say.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping


def quote_hint(value: object) -> str:
    """What to do where a text was wanted."""
    if value is None:
        return "write a text, or remove the key"
    return "put it in quotes" if isinstance(value, bool | int | float) else ""


def unquote_hint(value: object) -> str:
    """What to do where a number or a flag was wanted."""
    looks_plain = isinstance(value, str) and re.fullmatch(r"true|false|[-+]?[\d.]+", value)
    return "remove the quotes" if looks_plain else ""


def near_hint(value: object, allowed: list[str]) -> str:
    """The nearest of the allowed words, if one is near."""
    near = difflib.get_close_matches(str(value).lower(), allowed, n=1)
    return f'did you mean "{near[0]}"?' if near else ""


_TOP: Mapping[tuple[str | int, ...], str] = {
    (): "write version: 1 and models:",
    ("models",): "write each model as NAME: {source: ...}, or models: {} for none",
    ("residency",): "write {memory_limit: 20GiB, timezone: Europe/Paris}",
}


def mapping_hint(loc: tuple[str | int, ...]) -> str:
    """What to write where a mapping was wanted."""
    match loc:
        case ("defaults", "access") | ("models" | "discover", _, "access"):
            return "write {users: [...], groups: [...]}"
        case (*_, "schedule", int()):
            return 'write {days: mon-fri, from: "08:00", to: "19:00", preload: true}'
        case ("discover" | "publish", _):
            return "write {path: FOLDER, layout: directory}"
        case ("models", _):
            return "write at least source: {gguf: PATH}"
        case _:
            return _TOP.get(loc, "write key: value pairs, or remove it")
