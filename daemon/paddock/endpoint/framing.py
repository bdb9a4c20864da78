"""Follows where an HTTP/1.1 answer ends, and where its chunks do, without copying it.

Owns the head of an answer and the three framings of its body (`ollama` answers with chunks or a
length; the third is for what stands between). Pure: bytes in, offsets out. Never alters a byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

MAX_HEAD_BYTES = 64 * 1024
_MAX_LINE_BYTES = 4096
_END_OF_CHUNK = 2  # CRLF
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")


class BadAnswer(Exception):
    """Bytes that are not an HTTP/1.1 answer."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and headers of an answer, names lower-case only in `get`."""

    status: int
    reason: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    def get(self, name: bytes) -> bytes:
        """Gives the first header of that lower-case name, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), b"")

    @property
    def content_type(self) -> str:
        """The Content-Type as text."""
        return self.get(b"content-type").decode("latin-1")


def parse_head(data: bytes) -> Head:
    """Reads a head, given without its empty line. Raises BadAnswer."""
    first, *lines = data.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    code, _, reason = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise BadAnswer("the answer is not HTTP/1.1")
    return Head(int(code), reason, tuple(map(_header, lines)))


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name != name.strip():
        raise BadAnswer("a header of the answer has no name")
    return name, value.strip()


class Framing(Protocol):
    """How a body ends. `done` says that it has."""

    done: bool
    ends_with_connection: bool
    chunks: int

    @property
    def clean(self) -> bool:
        """Whether the body stands between two whole records."""
        ...

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> int:
        """Follows `data`, adds what is content to `payload`, and gives how much belongs to us."""
        ...


class Chunked:
    """Transfer-Encoding: chunked, followed from size line to size line."""

    __slots__ = ("_left", "_line", "_trailer", "chunks", "done", "ends_with_connection")

    def __init__(self) -> None:
        self.done = self.ends_with_connection = False
        self.chunks = 0
        self._left = 0  # of the present chunk, its CRLF included
        self._line = b""  # a size or trailer line that is not yet whole
        self._trailer = False

    @property
    def clean(self) -> bool:
        """Whether the last chunk is whole and the next one has not begun."""
        return not (self._left or self._line or self._trailer or self.done)

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> int:
        """Follows `data` over any number of chunks. Raises BadAnswer for a size that is none."""
        at, end = 0, len(data)
        if payload is None and not (self._left or self._line or self._trailer or self.done):
            at = self._pass_whole_chunks(data)
        while at < end and not self.done:
            if self._left:
                size = min(self._left, end - at)
                if payload is not None:
                    self._keep(data, at, size, payload)
                self._left -= size
                at += size
                continue
            at = self._next_line(data, at)
        return at

    def _pass_whole_chunks(self, data: bytes) -> int:
        """Gives where the first chunk begins that is not whole: quick, and nearly always the end.

        A read mostly brings one whole chunk, or many.
        """
        at, end = 0, len(data)
        while found := _SIZE_LINE.match(data, at):
            size = int(found[1], 16)
            after = found.end() + size + _END_OF_CHUNK
            if size == 0 or after > end:
                break
            self.chunks += 1
            at = after
        return at

    def _keep(self, data: bytes, at: int, size: int, payload: list[bytes]) -> None:
        content = min(size, self._left - _END_OF_CHUNK)
        if content > 0:
            payload.append(data[at : at + content])

    def _next_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        if end < 0:
            self._line += data[at:]
            if len(self._line) > _MAX_LINE_BYTES:
                raise BadAnswer("a line between chunks is too long")
            return len(data)
        line = (self._line + data[at:end]).rstrip(b"\r")
        self._line = b""
        if self._trailer:
            self.done = not line
        else:
            self._open_chunk(line)
        return end + 1

    def _open_chunk(self, line: bytes) -> None:
        digits = line.partition(b";")[0].strip()
        if not _SIZE.fullmatch(digits):
            raise BadAnswer("a chunk has no size")
        size = int(digits, 16)
        self._trailer = size == 0
        self.chunks += size > 0
        self._left = size + _END_OF_CHUNK if size else 0


class Length:
    """Content-Length, or no body at all (0)."""

    __slots__ = ("_left", "chunks", "done", "ends_with_connection")

    def __init__(self, size: int) -> None:
        self.chunks = 0
        self._left = size
        self.ends_with_connection = False
        self.done = size == 0

    @property
    def clean(self) -> bool:
        """Never: what is promised in bytes has no room for anything else."""
        return False

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> int:
        """Counts down."""
        size = min(self._left, len(data))
        if payload is not None and size:
            payload.append(data[:size])
        self._left -= size
        self.done = self._left == 0
        return size


class UntilClose:
    """Neither: the body ends with the connection, so that a cut cannot be told from its end."""

    __slots__ = ("chunks", "done", "ends_with_connection")

    def __init__(self) -> None:
        self.chunks = 0
        self.done = False
        self.ends_with_connection = True

    @property
    def clean(self) -> bool:
        """Never: no boundary is visible."""
        return False

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> int:
        """Takes all."""
        if payload is not None:
            payload.append(data)
        return len(data)


def framing_of(head: Head) -> Framing:
    """Tells how the body of an answer to a GET or POST ends (RFC 9112, 6.3). Raises BadAnswer."""
    if head.status in {204, 304}:
        return Length(0)
    coding = head.get(b"transfer-encoding").lower()
    if coding == b"chunked":
        return Chunked()
    if coding:
        raise BadAnswer("the answer has a transfer coding other than chunked")
    length = head.get(b"content-length")
    if not length:
        return UntilClose()
    if not length.isdigit():
        raise BadAnswer("the answer has a length that is no number")
    return Length(int(length))
