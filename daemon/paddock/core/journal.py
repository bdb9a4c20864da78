"""The journal's native protocol: an event of the log as fields, and fields as bytes.

Pure. As systemd's "Native Journal Protocol" has it: `KEY=value`, or, for a value of several lines,
the key, its length in eight bytes (little endian), and the value.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_NOTICE = 5
_KEY_CHARS = 64
_NOT_IN_KEYS = re.compile(r"[^A-Z0-9_]")
# What means something else to the journal itself, or to those who read it.
_TAKEN = {"MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER", "UNIT", "OBJECT_PID"}
_UNSAID = {"event", "level", "ts", "exception"}


def encode(fields: Mapping[str, str]) -> bytes:
    """One record, as it is sent to the journal's socket."""
    return b"".join(_field(key, value) for key, value in fields.items())


def _field(key: str, value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    if b"\n" not in data:
        return key.encode() + b"=" + data + b"\n"
    return key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"


def to_fields(event: Mapping[str, Any], identifier: str) -> dict[str, str]:
    """The fields of an event with `event`, `level` and any others: the message says them all, and
    each is a field of its own besides (`model` is MODEL), so that one can search for it."""
    level = str(event.get("level", ""))
    message = " ".join([str(event.get("event", "")), *_told(event)])
    if trace := event.get("exception"):
        message = f"{message}\n{trace}"
    fields = {
        "MESSAGE": message,
        "PRIORITY": str(PRIORITIES.get(level, _NOTICE)),
        "SYSLOG_IDENTIFIER": identifier,
    }
    more = {key_of(name): _text(event[name]) for name in event if name not in _UNSAID}
    return fields | more


def key_of(name: str) -> str:
    """The journal's name of a field: capitals, digits and underscores, with a letter first."""
    key = _NOT_IN_KEYS.sub("_", name.upper())
    if not key[:1].isalpha() or key in _TAKEN:
        key = f"PADDOCK_{key.lstrip('_')}"
    return key[:_KEY_CHARS]


def _told(event: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_shown(event[name])}" for name in event if name not in _UNSAID]


def _shown(value: object) -> str:
    text = _text(value)
    return text if text.isprintable() and text and " " not in text else repr(text)


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
