"""Streams through the socket: what a client sees, and what Ollama sees."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from endpoints import (
    CHAT,
    ENDLESS,
    PROMPT,
    Served,
    Wire,
    fetch,
    until,
)
from real import RealOllama

_VARIES = re.compile(rb'"(created_at|id|created|\w+_duration|item_id|completed_at)":("[^"]*"|\d+)')


def same(data: bytes) -> bytes:
    """An answer without what differs between two runs of one request."""
    return _VARIES.sub(rb'"\1":0', data)


@pytest.mark.parametrize("path_", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_what_ollama_sends_chunk_by_chunk(
    server: RealOllama, served: Served, path_: str, stream: bool
) -> None:
    body = CHAT | {"stream": stream, "max_tokens": 24, "temperature": 0, "seed": 1}
    direct, through = await Wire.open(server.host), await Wire.open(served.path)
    ours = await through.ask("POST", path_, body)
    got = await through.chunks() if stream else [await through.body(ours)]
    theirs = await direct.ask("POST", path_, body)
    sent = await direct.chunks() if stream else [await direct.body(theirs)]
    assert ours.status == theirs.status == 200
    assert ours.content_type == theirs.content_type
    assert [same(chunk) for chunk in got] == [same(chunk) for chunk in sent]
    assert not stream or len(got) > 10


async def test_a_connection_takes_one_request_after_another(served: Served) -> None:
    wire = await Wire.open(served.path)
    for _ in range(2):
        head = await wire.ask("POST", "/api/chat", CHAT)
        assert json.loads((await wire.chunks())[-1])["done"]
        assert head.get(b"connection") == b""
    reply = await wire.ask("GET", "/api/version")
    assert reply.status == 200
    await wire.close()


async def test_an_http_1_0_client_gets_the_content_without_chunks(served: Served) -> None:
    wire = await Wire.open(served.path)
    head = await wire.ask("POST", "/api/chat", CHAT, version="1.0")
    lines = (await wire.rest()).splitlines()
    assert head.get(b"transfer-encoding") == b""
    assert json.loads(lines[0])["done"] is False
    assert json.loads(lines[-1])["done"] is True
    await wire.close()


async def test_tokens_come_while_ollama_generates_and_leaving_stops_it(
    server: RealOllama, served: Served
) -> None:
    answered = len(server.requests_log())
    wire = await Wire.open(served.path)
    await wire.ask("POST", "/api/chat", ENDLESS)
    assert json.loads(await wire.chunk())["done"] is False
    assert len(server.requests_log()) == answered, "the answer is not at its end"
    await wire.close()
    await until(lambda: len(server.requests_log()) > answered, 5)
    await until(lambda: served.endpoint.counts.open == 0, 1)
    assert served.endpoint.counts.cancelled == 1


async def test_leaving_before_the_first_byte_stops_ollama_too(
    server: RealOllama, served: Served
) -> None:
    answered = len(server.requests_log())
    wire = await Wire.open(served.path)
    body = json.dumps(ENDLESS | {"stream": False}).encode()
    wire.writer.write(
        b"POST /api/chat HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    wire.writer.write(body)
    await until(lambda: bool(served.host.admitted), 5)
    await asyncio.sleep(0.3)  # Ollama has begun
    await wire.close()
    await until(lambda: len(server.requests_log()) > answered, 5)


async def test_what_ollama_refuses_is_passed_on(server: RealOllama, served: Served) -> None:
    body = {"model": "nobody", "messages": PROMPT}
    for path_ in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
        ours = await fetch(served.path, "POST", path_, body | {"max_tokens": 1})
        theirs = await fetch(server.host, "POST", path_, body | {"max_tokens": 1})
        assert ours.status == theirs.status == 404
        ours_json, theirs_json = ours.json, theirs.json
        ours_json.pop("request_id", None)
        theirs_json.pop("request_id", None)
        assert ours_json == theirs_json
