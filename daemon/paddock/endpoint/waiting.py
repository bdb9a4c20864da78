"""How long a client would wait for a model that is being made, as its request says.

Pure. Three ways to say it, for those who can set a query, a header, or only a standard header
(RFC 7240, 4.3): `?wait=30`, `Paddock-Wait: 30`, `Prefer: wait=30`. None of them reaches Ollama.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from paddock.endpoint.answers import Problem

HEADERS = frozenset({b"paddock-wait", b"prefer"})
_PREFER = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


def wait_of(query: str, headers: Mapping[str, str], *, limit_s: float) -> float:
    """Gives the seconds, `limit_s` at most. Raises Problem (400) for what is no number."""
    for value in (_from_query(query), headers.get("Paddock-Wait")):
        if value is not None:
            return min(_seconds(value), limit_s)
    prefer = _PREFER.search(headers.get("Prefer", ""))
    return min(float(prefer[1]), limit_s) if prefer else 0.0


def without_wait(query: str) -> str:
    """Gives the query that is forwarded."""
    if "wait" not in query:
        return query
    return "&".join(part for part in query.split("&") if _key(part) != "wait")


def _from_query(query: str) -> str | None:
    if not query:
        return None
    values = [part.partition("=")[2] for part in query.split("&") if _key(part) == "wait"]
    return unquote_plus(values[-1]) if values else None


def _key(part: str) -> str:
    return unquote_plus(part.partition("=")[0])


def _seconds(text: str) -> float:
    try:
        value = float(text.strip().removesuffix("s"))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise Problem(400, "wait must be a number of seconds, such as 30")
    return value
