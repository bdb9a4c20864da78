"""Syntax: what stops a file from being YAML at all, in plain words.

Owns decoding bytes to text (UTF-8, no control characters, so that no two readers disagree on where
a line ends) and the wording of the parser's complaints. Pure functions over bytes and text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

MAX_FAULTS = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the YAML of a file, at a 1-based place."""

    line: int
    column: int
    where: str
    what: str
    hint: str


class Unreadable(Exception):
    """The text cannot be read on: a fault after which nothing can be said."""

    def __init__(self, *faults: Fault):
        super().__init__(*faults)
        self.faults = faults


_BOM = "\ufeff"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BREAK = re.compile(r"\r\n|\r|\n")
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

_WORDS: tuple[tuple[str, str, str], ...] = (
    (
        "mapping values are not allowed",
        'a ":" that does not fit here',
        'indent the keys of one mapping alike, and quote text that holds ": "',
    ),
    ("could not find expected ':'", 'a key without ": " after it', 'write "key: value"'),
    ("tab character", "a tab where spaces are needed", "indent with spaces"),
    (
        "alphabetic or numeric character",
        '"*" and "&" stand for aliases and anchors here',
        "put the text in quotes",
    ),
    ("unknown escape", "an unknown escape in double quotes", "double the backslash"),
    ("Unicode character escape", "an escape that is no character", "correct it"),
    ("hexdecimal", "an escape that is cut short", "correct it"),
    (
        "block sequence entries",
        '"- " does not fit here',
        "begin the list on its own line, below its key",
    ),
    (
        "expected <document start>",
        "a line that belongs to nothing above it",
        "indent all top keys alike",
    ),
    ("expected '-' indicator", 'not a "- " like the items above', "indent as the items above"),
    ("expected ',' or '}'", 'a "," or "}" is missing', 'close the "{" opened at {context}'),
    ("expected ',' or ']'", 'a "," or "]" is missing', 'close the "[" opened at {context}'),
    ("expected key", "a key was expected here", "indent as the lines above, or check the quotes"),
    ("expected node content", "a value was expected here", "write one, or put it in quotes"),
    ("incompatible YAML document", "an unknown YAML version", "remove the %YAML line"),
    ("undefined tag handle", "tags are not used here", "remove the tag"),
)
_AT_CONTEXT = {
    "while scanning a quoted scalar": ("a quote that is never closed", "close it"),
    "while scanning a simple key": ('a key without ": " after it', 'write "key: value"'),
}


def decode(data: bytes) -> str:
    """Returns the text of a file; a byte order mark is allowed. Raises Unreadable."""
    if data.startswith(_UTF16):
        raise Unreadable(Fault(1, 1, "", "the file is UTF-16", "save it as UTF-8"))
    try:
        text = data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8").removeprefix(_BOM)
        what = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise Unreadable(Fault(*_place(before), "", what, "save the file as UTF-8")) from error
    faults = tuple(_unwanted(text))
    if faults:
        raise Unreadable(*faults)
    return text


def explain(error: yaml.YAMLError, text: str) -> Fault:
    """Returns the parser's complaint as one fault in plain words."""
    mark, problem, context = _parts(error)
    line, column = _within(text, mark) if mark else (1, 1)
    started = getattr(error, "context_mark", None)
    if context in _AT_CONTEXT and started and "tab" not in problem:
        what, hint = _AT_CONTEXT[context]
        return Fault(started.line + 1, started.column + 1, "", what, hint)
    what, hint = _words(problem, text, line, column)
    if started:
        hint = hint.replace("{context}", f"{started.line + 1}:{started.column + 1}")
    if "${env:" in _line(text, line):
        hint = "put ${env:...} in quotes inside { } and [ ]"
    return Fault(line, column, "", what, hint)


def _parts(error: yaml.YAMLError) -> tuple[yaml.Mark | None, str, str]:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return mark, error.problem or "not YAML", error.context or ""
    return None, str(error).splitlines()[0], ""


def _words(problem: str, text: str, line: int, column: int) -> tuple[str, str]:
    if "cannot start any token" in problem:
        char = _line(text, line)[column - 1 : column]
        if char == "\t":
            return "a tab where spaces are needed", "indent with spaces"
        return f'"{char}" cannot begin a value', "put the value in quotes"
    for part, what, hint in _WORDS:
        if part in problem:
            return what, hint
    return f"not YAML: {problem}", "correct it"


def _within(text: str, mark: yaml.Mark) -> tuple[int, int]:
    """Returns the place of a mark; one behind the last line is shown at the end of that line."""
    lines = _BREAK.split(text.rstrip("\r\n"))
    if mark.line < len(lines):
        return mark.line + 1, mark.column + 1
    return len(lines), len(lines[-1]) + 1


def _unwanted(text: str) -> Iterator[Fault]:
    for found, _ in zip(_UNWANTED.finditer(text), range(MAX_FAULTS), strict=False):
        what = f"the control character U+{ord(found[0]):04X}"
        hint = f'remove it, or write "\\u{ord(found[0]):04x}" in double quotes'
        hint = "remove it" if found[0] == "\0" else hint
        yield Fault(*_place(text[: found.start()]), "", what, hint)


def _place(before: str) -> tuple[int, int]:
    lines = _BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


def _line(text: str, line: int) -> str:
    lines = _BREAK.split(text)
    return lines[line - 1] if line <= len(lines) else ""
