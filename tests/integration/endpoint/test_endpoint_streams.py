"""Streams through the socket: what a client sees, and what Ollama sees."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from endpoints import (
    ADD,
    CALLER,
    CHAT,
    ENDLESS,
    MODEL,
    OPTIONS,
    PROMPT,
    TOOL,
    VECTORS,
    Served,
    Wire,
    add_talents,
    fetch,
    until,
)
from paddock.endpoint.framing import Head
from paddock.endpoint.routes import SSE_STREAMS, STREAMS
from real import RealOllama

_KEYS = rb"created_at|id|created|\w+_duration|item_id|completed_at|call_id|prompt_eval_cached_count"
_VARIES = re.compile(rb'"(' + _KEYS + rb')":("[^"]*"|\d+)')


@pytest.fixture(scope="module", autouse=True)
def talents(server: RealOllama) -> None:
    """Models that can do what is asked for."""
    add_talents(server)


def same(data: bytes) -> bytes:
    """An answer without what differs between two runs of one request."""
    return _VARIES.sub(rb'"\1":0', data)


TEXT = {"model": MODEL, "prompt": "Count from one to ten.", "options": OPTIONS}
SAMPLING = {"max_tokens": 24, "max_output_tokens": 24, "temperature": 0, "seed": 1}
CALL = {"model": CALLER, "messages": ADD, "options": OPTIONS}
TOOL_OF_ANTHROPIC = {"name": "add", "description": "", "input_schema": {"type": "object"}}
# A body for each route that streams, and those whose answers are whole.
BODIES: dict[str, dict[str, Any]] = {
    "/api/chat": CHAT,
    "/api/generate": TEXT,
    "/v1/chat/completions": CHAT | SAMPLING,
    "/v1/completions": TEXT | SAMPLING,
    "/v1/responses": {"model": MODEL, "input": "Count from one to ten."} | SAMPLING,
    "/v1/messages": CHAT | SAMPLING,
}
WHOLE: dict[str, dict[str, Any]] = {
    "/api/embed": {"model": VECTORS, "input": ["one", "two"]},
    "/api/embeddings": {"model": VECTORS, "prompt": "one"},
    "/v1/embeddings": {"model": VECTORS, "input": "one"},
}
TOOLS: dict[str, dict[str, Any]] = {
    "/api/chat": CALL | {"tools": [TOOL]},
    "/v1/chat/completions": CALL | SAMPLING | {"tools": [TOOL]},
    "/v1/messages": CALL | SAMPLING | {"tools": [TOOL_OF_ANTHROPIC]},
}


def test_every_route_that_streams_is_tried_here() -> None:
    assert {*BODIES, *WHOLE} == STREAMS
    assert set(BODIES) - {"/api/chat", "/api/generate"} == SSE_STREAMS


@pytest.mark.parametrize("path_", WHOLE)
async def test_vectors_are_what_ollama_sends(
    server: RealOllama, served: Served, path_: str
) -> None:
    await check_same(server, served, path_, WHOLE[path_])


@pytest.mark.parametrize("path_", TOOLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_of_a_tool_is_what_ollama_sends(
    server: RealOllama, served: Served, path_: str, stream: bool
) -> None:
    got = await check_same(server, served, path_, TOOLS[path_] | {"stream": stream})
    assert b'"name":"add"' in b"".join(got)


@pytest.mark.parametrize("path_", BODIES)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_what_ollama_sends_chunk_by_chunk(
    server: RealOllama, served: Served, path_: str, stream: bool
) -> None:
    got = await check_same(server, served, path_, BODIES[path_] | {"stream": stream})
    assert not stream or len(got) > 10


async def check_same(
    server: RealOllama, served: Served, path_: str, body: dict[str, Any]
) -> list[bytes]:
    """Asks both ways, and compares what came, chunk by chunk where it came in chunks."""
    await fetch(server.host, "POST", path_, body)  # the first answer to a prompt may differ
    direct, through = await Wire.open(server.host), await Wire.open(served.path)
    ours = await through.ask("POST", path_, body)
    got = await _pieces(through, ours)
    theirs = await direct.ask("POST", path_, body)
    sent = await _pieces(direct, theirs)
    assert ours.status == theirs.status == 200, got
    assert _told(ours) == _told(theirs)
    assert [same(chunk) for chunk in got] == [same(chunk) for chunk in sent]
    return got


async def _pieces(wire: Wire, head: Head) -> list[bytes]:
    if head.get(b"transfer-encoding") == b"chunked":
        return await wire.chunks()
    return [await wire.body(head)]


def _told(head: Head) -> list[tuple[bytes, bytes]]:
    """The headers, but for the time, for a length that varies with it, and for the connection."""
    mine = {b"date", b"content-length", b"connection"}
    return sorted((n.lower(), v) for n, v in head.headers if n.lower() not in mine)


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
