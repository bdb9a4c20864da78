"""Ollama goes, or Paddock stops: each client is told in its own dialect."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from endpoints import (
    CHAT,
    ENDLESS,
    MODEL,
    MODELFILE,
    Wire,
    fetch,
    serving,
    until,
)
from paddock.endpoint.ports import EndpointLimits
from paddock.endpoint.routes import SSE_STREAMS
from real import RealOllama, StartOllama


async def test_an_ollama_that_is_not_there_is_502_in_each_dialect(path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with serving(path, f"http://127.0.0.1:{closed.getsockname()[1]}"):
            chat = await fetch(path, "POST", "/api/chat", CHAT)
            tags = await fetch(path, "GET", "/api/tags")
            openai = await fetch(path, "POST", "/v1/responses", CHAT)
            anthropic = await fetch(path, "POST", "/v1/messages", CHAT)
    assert {chat.status, tags.status, openai.status, anthropic.status} == {502}
    assert "cannot be reached: " in chat.json["error"]
    assert openai.json["error"] == {
        "message": chat.json["error"],
        "type": "api_error",
        "param": None,
        "code": None,
    }
    told = anthropic.json
    assert told.pop("request_id").startswith("req_")
    assert told == {
        "type": "error",
        "error": {"type": "api_error", "message": chat.json["error"]},
    }


async def test_an_ollama_that_dies_in_mid_stream_is_told_in_the_stream(
    start_ollama: StartOllama, path: Path
) -> None:
    own = start_ollama(OLLAMA_NUM_PARALLEL="4")
    own.create_from_gguf(MODEL, modelfile_lines=MODELFILE)
    own.generate(MODEL)
    async with serving(path, own.url) as endpoint:
        wires = {}
        for path_ in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
            wires[path_] = await Wire.open(path)
            await wires[path_].ask("POST", path_, ENDLESS | {"stream": True})
            await wires[path_].chunk()
        whole = await Wire.open(path)
        whole.writer.write(
            b"POST /api/chat HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body := json.dumps(ENDLESS | {"stream": False}).encode()), body)
        )
        await until(lambda: len(endpoint.host.admitted) == 4, 5)
        own.kill()
        last = {path_: (await wire.chunks())[-1] for path_, wire in wires.items()}
        assert (await whole.head()).status == 502
        await until(lambda: endpoint.endpoint.counts.broken == 3, 5)
        for wire in (*wires.values(), whole):
            await wire.close()
    message = "ollama closed the connection before its answer was whole"
    assert json.loads(last["/api/chat"]) == {"error": message}
    assert last["/api/chat"].endswith(b"\n")
    data = last["/v1/chat/completions"].removeprefix(b"data: ").removesuffix(b"\n\n")
    assert json.loads(data)["error"]["message"] == message
    event, _, data = last["/v1/messages"].removesuffix(b"\n\n").partition(b"\ndata: ")
    assert event == b"event: error"
    assert json.loads(data)["error"]["message"] == message


def runner_of(server: RealOllama) -> int:
    """The process that computes, a child of Ollama's."""
    tasks = list(Path(f"/proc/{server.pid}/task").iterdir())
    found = {pid for task in tasks for pid in (task / "children").read_text().split()}
    (runner,) = found
    return int(runner)


@pytest.fixture
def private(start_ollama: StartOllama) -> RealOllama:
    """A server whose runner a test may harm."""
    own = start_ollama(OLLAMA_NUM_PARALLEL="4")
    own.create_from_gguf(MODEL, modelfile_lines=MODELFILE)
    own.generate(MODEL)
    return own


