"""Admission: the file's word on a model holds for every request through the socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import httpx2
import ollama as sdk
import openai
import pydantic
import pytest

from endpoints import (
    CHAT,
    ENDLESS,
    MODEL,
    Served,
    Wire,
    fetch,
    until,
)
from paddock.core.desired import Bounds
from paddock.core.keep_alive import FOREVER, KeepAlive
from real import RealOllama


async def test_the_keep_alive_of_the_file_is_put_in(server: RealOllama, served: Served) -> None:
    served.host.keep_alive = FOREVER
    await fetch(served.path, "POST", "/api/chat", CHAT)
    await until(lambda: _years_left(server) > 200, 5)  # ps shows it a moment after the answer
    served.host.keep_alive = KeepAlive(600.0)
    await fetch(served.path, "POST", "/api/chat", CHAT)
    await until(lambda: _years_left(server) <= 1, 5)


async def test_a_client_cannot_unload_a_pinned_model(server: RealOllama, served: Served) -> None:
    served.host.keep_alive, served.host.clients = FOREVER, "deny"
    unload = b'{"model":"smol","Keep_Alive":0}'
    reply = await fetch(served.path, "POST", "/api/generate", unload)
    assert reply.json["done_reason"] == "load"
    await until(lambda: _years_left(server) > 200, 5)


async def test_a_client_that_may_gives_its_own_keep_alive(
    server: RealOllama, served: Served
) -> None:
    served.host.keep_alive = FOREVER
    reply = await fetch(served.path, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0})
    assert reply.json["done_reason"] == "unload"
    await until(lambda: not server.ps(), 10)


@pytest.mark.parametrize(
    ("path_", "message"),
    [
        ("/api/chat", lambda body: body["error"]),
        ("/v1/chat/completions", lambda body: body["error"]["message"]),
        ("/v1/messages", lambda body: body["error"]["message"]),
    ],
)
async def test_a_model_that_is_being_made_is_503_and_ollama_is_not_asked(
    server: RealOllama, served: Served, path_: str, message: Callable[[Any], str]
) -> None:
    served.host.verdict = "not_ready"
    with server.recorded() as requests:
        reply = await fetch(served.path, "POST", path_, CHAT)
    assert (reply.status, reply.head.get(b"retry-after")) == (503, b"7")
    assert message(reply.json) == "model 'smol' is being made (SourceHashing)"
    assert requests == []


async def test_a_model_that_does_not_exist_is_404(served: Served) -> None:
    served.host.verdict = "not_found"
    reply = await fetch(served.path, "POST", "/v1/chat/completions", CHAT)
    assert (reply.status, reply.json["error"]["type"]) == (404, "not_found_error")


async def test_a_clients_time_is_held_within_bounds(server: RealOllama, served: Served) -> None:
    """ps tells which keep_alive Ollama was given: this year, in a century, or never."""
    century = KeepAlive(36500 * 86400.0)
    served.host.keep_alive, served.host.clients = FOREVER, Bounds(most=century)
    for asked, years in (({"keep_alive": -1}, 100), ({}, 292), ({"keep_alive": 60}, 0)):
        await fetch(served.path, "POST", "/api/chat", CHAT | asked)
        await until(lambda years=years: abs(_years_left(server) - years) <= 1, 5)  # type: ignore[misc]
    served.host.clients = Bounds(least=century)
    await fetch(served.path, "POST", "/api/generate", {"model": MODEL, "keep_alive": 0})
    await until(lambda: abs(_years_left(server) - 100) <= 1, 5)
    reply = await fetch(served.path, "POST", "/api/chat", CHAT | {"keep_alive": "soon"})
    assert (reply.status, "keep_alive" in reply.json["error"]) == (400, True)


def _years_left(server: RealOllama) -> int:
    expires_at = server.ps()[f"{MODEL}:latest"]["expires_at"]
    return int(expires_at[:4]) - datetime.now(UTC).year


async def test_only_uses_without_a_keep_alive_of_their_own_are_looked_at_after(
    served: Served,
) -> None:
    for path_ in ("/api/chat", "/api/generate", "/v1/chat/completions", "/v1/messages"):
        await fetch(served.path, "POST", path_, CHAT | {"max_tokens": 2})
    assert served.host.uses == [MODEL, MODEL]


async def test_a_use_that_its_client_left_is_looked_at_too(served: Served) -> None:
    wire = await Wire.open(served.path)
    await wire.ask("POST", "/v1/chat/completions", ENDLESS | {"stream": True})
    await wire.chunk()
    assert served.host.uses == []
    await wire.close()
    await until(lambda: served.host.uses == [MODEL], 5)


# --- waiting


STREAM = CHAT | {"stream": True, "max_tokens": 4}


async def test_a_stream_of_events_tells_who_waits_how_far_the_model_is(served: Served) -> None:
    served.host.verdict, served.host.message = "not_ready", "smol: 1 of\n2 GB"
    wire = await Wire.open(served.path)
    asked = asyncio.create_task(wire.ask("POST", "/v1/chat/completions?wait=60", STREAM))
    head = await asked
    assert (head.status, head.content_type) == (200, "text/event-stream")
    assert await wire.chunk() == b": smol: 1 of 2 GB\n\n"
    served.host.message = "smol: 2 of 2 GB"
    served.host.happen("smol")
    assert await wire.chunk() == b": smol: 2 of 2 GB\n\n"
    served.host.verdict = "serve"
    served.host.happen("smol")
    rest = await wire.chunks()
    assert json.loads(rest[0].removeprefix(b"data: "))["choices"]
    assert rest[-1].endswith(b"data: [DONE]\n\n")
    again = await wire.ask("POST", "/v1/chat/completions", STREAM)
    assert again.status == 200
    assert served.endpoint.counts.finished == 1


@pytest.mark.parametrize(
    ("path_", "body"),
    [
        ("/api/chat", STREAM),
        ("/api/generate", {"model": MODEL, "prompt": "hi", "stream": True}),
        ("/v1/chat/completions", STREAM | {"stream": False}),
        ("/v1/embeddings", {"model": MODEL, "input": "hi", "stream": True}),
    ],
)
async def test_where_a_line_would_break_the_answer_nothing_is_sent_before_it(
    served: Served, path_: str, body: dict[str, Any]
) -> None:
    """So that the status, should it be in vain, can still be told."""
    served.host.verdict = "not_ready"
    reply = await fetch(served.path, "POST", f"{path_}?wait=1.5", body)
    assert (reply.status, reply.head.get(b"retry-after")) == (503, b"7")


async def test_who_is_served_within_a_second_sees_what_ollama_sends(served: Served) -> None:
    served.host.verdict = "not_ready"
    waiting = asyncio.create_task(
        fetch(served.path, "POST", "/v1/chat/completions?wait=60", STREAM)
    )
    await until(lambda: len(served.host.admitted) >= 2, 5)
    served.host.verdict = "serve"
    served.host.happen("smol")
    assert (await waiting).body.startswith(b"data: ")


@pytest.mark.parametrize("path_", ["/v1/chat/completions", "/v1/messages"])
async def test_a_wait_in_vain_ends_with_an_error_as_a_record(served: Served, path_: str) -> None:
    served.host.verdict = "not_ready"
    wire = await Wire.open(served.path)
    assert (await wire.ask("POST", f"{path_}?wait=1.5", STREAM)).status == 200
    *lines, record = await wire.chunks()
    assert [line[:2] for line in lines] == [b": "]
    event, _, data = record.rpartition(b"data: ")
    assert event == (b"event: error\n" if path_ == "/v1/messages" else b"")
    error = json.loads(data)["error"]
    assert error["message"] == "model 'smol' is being made (SourceHashing)"
    assert error.get("code", "model_not_ready") == "model_not_ready"
    assert (await wire.ask("GET", "/api/version")).status == 200


async def test_a_stop_during_a_wait_is_told_in_the_stream(served: Served) -> None:
    served.host.verdict = "not_ready"
    wire = await Wire.open(served.path)
    await wire.ask("POST", "/v1/messages?wait=60", STREAM)
    assert (await wire.chunk()).startswith(b": ")
    await served.endpoint.stop(30)
    *_, record = await wire.chunks()
    assert b"paddock is stopping" in record
    assert record.startswith(b"event: error\ndata: ")


async def test_what_ollama_refuses_after_a_wait_is_a_record_in_its_own_words(
    server: RealOllama, served: Served
) -> None:
    body = STREAM | {"model": "nobody"}
    served.host.verdict = "not_ready"
    wire = await Wire.open(served.path)
    await wire.ask("POST", "/v1/chat/completions?wait=60", body)
    assert (await wire.chunk()).startswith(b": ")
    served.host.verdict = "serve"
    served.host.happen("smol")
    (record,) = await wire.chunks()
    direct = await fetch(server.host, "POST", "/v1/chat/completions", body)
    assert json.loads(record.removeprefix(b"data: ")) == direct.json
    assert served.endpoint.counts.open == 0


async def test_the_libraries_pass_over_the_lines_of_a_wait(served: Served) -> None:
    served.host.verdict = "not_ready"
    transport = httpx2.AsyncHTTPTransport(uds=str(served.path))
    http = httpx2.AsyncClient(transport=transport, trust_env=False)
    async with openai.AsyncOpenAI(
        base_url="http://p/v1", api_key="x", http_client=http, max_retries=0
    ) as client:
        create: Any = client.chat.completions.create
        stream = await create(**STREAM_OF_SDK, extra_query={"wait": "60"})
        served.host.verdict = "serve"
        served.host.happen("smol")
        parts = [part async for part in stream]
        assert parts[-1].choices[0].finish_reason
        served.host.verdict = "not_ready"
        stream = await create(**STREAM_OF_SDK, extra_headers={"Paddock-Wait": "1.5"})
        with pytest.raises(openai.APIError, match="is being made"):
            [part async for part in stream]


STREAM_OF_SDK: dict[str, Any] = {
    "model": MODEL, "messages": CHAT["messages"], "stream": True, "max_tokens": 4
}  # fmt: skip


@pytest.mark.parametrize("line", [b"\n", b'{"status":"hashing"}\n', b": hashing\n"])
def test_the_ollama_library_takes_no_line_that_is_no_part_of_an_answer(line: bytes) -> None:
    """Why nothing is said in that dialect: this is what its reader makes of such a line."""
    answer = httpx.Response(200, content=line)
    transport = httpx.MockTransport(lambda _: answer)
    client = sdk.Client(host="http://p", transport=transport, trust_env=False)
    with client._client, pytest.raises((json.JSONDecodeError, pydantic.ValidationError)):
        list(client.chat(model=MODEL, messages=[], stream=True))


# --- what is mended soon is waited for unasked


async def test_a_link_that_is_being_mended_is_waited_for_unasked(served: Served) -> None:
    served.host.verdict, served.host.mending_s = "not_ready", 30
    waiting = asyncio.create_task(fetch(served.path, "POST", "/api/chat", CHAT))
    await until(lambda: len(served.host.admitted) >= 2, 5)
    served.host.verdict = "serve"
    served.host.happen("smol")
    assert (await waiting).status == 200


async def test_a_link_that_is_not_mended_soon_is_503(served: Served) -> None:
    served.host.verdict, served.host.mending_s = "not_ready", 1.2
    reply = await fetch(served.path, "POST", "/v1/chat/completions", STREAM)
    assert reply.status == 503, "nothing was written meanwhile"
