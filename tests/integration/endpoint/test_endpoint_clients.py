"""Other clients of the socket: curl, the Ollama library, and the chat command."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import httpx
import ollama as sdk
import pytest

from endpoints import (
    CHAT,
    MODEL,
    OPTIONS,
    PROMPT,
    Served,
)
from paddock.cli.chat import Chat, ChatOutput, Streams, run_chat
from paddock.edges.daemon_client import DaemonRefused, find_daemon, get_json, post_json
from real import RealOllama


async def test_curl_works(served: Served) -> None:
    curl = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-N", "--unix-socket", str(served.path), "http://localhost/api/chat",
        "-d", json.dumps(CHAT), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await curl.communicate()
    assert curl.returncode == 0
    assert json.loads(out.splitlines()[-1])["done"] is True


async def test_the_ollama_library_works(served: Served) -> None:
    transport = httpx.AsyncHTTPTransport(uds=str(served.path))
    client = sdk.AsyncClient(host="http://localhost", transport=transport, trust_env=False)
    stream = await client.chat(MODEL, PROMPT, stream=True, options=OPTIONS)
    parts = [part async for part in stream]
    assert parts[-1].done
    assert [model.model for model in (await client.list()).models] == [f"{MODEL}:latest"]
    with pytest.raises(sdk.ResponseError, match=r"edit models\.yaml"):
        await client.pull("llama3.2")
    await client._client.aclose()


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


async def chat(served: Served, prompt: str | None, stdin: io.StringIO, **options: Any) -> Streams:
    streams = Streams(stdin, io.StringIO(), io.StringIO())
    command = Chat(MODEL, served.path, "http://127.0.0.1:1", **options)
    assert await asyncio.to_thread(run_chat, command, prompt, streams) == 0
    return streams


async def test_chat_prints_the_words_of_an_argument_or_a_pipe(served: Served) -> None:
    assert find_daemon([served.path.with_name("absent")]) is None
    assert await asyncio.to_thread(find_daemon, [served.path]) == served.path
    for prompt, stdin in (("Say hello.", io.StringIO()), (None, io.StringIO("Say hello."))):
        streams = await chat(served, prompt, stdin)
        assert streams.out.getvalue().strip()
        assert streams.out.getvalue().endswith("\n")
        assert streams.err.getvalue() == ""


async def test_chat_as_json_prints_the_lines_that_ollama_sent(served: Served) -> None:
    streams = await chat(served, "Say hello.", io.StringIO(), output=ChatOutput.JSON)
    lines = [json.loads(line) for line in streams.out.getvalue().splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]


async def test_chat_on_a_terminal_takes_turns_and_goes_on_after_an_error(served: Served) -> None:
    streams = await chat(served, None, Tty("\nSay hello.\nAnd again.\n/bye\n"))
    assert streams.err.getvalue().count(">>> ") == 4
    assert len(served.host.admitted) == 2
    served.host.verdict = "not_found"
    streams = Streams(Tty("hi\n"), io.StringIO(), io.StringIO())
    command = Chat(MODEL, served.path, "http://127.0.0.1:1")
    assert await asyncio.to_thread(run_chat, command, None, streams) == 1
    assert "paddock: model 'smol' is being made\n" in streams.err.getvalue()


async def test_chat_without_a_daemon_asks_ollama_and_says_so(server: RealOllama) -> None:
    streams = Streams(io.StringIO(), io.StringIO(), io.StringIO())
    command = Chat(MODEL, None, server.url)
    assert await asyncio.to_thread(run_chat, command, "Say hello.", streams) == 0
    assert f"asking ollama at {server.url} directly" in streams.err.getvalue()
    assert streams.out.getvalue().strip()


async def test_the_command_line_reads_status_and_asks_for_a_cycle(served: Served) -> None:
    status = await asyncio.to_thread(get_json, served.path, "/paddock/status", timeout_s=5)
    assert status["format_version"] == 1
    done = await asyncio.to_thread(post_json, served.path, "/paddock/reconcile", timeout_s=5)
    assert done["outcomes"] == []
    with pytest.raises(DaemonRefused, match="not served here"):
        await asyncio.to_thread(get_json, served.path, "/paddock/nothing", timeout_s=5)