@pytest.mark.parametrize("path_", ["/api/chat", "/api/generate", *sorted(SSE_STREAMS)])
async def test_a_runner_that_dies_in_mid_stream_is_told_in_the_stream(
    private: RealOllama, path: Path, path_: str
) -> None:
    """Under /v1 Ollama says nothing, and ends the answer as if it were whole."""
    async with serving(path, private.url):
        wire = await Wire.open(path)
        text = "Count: 1 2 3 4 5 6 7 8 9 10"
        more = {"stream": True, "prompt": text, "input": text, "max_output_tokens": 3000}
        await wire.ask("POST", path_, ENDLESS | more)
        for _ in range(8):
            await wire.chunk()
        os.kill(runner_of(private), signal.SIGKILL)
        async with asyncio.timeout(10):
            last = (await wire.chunks())[-1]
        assert b"error" in last
        assert (await wire.ask("GET", "/api/version")).status == 200


async def test_a_runner_that_stalls_is_given_up_with_a_record(
    private: RealOllama, path: Path
) -> None:
    async with serving(path, private.url, limits=EndpointLimits(upstream_idle_s=1.0)) as served:
        wires = {}
        for path_ in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
            wires[path_] = await Wire.open(path)
            await wires[path_].ask("POST", path_, ENDLESS | {"stream": True})
            await wires[path_].chunk()
        os.kill(runner := runner_of(private), signal.SIGSTOP)
        try:
            for path_, wire in wires.items():
                async with asyncio.timeout(10):
                    last = (await wire.chunks())[-1]
                assert b"ollama sent nothing for 1 s" in last, path_
        finally:
            os.kill(runner, signal.SIGCONT)
        assert served.endpoint.counts.broken == 3
        assert served.endpoint.counts.failures == 3


async def test_an_answer_that_never_begins_is_504(private: RealOllama, path: Path) -> None:
    os.kill(runner := runner_of(private), signal.SIGSTOP)
    try:
        async with serving(path, private.url, limits=EndpointLimits(first_answer_s=0.5)):
            for path_ in ("/api/chat", "/v1/responses"):
                body = CHAT | {"input": "hi", "stream": False}
                reply = await fetch(path, "POST", path_, body)
                assert reply.status == 504
                assert "did not answer within 0.5 s" in json.dumps(reply.json)
    finally:
        os.kill(runner, signal.SIGCONT)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0" * 70_000,
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
    ids=lambda sent: repr(sent[:40]),
)
async def test_what_is_no_ollama_at_all_is_502(path: Path, garbage: bytes) -> None:
    """Another program has the port: what it says is not passed on as an answer."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(garbage)
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, serving(path, f"http://127.0.0.1:{port}"):
        for path_ in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
            reply = await fetch(path, "POST", path_, CHAT)
            assert reply.status == 502
            assert reply.json["error"]
        assert (await fetch(path, "GET", "/api/tags")).status == 502


async def test_stop_lets_a_stream_end_and_takes_no_more(server: RealOllama, path: Path) -> None:
    async with serving(path, server.url) as served:
        wire = await Wire.open(path)
        idle = await Wire.open(path)
        await wire.ask("POST", "/api/chat", CHAT)
        stop = asyncio.create_task(served.endpoint.stop(30))
        await asyncio.sleep(0)
        lines = await wire.chunks()
        await stop
        assert json.loads(lines[-1])["done"] is True
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await Wire.open(path)
        assert served.endpoint.counts.finished == 1
        await wire.close()
        await idle.close()


async def test_stop_ends_what_is_left_with_an_error_record(server: RealOllama, path: Path) -> None:
    async with serving(path, server.url) as served:
        answered = len(server.requests_log())
        wire, waiting = await Wire.open(path), await Wire.open(path)
        await wire.ask("POST", "/api/chat", ENDLESS)
        await wire.chunk()
        body = json.dumps(ENDLESS | {"stream": False}).encode()
        waiting.writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        waiting.writer.write(body)
        await until(lambda: len(served.host.admitted) == 2, 5)
        await served.endpoint.stop(0.1)
        assert json.loads((await wire.chunks())[-1]) == {"error": "paddock is stopping"}
        assert (await waiting.head()).status == 502
        await until(lambda: len(server.requests_log()) >= answered + 1, 5)
        await wire.close()
        await waiting.close()
