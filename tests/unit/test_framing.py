"""Framing: the end of an answer and of its chunks is found wherever the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.endpoint.framing import (
    BadAnswer,
    Chunked,
    Length,
    UntilClose,
    framing_of,
    parse_head,
)

CONTENTS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def chunked(contents: list[bytes], trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in contents)
    return chunks + b"0\r\n" + trailer + b"\r\n"


@given(CONTENTS, st.lists(st.integers(0, 400)), st.sampled_from([b"", b"a: b\r\n"]))
def test_chunks_are_followed_wherever_they_are_cut(
    contents: list[bytes], cuts: list[int], trailer: bytes
) -> None:
    whole = chunked(contents, trailer)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    framing, payload = Chunked(), list[bytes]()
    for begin, end in itertools.pairwise(edges):
        assert not framing.done
        assert framing.feed(whole[begin:end], payload) == end - begin
    assert framing.done
    assert b"".join(payload) == b"".join(contents)


# Content that looks like framing, much of it, so that reads of each kind occur.
_TRICKY = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"0", b"5", b"a", b"x" * 30]), min_size=1
)
_RECORDS = st.one_of(_TRICKY.map(b"".join), st.integers(1, 5000).map(lambda size: b"y" * size))


@given(st.lists(_RECORDS, max_size=60), st.lists(st.integers(1, 4000), min_size=1))
def test_quick_ways_over_chunks_find_what_the_slow_one_finds(
    contents: list[bytes], sizes: list[int]
) -> None:
    whole, at = chunked(contents), 0
    quick, slow = Chunked(), Chunked()
    for size in itertools.cycle(sizes):
        part = whole[at : at + size]
        at += size
        assert quick.passes(part) or quick.feed(part) == len(part)
        assert slow.feed(part, []) == len(part)
        assert (quick.clean, quick.done) == (slow.clean, slow.done)
        assert quick.chunks == slow.chunks
        if at >= len(whole):
            break
    assert quick.done
    assert quick.chunks == len(contents)


def test_one_whole_chunk_is_known_by_its_size_line() -> None:
    for size in range(1, 1200):
        chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
        framing = Chunked()
        assert framing.passes(chunk) == (len(chunk) < 1024)
        assert not framing.passes(chunk[:-1])
        assert not framing.passes(chunk + b"1")
        framing.feed(chunk[:-1])
        assert not framing.passes(chunk), "another one is not yet whole"


def test_the_last_chunk_is_not_one_to_pass() -> None:
    framing = Chunked()
    assert not framing.passes(b"0\r\n\r\n")
    assert not framing.passes(b"")


def test_what_follows_the_last_chunk_is_not_ours() -> None:
    framing = Chunked()
    assert framing.feed(chunked([b"a"]) + b"HTTP/1.1 200") == len(chunked([b"a"]))


def test_a_record_fits_between_two_chunks_and_nowhere_else() -> None:
    whole = b"3\r\nabc\r\n"
    for end in range(1, len(whole)):
        framing = Chunked()
        framing.feed(whole[:end])
        assert not framing.clean, whole[:end]
    framing = Chunked()
    assert framing.clean
    framing.feed(whole)
    assert framing.clean
    framing.feed(b"0\r\n")
    assert not framing.clean


@pytest.mark.parametrize("line", [b"\r\n", b"-1\r\n", b"0x3\r\n", b"1_0\r\n", b"f" * 16 + b"\r\n"])
def test_a_chunk_without_a_size_is_refused(line: bytes) -> None:
    with pytest.raises(BadAnswer, match="no size"):
        Chunked().feed(line)


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(BadAnswer, match="too long"):
        Chunked().feed(b"1" * 5000)


def test_a_length_is_counted_down_and_has_no_room_for_a_record() -> None:
    framing, payload = Length(5), list[bytes]()
    assert framing.feed(b"abc", payload) == 3
    assert (framing.done, framing.clean) == (False, False)
    assert framing.feed(b"defg", payload) == 2
    assert framing.done
    assert b"".join(payload) == b"abcde"


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", Chunked),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0", Length),
        (b"HTTP/1.1 204 No Content", Length),
        (b"HTTP/1.0 200", UntilClose),
    ],
)
def test_the_head_tells_how_the_body_ends(lines: bytes, kind: type) -> None:
    assert type(framing_of(parse_head(lines))) is kind


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\n folded: line",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5",
    ],
)
def test_what_is_no_answer_is_refused(lines: bytes) -> None:
    with pytest.raises(BadAnswer):
        framing_of(parse_head(lines))
