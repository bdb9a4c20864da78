"""What the socket does not serve, and requests that are not what they should be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from endpoints import (
    CHAT,
    ENDLESS,
    MODEL,
    Served,
    Wire,
    fetch,
    serving,
)
from paddock.endpoint.ports import EndpointLimits
from real import RealOllama


@pytest.mark.parametrize(
    ("method", "path_", "status"),
    [
        ("POST", "/api/create", 403),
        ("POST", "/api/pull", 403),
        ("POST", "/api/push", 403),
        ("POST", "/api/copy", 403),
        ("DELETE", "/api/delete", 403),
        ("POST", "/api/blobs/sha256:00", 403),
        ("HEAD", "/api/blobs/sha256:00", 403),
        ("GET", "/api/delete", 405),
        ("GET", "/api/chat", 405),
        ("POST", "/api/tags", 405),
        ("GET", "/api/nothing", 404),
        ("POST", "//api/pull", 404),
        ("POST", "/api/../api/pull", 404),
        ("POST", "/api/pull/", 404),
        ("POST", "/api/%70ull", 404),
        ("POST", "/debug/pprof", 404),
    ],
)
async def test_what_is_not_served_never_reaches_ollama(
    server: RealOllama, served: Served, method: str, path_: str, status: int
) -> None:
    with server.recorded() as requests:
        reply = await fetch(served.path, method, path_, {"model": MODEL})
    assert reply.status == status
    assert requests == []
    if method != "HEAD":
        assert list(reply.json) == ["error"]
    if status == 403 and method != "HEAD":
        assert "models.yaml" in reply.json["error"]


@pytest.mark.parametrize(
    ("path_", "kind"),
    [
        ("/api/chat", None),
        ("/v1/completions", "invalid_request_error"),
        ("/v1/messages", "invalid_request_error"),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"model":"a","MODEL":"b"}', b'{"messages":[]}', b'{"model":"\xff"}']
)
async def test_a_bad_body_is_400_in_the_dialect_of_the_path(
    served: Served, path_: str, kind: str | None, body: bytes
) -> None:
    reply = await fetch(served.path, "POST", path_, body)
    assert reply.status == 400
    error = reply.json["error"]
    assert isinstance(error, str) if kind is None else error["type"] == kind
    assert ("type" in reply.json) == (path_ == "/v1/messages")
    assert served.host.admitted == []


async def test_a_body_past_the_limit_is_413(server: RealOllama, path: Path) -> None:
    limits = EndpointLimits(max_body_bytes=1000)
    async with serving(path, server.url, limits=limits):
        big = CHAT | {"padding": "x" * 1000}
        reply = await fetch(path, "POST", "/api/chat", big)
        assert reply.status == 413
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (1500, b"x" * 1500)
        wire = await Wire.open(path)
        wire.writer.write(
            b"POST /api/chat HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        wire.writer.write(chunked)
        assert (await wire.head()).status == 413
        await wire.close()


async def test_a_body_that_does_not_come_is_408(server: RealOllama, path: Path) -> None:
    async with serving(path, server.url, limits=EndpointLimits(body_s=0.2)):
        wire = await Wire.open(path)
        wire.writer.write(b"POST /api/chat HTTP/1.1\r\nHost: p\r\nContent-Length: 9\r\n\r\n{")
        assert (await wire.head()).status == 408
        await wire.close()


async def test_a_head_that_does_not_come_is_not_waited_for(server: RealOllama, path: Path) -> None:
    async with serving(path, server.url, limits=EndpointLimits(header_s=0.2)):
        wire = await Wire.open(path)
        wire.writer.write(b"POST /api/chat HTTP/1.1\r\nHo")
        async with asyncio.timeout(5):
            assert await wire.rest() == b""
        await wire.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 garbage\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: p\r\n\r\n", 400),
        (b"POST /api/chat HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /api/chat HTTP/1.1\r\nHost: p\r\nContent-Encoding: gzip\r\n\r\n", 415),
    ],
)
async def test_what_cannot_be_read_is_told_in_one_line_of_json(
    served: Served, sent: bytes, status: int
) -> None:
    wire = await Wire.open(served.path)
    wire.writer.write(sent)
    head = await wire.head()
    error = json.loads(await wire.body(head))["error"]
    assert head.status == status
    assert error
    assert "\n" not in error


@pytest.mark.parametrize(
    "limits", [EndpointLimits(max_streams_per_user=1), EndpointLimits(max_streams=1)]
)
async def test_more_streams_than_the_limit_are_429(
    server: RealOllama, path: Path, limits: EndpointLimits
) -> None:
    async with serving(path, server.url, limits=limits):
        wire = await Wire.open(path)
        await wire.ask("POST", "/api/chat", ENDLESS)
        await wire.chunk()
        reply = await fetch(path, "POST", "/v1/chat/completions", CHAT)
        assert (reply.status, reply.json["error"]["type"]) == (429, "rate_limit_error")
        assert reply.head.get(b"retry-after") == b"1"
        await wire.close()


async def test_curl_is_told_to_go_on_with_a_large_body(served: Served) -> None:
    wire = await Wire.open(served.path)
    body = json.dumps(CHAT | {"stream": False}).encode()
    head = (
        b"POST /api/chat HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    wire.writer.write(head % len(body))
    assert (await wire.head()).status == 100
    wire.writer.write(body)
    assert (await wire.head()).status == 200
    await wire.close()
