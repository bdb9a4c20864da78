"""The socket in front of a real Ollama: what a client sees, and what Ollama sees."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama as sdk
import pytest

from endpoints import PROMPT, Served, Wire, fetch, serving
from paddock.cli.chat import Chat, ChatOutput, Streams, run_chat
from paddock.edges.daemon_client import DaemonRefused, find_daemon, get_json, post_json
from paddock.endpoint.ports import EndpointLimits
from real import RealOllama, StartOllama

MODEL = "smol"
OPTIONS = {"num_thread": 1, "num_predict": 24, "temperature": 0, "seed": 1}
MODELFILE = ["PARAMETER num_thread 1", "PARAMETER num_predict 32"]
CHAT = {"model": MODEL, "messages": PROMPT, "options": OPTIONS}
COUNT = [{"role": "user", "content": f"Write the numbers: {' '.join(map(str, range(100)))}"}]
# More than half a minute: longer than any wait here. The model does not stop by itself.
ENDLESS = {
    "model": MODEL,
    "messages": COUNT,
    "max_tokens": 3000,
    "options": OPTIONS | {"num_predict": 3000},
}
_VARIES = re.compile(rb'"(created_at|id|created|\w+_duration|item_id|completed_at)":("[^"]*"|\d+)')


@pytest.fixture(scope="module")
def server(module_ollama: RealOllama) -> RealOllama:
    module_ollama.create_from_gguf(MODEL, modelfile_lines=MODELFILE)
    for _ in range(2):  # an answer after a cached prompt differs from the first
        module_ollama.api("POST", "/api/chat", CHAT | {"stream": False})
    return module_ollama


@pytest.fixture(autouse=True)
async def _no_connection_is_left() -> AsyncIterator[None]:
    yield
    await Wire.close_all()


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "p.sock")


@pytest.fixture
async def served(server: RealOllama, path: Path) -> AsyncIterator[Served]:
    async with serving(path, server.url) as endpoint:
        yield endpoint


def same(data: bytes) -> bytes:
    """An answer without what differs between two runs of one request."""
    return _VARIES.sub(rb'"\1":0', data)


async def until(holds: Callable[[], bool | Awaitable[bool]], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


# --- streams


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


# --- admission


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


# --- what is not served


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


async def test_more_streams_than_the_limit_are_429(server: RealOllama, path: Path) -> None:
    async with serving(path, server.url, limits=EndpointLimits(max_streams_per_user=1)):
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


# --- reads


@pytest.mark.parametrize("path_", ["/", "/api/version", "/api/tags", "/v1/models"])
async def test_reads_are_passed_through_byte_for_byte_and_head_is_like_get(
    server: RealOllama, served: Served, path_: str
) -> None:
    ours = await fetch(served.path, "GET", path_)
    theirs = await fetch(server.host, "GET", path_)
    assert ours.body == theirs.body
    assert ours.head.content_type == theirs.head.content_type
    head = await fetch(served.path, "HEAD", path_)
    assert (head.status, head.head.get(b"content-length")) == (200, b"%d" % len(ours.body))


async def test_show_and_one_model_are_passed_through(server: RealOllama, served: Served) -> None:
    for method, path_, body in (
        ("POST", "/api/show", {"model": MODEL}),
        ("POST", "/api/show", {"NAME": MODEL}),
        ("GET", f"/v1/models/{MODEL}", b""),
        ("GET", "/v1/models/nobody", b""),
    ):
        ours = await fetch(served.path, method, path_, body)
        theirs = await fetch(server.host, method, path_, body)
        assert (ours.status, ours.body) == (theirs.status, theirs.body)


async def test_the_models_of_a_probe_are_not_seen(server: RealOllama, served: Served) -> None:
    scratch = "paddock.invalid/probe/0123456789abcdef"
    server.cli("cp", MODEL, scratch)
    try:
        assert f"{scratch}:latest" in server.tags()
        tags = (await fetch(served.path, "GET", "/api/tags")).json["models"]
        assert [model["name"] for model in tags] == [f"{MODEL}:latest"]
        listed = (await fetch(served.path, "GET", "/v1/models")).json["data"]
        assert [model["id"] for model in listed] == [f"{MODEL}:latest"]
        for path_ in ("/api/show", "/api/chat"):
            reply = await fetch(served.path, "POST", path_, {"model": scratch.upper()})
            assert reply.status == 404
    finally:
        server.cli("rm", scratch)


# --- Ollama fails


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
    assert anthropic.json == {
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


# --- stop


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


# --- other clients


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


# --- control


async def test_control_routes_give_what_the_host_says(served: Served) -> None:
    assert (await fetch(served.path, "GET", "/paddock/status")).json["format_version"] == 1
    assert (await fetch(served.path, "GET", "/paddock/plan")).status == 503
    done = await fetch(served.path, "POST", "/paddock/reconcile")
    assert done.json == {"outcomes": [], "status": {"format_version": 1, "models": []}}
    assert (await fetch(served.path, "GET", "/paddock/plan")).json["actions"] == []
    assert (await fetch(served.path, "GET", "/healthz")).json == {"status": "ok"}
    served.host.is_ready = False
    reply = await fetch(served.path, "GET", "/readyz")
    assert (reply.status, reply.json["message"]) == (503, "the first cycle is not done")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_reads_but_asks_for_no_cycle(server: RealOllama, path: Path) -> None:
    path.parent.chmod(0o755)
    async with serving(path, server.url, mode=0o666) as served:
        for method, route, status in (
            ("GET", "/paddock/status", b"200"),
            ("POST", "/paddock/reconcile", b"403"),
        ):
            curl = await asyncio.create_subprocess_exec(
                "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method,
                "--unix-socket", str(path), f"http://localhost{route}",
                stdout=asyncio.subprocess.PIPE, user=65534,
            )  # fmt: skip
            out, _ = await curl.communicate()
            assert out == status
        assert served.host.cycles == 0


# --- the chat command


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
