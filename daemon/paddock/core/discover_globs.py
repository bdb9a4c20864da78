"""Globs: which files below a folder are meant.

As people know them from ignore files: `*` stops at `/`, `**` does not, a pattern without `/` is
met by any part of the path, and what names a folder means all that is below it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns means this file; `path` is relative to the folder."""
    parts = path.split("/")
    above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    for pattern in patterns:
        regex, anywhere = _compiled(pattern)
        if any(map(regex.fullmatch, parts if anywhere else above)):
            return True
    return False


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> tuple[re.Pattern[str], bool]:
    """The pattern for one part, or for the path from its beginning."""
    text = pattern.removeprefix("./").rstrip("/")
    anywhere = "/" not in text
    return re.compile("".join(_regexes(text.lstrip("/"))), re.DOTALL), anywhere


def _regexes(text: str) -> Iterable[str]:
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]/]+\]|.", text, re.DOTALL):
        match piece:
            case "**/":
                yield "(?:.*/)?"
            case "**":
                yield ".*"
            case "*":
                yield "[^/]*"
            case "?":
                yield "[^/]"
            case _ if len(piece) > 1:
                yield _set(piece[1:-1])
            case _:
                yield re.escape(piece)


def _set(body: str) -> str:
    items = re.findall(r"(.)-(.)|(.)", body.removeprefix("!"), re.DOTALL)
    chars = "".join(
        re.escape(one) if one else f"{re.escape(low)}-{re.escape(high)}"
        for low, high, one in items
        if one or low <= high
    )
    if not chars:
        return "(?!)"
    return f"(?!/)[{'^' if body.startswith('!') else ''}{chars}]"
