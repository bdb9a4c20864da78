"""Ollama goes, or Paddock stops: each client is told in its own dialect."""

from __future__ import annotations

import asyncio
import json
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
        assert endpoint.endpoint.counts.broken == 3
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
