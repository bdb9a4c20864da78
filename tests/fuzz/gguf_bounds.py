"""What must hold of the GGUF reader whatever it is given: the fuzzer's and the corpus's judge.

One input is either JSON, which goes to Facts.from_json, or the head of a file, which is read three
ways: as a whole file, as the start of a sparse one, and as what is left of a huge one. Raises
AssertionError where a bound breaks, and lets through whatever else the reader should not raise.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from paddock.core.gguf import Facts, Header, facts, read_header
from paddock.core.gguf_stub import MAX_STUB_BYTES
from paddock.errors import InvalidGguf

MOST_BYTES = 8 << 20
MOST_READS = 64
HOLE_BYTES = 64 * 1024
HUGE_BYTES = 1 << 40
REASONS = frozenset({"NotGGUF", "UnsupportedVersion", "Truncated", "Malformed"})


def survive(data: bytes) -> None:
    """Gives the reader what may be anything; it must answer or refuse, within the bounds."""
    if data.startswith(b"{"):
        _survive_json(data.decode("utf-8", "replace"))
        return
    _survive_file(data, len(data))
    _survive_file(data, len(data) + HOLE_BYTES, hole=True)
    _survive_file(data, HUGE_BYTES)


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Fails where the work inside takes more memory than a hostile file may cost."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < MOST_BYTES, f"it took {peak} bytes"
    finally:
        tracemalloc.stop()


def _survive_json(text: str) -> None:
    try:
        found = Facts.from_json(text)
    except InvalidGguf:
        return
    again = Facts.from_json(found.to_json())
    assert again == found
    assert hash(again) == hash(found)


def _survive_file(data: bytes, size_bytes: int, *, hole: bool = False) -> None:
    found = _attempt(data, size_bytes, hole=hole)
    if isinstance(found, InvalidGguf):
        assert found.reason in REASONS, found.reason
        assert found.message.isprintable(), found.message
        return
    assert len(found.stub) <= MAX_STUB_BYTES
    assert Facts.from_json(found.to_json()) == found
    stub = facts(read(found.stub, len(found.stub)))
    assert stub.stub == found.stub
    assert (stub.kind, stub.architecture, stub.file_type) == (
        found.kind,
        found.architecture,
        found.file_type,
    )


def _attempt(data: bytes, size_bytes: int, *, hole: bool) -> Facts | InvalidGguf:
    try:
        header = read(data, size_bytes, hole=hole)
        assert header.data_offset <= header.tensor_end <= size_bytes or not header.tensors_count
        return facts(header)
    except InvalidGguf as error:
        return error


def read(data: bytes, size_bytes: int, *, hole: bool = False) -> Header:
    """Reads a header, and holds the reader to few reads that stay inside the file.

    Behind `data` the file ends too early, or has zeros up to `size_bytes` where there is a hole.
    """
    reads = 0

    def read_at(at: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        assert reads <= MOST_READS, "it reads too often"
        assert 0 <= at <= at + length <= size_bytes, "it reads outside the file"
        assert length < MOST_BYTES, "it reads too much at once"
        found = data[at : at + length]
        return found.ljust(length, b"\0") if hole else found

    return read_header(read_at, size_bytes)
