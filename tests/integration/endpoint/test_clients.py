"""Real clients over the socket: curl, the Ollama library and the OpenAI library.

Each call is made to Ollama directly and through the socket, with a Unix-socket transport and
nothing else, and both outcomes must be one: an answer, its parts, or an error with its words.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import ollama as sdk
import openai
import pytest
from pydantic import BaseModel

from endpoints import (
    ADD,
    CALLER,
    MODEL,
    OPTIONS,
    PROMPT,
    TOOL,
    VECTORS,
    Served,
    add_talents,
)
from real import RealOllama

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "enum": ["Ada", "Alan"]}},
    "required": ["name"],
}
VARIES = {"created_at", "created", "completed_at", "id", "item_id", "call_id"}
SAMPLING: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 24}
OPENAI_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}

# What each client is asked; the small model has no tools and no embeddings: an error is one too.
CALL: dict[str, Any] = {"model": CALLER, "messages": ADD, "tools": [TOOL]}
CHAT: dict[str, Any] = {"model": MODEL, "messages": PROMPT, "options": OPTIONS}
OLLAMA_CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat", CHAT),
    "streaming": ("chat", CHAT | {"stream": True}),
    "generate": ("generate", {"model": MODEL, "prompt": "Say hello.", "options": OPTIONS}),
    "generate streaming": (
        "generate",
        {"model": MODEL, "prompt": "Say hello.", "options": OPTIONS, "stream": True},
    ),
    "tools": ("chat", CALL | {"options": OPTIONS}),
    "tools streaming": ("chat", CALL | {"options": OPTIONS, "stream": True}),
    "embeddings": ("embed", {"model": VECTORS, "input": ["one", "two"]}),
    "older embeddings": ("embeddings", {"model": VECTORS, "prompt": "one"}),
    "schema": ("chat", CHAT | {"format": SCHEMA}),
    "schema streaming": ("chat", CHAT | {"format": SCHEMA, "stream": True}),
    "no tools": ("chat", CHAT | {"tools": [TOOL]}),
    "no embeddings": ("embed", {"model": MODEL, "input": ["one", "two"]}),
    "absent model": ("chat", CHAT | {"model": "nobody"}),
}
COMPLETION: dict[str, Any] = {"model": MODEL, "messages": PROMPT} | SAMPLING
RESPONSE: dict[str, Any] = {
    "model": MODEL, "input": "Count.", "temperature": 0, "max_output_tokens": 24
}  # fmt: skip
OPENAI_CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat.completions", COMPLETION),
    "streaming": (
        "chat.completions",
        COMPLETION | {"stream": True, "stream_options": {"include_usage": True}},
    ),
    "completion": ("completions", {"model": MODEL, "prompt": "Say hello."} | SAMPLING),
    "completion streaming": (
        "completions",
        {"model": MODEL, "prompt": "Say hello.", "stream": True} | SAMPLING,
    ),
    "tools": ("chat.completions", CALL | SAMPLING),
    "tools streaming": ("chat.completions", CALL | SAMPLING | {"stream": True}),
    "embeddings": ("embeddings", {"model": VECTORS, "input": ["one", "two"]}),
    "schema": ("chat.completions", COMPLETION | {"response_format": OPENAI_SCHEMA}),
    "schema streaming": (
        "chat.completions",
        COMPLETION | {"response_format": OPENAI_SCHEMA, "stream": True},
    ),
    "response": ("responses", RESPONSE),
    "response streaming": ("responses", RESPONSE | {"stream": True}),
    "response with a schema": (
        "responses",
        RESPONSE | {"text": {"format": {"type": "json_schema", "name": "p", "schema": SCHEMA}}},
    ),
    "no tools": ("chat.completions", COMPLETION | {"tools": [TOOL]}),
    "no embeddings": ("embeddings", {"model": MODEL, "input": ["one", "two"]}),
    "no response": ("responses", RESPONSE | {"model": "nobody"}),
    "absent model": ("chat.completions", COMPLETION | {"model": "nobody"}),
}
REFUSED = {"no tools", "no embeddings", "no response", "absent model"}


@pytest.fixture(scope="module", autouse=True)
def talents(server: RealOllama) -> None:
    """Models that can do what is asked for."""
    add_talents(server)


Ask = Callable[[], Awaitable[Any]]


def plain(value: Any) -> Any:
    """An answer as JSON, without what differs between two runs of one request."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not _varies(key)}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _varies(key: str) -> bool:
    return key in VARIES or key.endswith("_duration")


async def check_same(name: str, direct: Ask, through: Ask) -> Any:
    """Makes the call both ways and compares what became of it."""
    await _outcome(direct)  # the first answer to a prompt may differ from those after it
    expected, found = await _outcome(direct), await _outcome(through)
    assert found == expected
    assert found["answered"] == (name not in REFUSED)
    if name.startswith("tools"):
        assert '"name": "add"' in json.dumps(found["answer"]), "the tool was called"
    return found


