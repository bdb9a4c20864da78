"""A cursor over the head of a file that somebody else reads, with every length bounded.

Owns the windows in which bytes are asked for, the byte order, and the bounds that a hostile file
runs into: `ollama:fs/gguf/gguf.go` has the same for strings and arrays, the others are ours. Reads
only through the function handed to it, seeks over what nobody needs, and raises InvalidGguf.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Literal, NoReturn

from paddock.errors import InvalidGguf

ReadAt = Callable[[int, int], bytes]
ByteOrder = Literal["little", "big"]

WINDOW_BYTES = 256 * 1024
MAX_HEADER_BYTES = 1 << 30
MAX_STRING_BYTES = 16 << 20
MAX_KEY_BYTES = 64 * 1024
MAX_KEPT_BYTES = 4 << 20
MAX_STRINGS = 8 << 20

_OBJECT_BYTES = 64
_MOST_CHAR_BYTES = 4


class Cursor:
    """A position in the header, which only ever asks for bytes below `size_bytes`."""

    def __init__(self, read_at: ReadAt, size_bytes: int) -> None:
        self.position = 0
        self.size_bytes = size_bytes
        self.order: Literal["<", ">"] = "<"
        self._read_at = read_at
        self._window = b""
        self._start = 0
        self._kept_bytes = 0
        self._strings = 0

    def unpack(self, letters: str) -> tuple[Any, ...]:
        """Reads the numbers that `letters` names in `struct`'s way and steps over them."""
        fields = struct.Struct(self.order + letters)
        at = self._ensure(fields.size)
        self.position += fields.size
        return fields.unpack_from(self._window, at)

    def number(self, letter: str) -> Any:
        """Reads one number and steps over it."""
        return self.unpack(letter)[0]

    def length(self, what: str, bound: int) -> int:
        """Reads the length or count of `what`, which may not exceed `bound`."""
        length: int = self.number("Q")
        if length > bound:
            malformed(f"{what} says {length}, and at most {bound} is allowed")
        return length

    def text(self, length: int) -> str:
        """Reads `length` bytes as text; bytes that are not UTF-8 come back as surrogates."""
        at = self._ensure(length)
        self.position += length
        text = self._window[at : at + length].decode("utf-8", "surrogateescape")
        # One character outside ASCII makes all of a text wider.
        char_bytes = 1 if text.isascii() else _MOST_CHAR_BYTES
        self.count_kept(_OBJECT_BYTES + char_bytes * len(text))
        return text

    def skip(self, length: int) -> None:
        """Steps over `length` bytes without reading them."""
        self.position += length
        self._check(self.position)

    def skip_strings(self, count: int) -> None:
        """Steps over `count` strings; reads their lengths and little else."""
        self._strings += count
        if self._strings > MAX_STRINGS:
            malformed(f"its arrays hold more than {MAX_STRINGS} strings")
        unpack = struct.Struct(self.order + "Q").unpack_from
        while count:
            at = self._ensure(8)
            window, last = self._window, len(self._window) - 8
            while count and at <= last:
                (length,) = unpack(window, at)
                if length > MAX_STRING_BYTES:
                    malformed(f"a string says {length} bytes; at most {MAX_STRING_BYTES} may be")
                at += 8 + length
                count -= 1
            self.position = self._start + at
        self._check(self.position)

    def count_kept(self, size_bytes: int) -> None:
        """Counts memory that stays in use, and refuses the file that would fill it."""
        self._kept_bytes += size_bytes
        if self._kept_bytes > MAX_KEPT_BYTES:
            malformed(f"its metadata takes more than {MAX_KEPT_BYTES} bytes of keys and values")

    def _ensure(self, length: int) -> int:
        """Makes the next `length` bytes lie in the window, and returns where."""
        at = self.position - self._start
        if at < 0 or at + length > len(self._window):
            self._check(self.position + length)
            self._window = self._fetch(length)
            self._start = self.position
            at = 0
        return at

    def _fetch(self, length: int) -> bytes:
        wanted = min(max(WINDOW_BYTES, length), self.size_bytes - self.position)
        window = self._read_at(self.position, wanted)
        while len(window) < length:
            more = self._read_at(self.position + len(window), length - len(window))
            if not more:
                self._truncated()
            window += more
        return window

    def _check(self, end: int) -> None:
        if end > self.size_bytes:
            self._truncated()
        if end > MAX_HEADER_BYTES:
            malformed(f"its header is longer than {MAX_HEADER_BYTES} bytes")

    def _truncated(self) -> NoReturn:
        raise InvalidGguf(
            f"truncated: the header goes on after byte {self.size_bytes}, where the file ends; "
            "download it again",
            reason="Truncated",
        )


def malformed(what: str) -> NoReturn:
    """Raises InvalidGguf with reason Malformed for a header that breaks the format or a bound."""
    raise InvalidGguf(f"not a usable GGUF file: {what}; get it again", reason="Malformed")
