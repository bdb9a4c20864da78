"""The syntax of a Modelfile: from bytes to commands, as Ollama reads them.

Follows `ollama:parser/parser.go` ParseFile (v0.34.4) also where that surprises: exactly one space
follows PARAMETER and MESSAGE, quotes may span lines and are closed at the end of one only, a
comment has a line of its own, and characters that cannot be printed are dropped. Where Ollama would
put U+FFFD in place of bytes that are no text, this refuses. What commands mean is for
`core/modelfile.py`.
"""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass

KEYWORDS = (
    "from",
    "parameter",
    "template",
    "system",
    "message",
    "license",
    "adapter",
    "draft",
    "renderer",
    "parser",
    "requires",
)
ROLES = ("system", "user", "assistant")

_ENCODINGS = (
    (b"\xef\xbb\xbf", "utf-8", "UTF-8"),
    (b"\xff\xfe", "utf-16-le", "UTF-16"),
    (b"\xfe\xff", "utf-16-be", "UTF-16"),
)
_NEWLINE = re.compile(r"\r\n|\r|\n")
_LINE_END = re.compile(r"[\r\n]|\Z")
_WORD_END = re.compile(r"[^A-Za-z]|\Z")
_OPTION_END = re.compile(r"[^A-Za-z0-9_]|\Z")
_BLANKS = " \t\r\n"
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a Modelfile, on a 1-based line."""

    line: int
    what: str
    hint: str


class ModelfileError(ValueError):
    """A Modelfile that cannot be used; `faults` in the order of its lines."""

    def __init__(self, *faults: Fault):
        super().__init__(*faults)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `keyword` is in lower case; `key` is a parameter's name or a message's role."""

    keyword: str
    args: str
    line: int
    key: str = ""


def parse(data: bytes) -> tuple[Command, ...]:
    """Returns the commands of a Modelfile, in their order. Raises ModelfileError at the first that
    Ollama would refuse."""
    return _Parser(_decode(data)).commands()


def _decode(data: bytes) -> str:
    """A byte order mark decides; without one it is UTF-8 (`unicode.BOMOverride` there)."""
    marked = (entry for entry in _ENCODINGS if data.startswith(entry[0]))
    mark, encoding, known_as = next(marked, (b"", "utf-8", "UTF-8"))
    text = data[len(mark) :]
    try:
        return text.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(_NEWLINE.findall(text[: error.start].decode(encoding, "replace"))) + 1
        raise ModelfileError(Fault(line, f"not {known_as} text", "save it as UTF-8")) from error


class _Parser:
    """A position in the text; each method starts where the one before it stopped."""

    def __init__(self, text: str):
        self._text = text
        self._at = 0
        self._line_starts = [0, *(found.end() for found in _NEWLINE.finditer(text))]

    def commands(self) -> tuple[Command, ...]:
        found: list[Command] = []
        while self._skip_to_command():
            found.append(self._command())
        if not any(command.keyword == "from" for command in found):
            what = "there is no FROM line"
            raise ModelfileError(Fault(1, what, "write FROM and a model's name or file"))
        return tuple(found)

    def _skip_to_command(self) -> bool:
        """Goes over blanks and comments; says whether anything follows."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                self._at = self._find(_LINE_END, self._at)
            elif self._text[self._at] not in _BLANKS:
                return True
            else:
                self._at += 1
        return False

    def _command(self) -> Command:
        start = self._at
        first = self._text[start] if self._text[start].isprintable() else ""
        keyword = (first + self._word(_WORD_END, start + 1)).lower()
        if keyword not in KEYWORDS or self._peek() not in _BLANKS[:2]:
            raise self._unknown_command(start)
        self._at += 1
        key = self._key(keyword)
        return Command(keyword, self._value(), self._line(start), key)

    def _key(self, keyword: str) -> str:
        if keyword not in {"parameter", "message"}:
            return ""
        start = self._at
        key = self._word(_OPTION_END if keyword == "parameter" else _WORD_END, start)
        if keyword == "message" and key not in ROLES:
            what = f'"{key}" is not a role' if key else "no role follows MESSAGE and one space"
            raise self._error(start, what, f"write one of {', '.join(ROLES)}, in lower case")
        if not key or self._peek() not in _BLANKS[:2]:
            what = f"{keyword.upper()} is not followed by one space, a name and a value"
            form = "PARAMETER NAME VALUE" if keyword == "parameter" else "MESSAGE ROLE TEXT"
            raise self._error(start, what, f"write {form}")
        self._at += 1
        return key

    def _word(self, end: re.Pattern[str], start: int) -> str:
        self._at = self._find(end, start)
        return self._text[start : self._at]

    def _value(self) -> str:
        """Reads to the end of the line; in quotes, to the first line that ends with them."""
        start = self._at
        first = self._line_of_value()
        opened = first.strip(_BLANKS)
        quotes = '"""' if opened.startswith('"""') else '"' if opened.startswith('"') else ""
        if not quotes:
            return opened
        lines, last, least = [first], opened, 2 * len(quotes)
        while not (last.endswith(quotes) and len(last) >= least):
            if self._at >= len(self._text):
                raise self._error(start, f"{quotes} is not closed", "close it at a line's end")
            lines.append(self._text[self._at])
            self._at += 1
            lines.append(self._line_of_value())
            last, least = lines[-1].strip(_BLANKS), len(quotes)
        return "".join(lines).strip(_BLANKS)[len(quotes) : -len(quotes)]

    def _line_of_value(self) -> str:
        line = self._word(_LINE_END, self._at)
        if line.isprintable():
            return line
        return "".join(char for char in line if char.isprintable() or char == "\t")

    def _peek(self) -> str:
        """The character here; at the end of the text one that ends nothing."""
        return self._text[self._at] if self._at < len(self._text) else "\0"

    def _find(self, pattern: re.Pattern[str], start: int) -> int:
        found = pattern.search(self._text, min(start, len(self._text)))
        assert found is not None  # each pattern takes the end of the text
        return found.start()

    def _line(self, at: int) -> int:
        return bisect.bisect_right(self._line_starts, at)

    def _error(self, at: int, what: str, hint: str) -> ModelfileError:
        return ModelfileError(Fault(self._line(at), what, hint))

    def _unknown_command(self, start: int) -> ModelfileError:
        line = self._text[start : self._find(_LINE_END, start)]
        word = line.split(maxsplit=1)[0] if line.split() else line
        if word.lower() in KEYWORDS:
            return self._error(start, f"{word.upper()} has no value", "write one after a space")
        allowed = ", ".join(keyword.upper() for keyword in KEYWORDS)
        what = f"{json.dumps(word[:_SHOWN_CHARS])} is not a command"
        return self._error(start, what, f"write one of {allowed}")