async def _outcome(ask: Ask) -> dict[str, Any]:
    try:
        return {"answered": True, "answer": plain(await ask())}
    except (sdk.ResponseError, openai.APIStatusError) as error:
        return {"answered": False, "status": error.status_code, "error": str(error)}


# --- curl


def curl(*arguments: str, path: str, body: dict[str, Any]) -> Ask:
    """Asks by curl; an answer that is not 200 is an error, as a library makes of it."""

    async def ask() -> Any:
        process = await asyncio.create_subprocess_exec(
            "curl", "-sSN", "-w", "\n%{http_code}", "-d", json.dumps(body), *arguments[:-1],
            f"{arguments[-1]}{path}", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0
        *lines, status = out.decode().splitlines()
        if status != "200":
            raise sdk.ResponseError("\n".join(lines), int(status))
        return [json.loads(line) for line in lines if line]

    return ask


@pytest.mark.parametrize("name", OLLAMA_CALLS)
async def test_curl_gets_what_ollama_answers(server: RealOllama, served: Served, name: str) -> None:
    method, body = OLLAMA_CALLS[name]
    body = {"stream": False} | body
    direct = curl(server.url, path=f"/api/{method}", body=body)
    socket = ("--unix-socket", str(served.path), "http://localhost")
    found = await check_same(name, direct, curl(*socket, path=f"/api/{method}", body=body))
    if name == "streaming":
        assert len(found["answer"]) > 10


# --- the Ollama library


def unix_client(path: Path) -> sdk.Client:
    transport = httpx.HTTPTransport(uds=str(path))
    return sdk.Client(host="http://localhost", transport=transport, trust_env=False)


def unix_async_client(path: Path) -> sdk.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    return sdk.AsyncClient(host="http://localhost", transport=transport, trust_env=False)


@pytest.mark.parametrize("name", OLLAMA_CALLS)
async def test_the_ollama_library_gets_what_ollama_answers(
    server: RealOllama, served: Served, name: str
) -> None:
    method, arguments = OLLAMA_CALLS[name]

    def ask(client: sdk.Client) -> Ask:
        def call() -> Any:
            answer = getattr(client, method)(**arguments)
            return list(answer) if arguments.get("stream") else answer

        return lambda: asyncio.to_thread(call)

    direct, through = sdk.Client(host=server.url, trust_env=False), unix_client(served.path)
    try:
        found = await check_same(name, ask(direct), ask(through))
    finally:
        direct._client.close()
        through._client.close()
    if name == "schema":
        assert json.loads(found["answer"]["message"]["content"])["name"] in {"Ada", "Alan"}


@pytest.mark.parametrize("name", OLLAMA_CALLS)
async def test_the_async_ollama_library_gets_what_ollama_answers(
    server: RealOllama, served: Served, name: str
) -> None:
    method, arguments = OLLAMA_CALLS[name]

    def ask(client: sdk.AsyncClient) -> Ask:
        async def call() -> Any:
            answer = await getattr(client, method)(**arguments)
            return [part async for part in answer] if arguments.get("stream") else answer

        return call

    direct = sdk.AsyncClient(host=server.url, trust_env=False)
    through = unix_async_client(served.path)
    try:
        found = await check_same(name, ask(direct), ask(through))
    finally:
        await direct._client.aclose()
        await through._client.aclose()
    if name == "streaming":
        assert len(found["answer"]) > 10


# --- the OpenAI library


def openai_client(url: str, path: Path | None = None) -> openai.AsyncOpenAI:
    transport = None if path is None else httpx2.AsyncHTTPTransport(uds=str(path))
    http = httpx2.AsyncClient(transport=transport, trust_env=False)
    return openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="ollama", http_client=http, max_retries=0
    )


@pytest.fixture
async def openai_clients(
    server: RealOllama, served: Served
) -> AsyncIterator[tuple[openai.AsyncOpenAI, openai.AsyncOpenAI]]:
    """One that asks Ollama, and one that asks the socket."""
    direct, through = openai_client(server.url), openai_client("http://localhost", served.path)
    async with direct, through:
        yield direct, through


@pytest.mark.parametrize("name", OPENAI_CALLS)
async def test_the_openai_library_gets_what_ollama_answers(
    openai_clients: tuple[openai.AsyncOpenAI, openai.AsyncOpenAI], name: str
) -> None:
    kind, arguments = OPENAI_CALLS[name]

    def ask(client: openai.AsyncOpenAI) -> Ask:
        resource: Any = client.chat.completions if "." in kind else getattr(client, kind)

        async def call() -> Any:
            answer = await resource.create(**arguments)
            return [part async for part in answer] if arguments.get("stream") else answer

        return call

    found = await check_same(name, *map(ask, openai_clients))
    if name == "schema":
        content = found["answer"]["choices"][0]["message"]["content"]
        assert json.loads(content)["name"] in {"Ada", "Alan"}
