"""What goes on to Ollama of a request's head, and what comes back of an answer's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from endpoints import CHAT, MODEL, Served, Wire, fetch, serving
from real import RealOllama
from tap import Tap, tapped

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Between(NamedTuple):
    """An endpoint, and a tap between it and Ollama."""

    served: Served
    tap: Tap


@pytest.fixture
async def between(server: RealOllama, path: Path) -> AsyncIterator[Between]:
    async with tapped(server.host) as tap, serving(path, tap.url) as served:
        yield Between(served, tap)
        await Wire.close_all()


async def test_ollama_gets_what_a_client_says_of_its_request(between: Between) -> None:
    headers = (
        f"traceparent: {TRACE}",
        "tracestate: a=b",
        "Authorization: Bearer secret",
        "User-Agent: mine/1.0",
        "Accept: text/event-stream",
        "X-Mine: one",
        "X-Mine: two",
    )
    await fetch(between.served.path, "POST", "/api/chat?a=b&wait=5", CHAT, *headers)
    (head,) = between.tap.heads
    for line in headers:
        name, _, value = line.partition(": ")
        assert value in head[name.lower()]
    assert head["x-mine"] == ["one", "two"]
    assert between.tap.lines == ["POST /api/chat?a=b HTTP/1.1"]


async def test_what_is_for_one_connection_stays_on_it(between: Between) -> None:
    headers = (
        "Connection: X-Hop, keep-alive",
        "Connection: X-Other",
        "X-Hop: 1",
        "X-Other: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Authorization: Basic x",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Upgrade: h2c",
        "Accept-Encoding: gzip",
        "Prefer: wait=3",
        "Paddock-Wait: 3",
        "Expect: 100-continue",
    )
    wire = await Wire.open(between.served.path)
    head = await wire.ask("POST", "/api/chat", CHAT, *headers)
    assert head.status == 100
    assert (await wire.head()).status == 200
    await wire.chunks()
    (head_there,) = between.tap.heads
    kept = {"host", "content-length", "via"}
    assert set(head_there) == kept
    assert head_there["host"] == [between.tap.url.removeprefix("http://")]


async def test_nobody_tells_ollama_an_address_that_it_made_up(
    server: RealOllama, between: Between
) -> None:
    """Ollama writes what it is told into its log."""
    made_up = [
        f"{name}: 192.0.2.77"
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Forwarded-Host")
    ]
    await fetch(between.served.path, "GET", "/api/version", b"", *made_up)
    (head,) = between.tap.heads
    assert not {name for name in head if "forward" in name or "real" in name}
    assert "192.0.2.77" not in server.log_text()


@pytest.mark.parametrize(
    ("came", "sent"),
    [
        ((), "1.1 paddock"),
        (("Via: 1.0 a, 1.1 b", "Via: 1.1 c"), "1.0 a, 1.1 b, 1.1 c, 1.1 paddock"),
    ],
)
async def test_via_tells_the_way_and_ours_is_the_last_part(
    between: Between, came: tuple[str, ...], sent: str
) -> None:
    await fetch(between.served.path, "POST", "/api/show", {"model": MODEL}, *came)
    assert between.tap.heads[0]["via"] == [sent]


async def test_an_answer_tells_of_nobody_between(server: RealOllama, served: Served) -> None:
    for method, path_, body in (("POST", "/api/chat", CHAT), ("GET", "/api/version", b"")):
        ours = await fetch(served.path, method, path_, body)
        theirs = await fetch(server.host, method, path_, body)
        names = [{name.lower() for name, _ in reply.head.headers} for reply in (ours, theirs)]
        assert names[0] == names[1]


async def test_bytes_that_are_no_text_pass_in_a_header(between: Between) -> None:
    wire = await Wire.open(between.served.path)
    wire.writer.write(
        b"GET /api/version HTTP/1.1\r\nHost: p\r\nX-Mine: \xff\xfe\r\nConnection: \xff\r\n\r\n"
    )
    assert (await wire.head()).status == 200
    assert between.tap.heads[0]["x-mine"] == ["\xff\xfe"]


async def test_each_request_has_its_own_length_whatever_came(between: Between) -> None:
    """The body is written anew, so that one in chunks has a length."""
    wire = await Wire.open(between.served.path)
    body = json.dumps({"model": MODEL}).encode()
    wire.writer.write(
        b"POST /api/show HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(body), body)
    )
    head = await wire.head()
    assert head.status == 200
    await wire.body(head)
    (there,) = between.tap.heads
    assert "transfer-encoding" not in there
    assert "x-trailer" not in there
    assert int(there["content-length"][0]) > 0
