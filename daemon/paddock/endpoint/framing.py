"""Follows where an HTTP/1.1 answer ends, and where its chunks do, without copying it.

Owns the head of an answer and the three framings of its body (`ollama` answers with chunks or a
length; the third is for what stands between). Pure: bytes in, offsets out. Never alters a byte.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

MAX_HEAD_BYTES = 64 * 1024
_MAX_LINE_BYTES = 4096
_END_OF_CHUNK = 2  # CRLF
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")


class BadAnswer(Exception):
    """Bytes that are not an HTTP/1.1 answer."""


class Head:
    """The status line and headers of an answer, names lower-case only in `get`."""

    __slots__ = ("_first", "headers", "reason", "status")

    def __init__(
        self, status: int, reason: bytes, headers: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self._first = {name.lower(): value for name, value in reversed(headers)}

    def get(self, name: bytes) -> bytes:
        """Gives the first header of that lower-case name, or nothing."""
        return self._first.get(name, b"")

    def __contains__(self, name: bytes) -> bool:
        """Whether there is a header of that lower-case name."""
        return name in self._first

    @property
    def content_type(self) -> str:
        """The Content-Type as text."""
        return self.get(b"content-type").decode("latin-1")


@lru_cache(maxsize=16)  # what begins within one second has the same head, to the last byte
def parse_head(data: bytes) -> Head:
    """Reads a head, given without its empty line. Raises BadAnswer."""
    first, *lines = data.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    code, _, reason = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise BadAnswer("the answer is not HTTP/1.1")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise BadAnswer("a header of the answer has no name")
        headers.append((name, value.strip()))
    return Head(int(code), reason, tuple(headers))


class Framing(Protocol):
    """How a body ends. `done` says that it has."""

    done: bool
    ends_with_connection: bool
    chunks: int

    @property
    def clean(self) -> bool:
        """Whether the body stands between two whole records."""
        ...

    def passes(self, data: bytes) -> bool:
        """Follows `data` and says so, or does nothing: all but one whole chunk is for `feed`."""
        ...

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> int:
        """Follows `data`, adds what is content to `payload`, and gives how much belongs to us."""
        ...


def _one_chunk(read_bytes: int) -> bytes | tuple[bytes, ...]:
    """Gives how a read of that size begins that is one whole chunk; () where none has that size."""
    for digits in range(1, 5):
        line = b"%x\r\n" % max(0, read_bytes - digits - 2 * _END_OF_CHUNK)
        if len(line) == digits + _END_OF_CHUNK and line != b"0\r\n":
            return line
    return ()


_FEW = 1024
_ONE_CHUNK = [_one_chunk(size) for size in range(_FEW)]
_SIZES = [None, *(b"%x" % size for size in range(1, 4 * _FEW))]  # None: the last chunk stays


def _whole_chunks(data: bytes, at: int) -> tuple[int, int]:
    """Gives where the first chunk begins that is not whole, and how many are passed over.

    Quick, and nearly always all that there is: a read mostly brings one whole chunk, or many.
    """
    if len(data) - at > _FEW:
        found = _many_chunks(data[at:])
        if found[1]:
            return at + found[0], found[1]
    end, chunks = len(data), 0
    while found_line := _SIZE_LINE.match(data, at):
        size = int(found_line[1], 16)
        after = found_line.end() + size + _END_OF_CHUNK
        if size == 0 or after > end:
            break
        chunks += 1
        at = after
    return at, chunks


def _many_chunks(data: bytes) -> tuple[int, int]:
    """Does the same for many short chunks at once; passes none where content has line ends.

    Cut at line ends, lines and contents take turns; where each line is the size of the content
    after it, no other reading is possible.
    """
    pieces = data.split(b"\r\n")
    contents = pieces[1:-1:2]
    lines = pieces[: 2 * len(contents) : 2]
    try:
        if lines != [_SIZES[size] for size in map(len, contents)]:
            return 0, 0
    except IndexError:
        return 0, 0
    rest = pieces[2 * len(contents) :]
    return len(data) - sum(map(len, rest)) - _END_OF_CHUNK * (len(rest) - 1), len(contents)


class Chunked:
    """Transfer-Encoding: chunked, followed from size line to size line."""

    __slots__ = ("_between", "_left", "_line", "_trailer", "chunks", "done", "ends_with_connection")

    def __init__(self) -> None:
        self.done = self.ends_with_connection = False
        self.chunks = 0
        self._left = 0  # of the present chunk, its CRLF included
        self._line = b""  # a size or trailer line that is not yet whole
        self._trailer = False
        self._between = True

    @property
    def clean(self) -> bool:
        """Whether the last chunk is whole and the next one has not begun."""
        return self._between

    def passes(self, data: bytes) -> bool:
        """Follows `data` where it is one whole chunk between two others, which is soon seen."""
        size = len(data)
        if self._between and size < _FEW and data.startswith(_ONE_CHUNK[size]):
            self.chunks += 1
            return True
        return False

    def feed(self, data: bytes, payload: list[bytes] | None = None) -> int:
        """Follows `data` over any number of chunks. Raises BadAnswer for a size that is none."""
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._left:
                size = min(self._left, end - at)
                if payload is not None:
                    self._keep(data, at, size, payload)
                self._left -= size
                at += size
            else:
                at = self._next_lines(data, at, quick=payload is None)
        self._between = not (self._left or self._line or self._trailer or self.done)
        return at

    def _next_lines(self, data: bytes, at: int, *, quick: bool) -> int:
        if quick and not (self._line or self._trailer):
            passed, chunks = _whole_chunks(data, at)
            self.chunks += chunks
            if passed > at:
                return passed
        return self._next_line(data, at)

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

    def passes(self, data: bytes) -> bool:  # noqa: ARG002 - there are no chunks
        """Never: there are no chunks."""
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

    def passes(self, data: bytes) -> bool:  # noqa: ARG002 - there are no chunks
        """Never: there are no chunks."""
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
