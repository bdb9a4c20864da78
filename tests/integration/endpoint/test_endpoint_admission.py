"""Admission: the file's word on a model holds for every request through the socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from endpoints import (
    CHAT,
    MODEL,
    Served,
    fetch,
    until,
)
from real import RealOllama


async def test_the_keep_alive_of_the_file_is_put_in(server: RealOllama, served: Served) -> None:
    served.host.keep_alive = -1
    await fetch(served.path, "POST", "/api/chat", CHAT)
    assert server.ps()[f"{MODEL}:latest"]["expires_at"] > "2200"
    served.host.keep_alive = 600
    await fetch(served.path, "POST", "/api/chat", CHAT)
    assert server.ps()[f"{MODEL}:latest"]["expires_at"] < "2200"


async def test_a_client_cannot_unload_a_pinned_model(server: RealOllama, served: Served) -> None:
    served.host.keep_alive, served.host.client_keep_alive_allowed = -1, False
    unload = b'{"model":"smol","Keep_Alive":0}'
    reply = await fetch(served.path, "POST", "/api/generate", unload)
    assert reply.json["done_reason"] == "load"
    assert server.ps()[f"{MODEL}:latest"]["expires_at"] > "2200"


async def test_a_client_that_may_gives_its_own_keep_alive(
    server: RealOllama, served: Served
) -> None:
    served.host.keep_alive = -1
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
