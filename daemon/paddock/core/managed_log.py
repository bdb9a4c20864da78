"""The log of an `ollama serve` that we started, line by line.

Pure. What a line is about and how serious it is, where that can be told: Go's slog (of Ollama
itself), gin (one line a request), llama.cpp (of a runner). What might hold a person's words is left
out, whatever Ollama's own level, and what a terminal would obey is spelt out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]

LONGEST_BYTES = 65536
_SHOWN = 4096
_LEVELS: dict[str, Level] = {
    "TRACE": "debug",
    "DEBUG": "debug",
    "INFO": "info",
    "WARN": "warning",
    "ERROR": "error",
}
_LETTERS: dict[str, Level] = {"D": "debug", "I": "info", "W": "warning", "E": "error"}
_TEXT = r'"(?:[^"\\]|\\.)*"|\S*'
_SLOG = re.compile(rf"time=\S+ level=([A-Z]+)\S* (?:source=(\S+) )?msg=({_TEXT})(.*)", re.DOTALL)
_FIELD = re.compile(rf" ([^\s=\"]*)=({_TEXT})")
_GIN = re.compile(r"\[GIN\] \S+ - \S+ \| *(\d{3}) \|")
_LLAMA = re.compile(r"[\d.]+ ([DIWE]) (.*)", re.DOTALL)
# What Ollama itself takes for an error of a runner (ollama:llm/status.go), and how Go ends.
_WRONG = re.compile(
    r"panic:|fatal error:|[Ee]rror:|CUDA error|ROCm error|[Mm]alloc failed|error loading model"
    r"|GGML_ASSERT|signal arrived during cgo execution|out of (?:device )?memory"
)
_CRASH = re.compile(r"panic:|fatal error:|SIG[A-Z]+: |goroutine \d+ ")
# Fields in which Ollama logs what people and models say (ollama:model/parsers, server/routes.go).
_HIDDEN = re.compile(
    r"content|prompt|messages?|text|thinking|input|output|response|query|arguments|tool_?calls|body",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"(?<=://)[^/\s@\"]+(?=@)")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: what it says, its fields as Ollama wrote them, and where in Ollama it comes from.
    `is_crash`: the lines of no known form that follow belong to it."""

    level: Level
    event: str
    fields: str = ""
    source: str = ""
    is_crash: bool = False


def parse_line(text: str, after: LogLine | None = None) -> LogLine | None:
    """One line of the log, whole, `after` the one before it; None where it says nothing."""
    text = text.rstrip()
    if not text:
        return None
    if found := _SLOG.fullmatch(text):
        level, source, message, fields = found.groups()
        event, rest = _plain(_unquoted(message)), _plain(_shown(fields))
        return LogLine(_LEVELS.get(level, "info"), event or "(no message)", rest, source or "")
    if found := _GIN.match(text):
        return LogLine("warning" if found[1] >= "500" else "debug", " ".join(_plain(text).split()))
    if found := _LLAMA.fullmatch(text):
        return LogLine(_LETTERS[found[1]], _plain(found[2]))
    return _untold(_plain(text), after)


def too_long() -> LogLine:
    """In the place of a line of more than 64 KiB: cut, it could not be told what is in it."""
    return LogLine("debug", f"(a line of more than {LONGEST_BYTES // 1024} KiB)")


def _untold(text: str, after: LogLine | None) -> LogLine:
    """A line that does not say how serious it is: most are a runner's, some hundred a load."""
    if _CRASH.match(text):
        return LogLine("error", text, is_crash=True)
    if after is not None and after.is_crash:
        return LogLine("error", text, is_crash=True)
    return LogLine("error" if _WRONG.search(text) else "debug", text)


def _shown(fields: str) -> str:
    """The fields of a line, without the values of those that may hold a person's words."""
    found = (
        (key, "…" if _HIDDEN.fullmatch(key) and not value.isdigit() else value)
        for key, value in _FIELD.findall(fields)
    )
    return " ".join(f"{key}={value}" if key else value for key, value in found)


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:  # Go's \x.. is not JSON's
        return text[1:-1]


def _plain(text: str) -> str:
    """Text of one line and not at length, without passwords and what a terminal obeys: what a
    GGUF says of itself comes by here too."""
    text = _PASSWORD.sub("…", text)
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text.replace("\t", " "))
