"""The end of a stream that Ollama ended in good order, though it was not whole."""

from __future__ import annotations

import pytest

from paddock.endpoint.framing import Chunked, Length
from paddock.endpoint.pump import Ending
from pumps import HEAD, pumped

PART, END, LAST = b"4\r\npart\r\n", b"3\r\nend\r\n", b"0\r\n\r\n"
ERROR = b'{"error":"ollama ended its answer before it was whole; its log may say why"}\n'


def is_whole(last: bytes) -> bool:
    return b"end" in last


@pytest.mark.parametrize("parts", [(PART, LAST), (PART + LAST,), (PART, PART + LAST), (LAST,)])
async def test_what_lacks_its_last_event_gets_an_error_before_its_last_chunk(
    parts: tuple[bytes, ...],
) -> None:
    async with pumped(Chunked(), is_whole=is_whole) as bench:
        for part in parts:
            await bench.send(part)
        assert await bench.pump.run() is Ending.BROKEN
        sent = b"".join(parts).removesuffix(LAST)
        whole = HEAD + sent + b"%x\r\n%b\r\n%b" % (len(ERROR), ERROR, LAST)
        assert await bench.received(len(whole)) == whole
        assert bench.pump.keep_alive


@pytest.mark.parametrize(
    "parts", [(PART, END, LAST), (PART + END + LAST,), (PART, END[:4], END[4:] + LAST)]
)
async def test_what_has_its_last_event_is_passed_on_as_it_is(parts: tuple[bytes, ...]) -> None:
    async with pumped(Chunked(), is_whole=is_whole) as bench:
        for part in parts:
            await bench.send(part)
        assert await bench.pump.run() is Ending.FINISHED
        whole = HEAD + b"".join(parts)
        assert await bench.received(len(whole)) == whole


async def test_a_client_without_chunks_gets_the_error_as_the_last_of_the_content() -> None:
    async with pumped(Chunked(), raw=False, is_whole=is_whole) as bench:
        await bench.send(PART)
        await bench.send(LAST)
        assert await bench.pump.run() is Ending.BROKEN
        whole = HEAD + PART[3:-2] + ERROR
        assert await bench.received(len(whole)) == whole


async def test_nothing_is_added_to_an_answer_of_a_known_length() -> None:
    async with pumped(Length(3), is_whole=is_whole) as bench:
        await bench.send(b"abc")
        assert await bench.pump.run() is Ending.FINISHED
        assert await bench.received(len(HEAD) + 3) == HEAD + b"abc"
