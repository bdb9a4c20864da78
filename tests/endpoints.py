"""An endpoint in front of a real Ollama, and a client that sees the bytes of an answer.

Owns the host that tests give to an endpoint: it says what the test tells it to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from paddock.core.access import Peer, Policy
from paddock.core.desired import Bounds, Residency
from paddock.core.keep_alive import KeepAlive
from paddock.core.metrics import render
from paddock.core.names import Name
from paddock.endpoint.framing import Head, parse_head
from paddock.endpoint.ports import Admission, EndpointLimits, StreamCounts
from paddock.endpoint.server import Endpoint
from paddock.endpoint.socket import claim_socket
from paddock.errors import PaddockError
from real import RealOllama
from tiny_models import embedding_model

PROMPT = [{"role": "user", "content": "Count from one to ten."}]
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


# A model that calls a tool, for it has seen itself do so three times; and one that gives vectors.
CALLER, VECTORS = "caller", "vectors"
_CALL = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
_SEEN = f"<|im_start|>user\nAdd.<|im_end|>\n<|im_start|>assistant\n{_CALL}<|im_end|>\n"
_CALLS = (
    "{{ if .ToolCalls }}<tool_call>{{ range .ToolCalls }}"
    '{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}'
    "{{ end }}</tool_call>{{ end }}"
)
_TURN = f"<|im_start|>{{{{ .Role }}}}\n{{{{ .Content }}}}{_CALLS}<|im_end|>\n"
_TEMPLATE = (
    f"{{{{ if .Tools }}}}{_SEEN * 3}{{{{ end }}}}"
    f"{{{{ range .Messages }}}}{_TURN}{{{{ end }}}}<|im_start|>assistant\n"
)
ADD = [{"role": "user", "content": "Add."}]
TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}


def add_talents(server: RealOllama) -> None:
    """Makes the two models on a server that has the small one."""
    modelfile = server.folder / "Caller"
    modelfile.write_text(f'FROM {MODEL}\nTEMPLATE """{_TEMPLATE}"""\n')
    server.cli("create", CALLER, "-f", modelfile)
    gguf = server.folder / "vectors.gguf"
    gguf.write_bytes(embedding_model())
    server.create_from_gguf(VECTORS, gguf)


@dataclass
class ScriptedHost:
    """A host that admits every model, unless the test says otherwise."""

    verdict: Any = "serve"
    keep_alive: KeepAlive | None = None
    clients: Literal["deny", "allow"] | Bounds | None = "allow"
    mending_s: float = 0.0
    message: str = ""
    uses: list[str] = field(default_factory=list)
    is_ready: bool = True
    is_healthy: bool = True
    admitted: list[str] = field(default_factory=list)
    cycles: int = 0
    prunes: int = 0
    switched: list[tuple[str, ...]] = field(default_factory=list)
    rules: Policy = field(default_factory=Policy)
    log: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    reconciling: asyncio.Event | None = None  # what a cycle waits for
    models: list[dict[str, Any]] = field(default_factory=list)

    def status(self) -> Mapping[str, Any]:
        return {"format_version": 1, "models": self.models}

    def plan(self) -> Mapping[str, Any] | None:
        return {"format_version": 1, "actions": []} if self.cycles else None

    def healthy(self) -> bool:
        return self.is_healthy

    def ready(self) -> tuple[bool, str]:
        return self.is_ready, "" if self.is_ready else "the first cycle is not done"

    async def reconcile(self, *, prune: bool = False) -> Mapping[str, Any]:
        self.wake(prune=prune)
        if self.reconciling is not None:
            await self.reconciling.wait()
        return {"outcomes": [], "status": self.status()}

    def wake(self, *, prune: bool = False) -> None:
        self.cycles += 1
        self.prunes += prune

    def happen(self, model: str | None, result: str = "True") -> None:
        """Lets an event happen."""
        self.log.append({"id": len(self.log) + 1, "model": model, "result": result})
        self.news.set()
        self.news = asyncio.Event()

    async def events(self, after: int) -> Sequence[Mapping[str, Any]]:
        while after == len(self.log):
            await self.news.wait()
        return self.log[after if after < len(self.log) else 0 :]

    def events_so_far(self, after: int) -> Sequence[Mapping[str, Any]]:
        return self.log[after if after <= len(self.log) else 0 :]

    async def pause(self, models: Sequence[str]) -> Mapping[str, Any]:
        return self._switch(models, "paused")

    async def resume(self, models: Sequence[str]) -> Mapping[str, Any]:
        return self._switch(models, "resumed")

    def _switch(self, models: Sequence[str], what: str) -> Mapping[str, Any]:
        if "unknown" in models:
            raise PaddockError("unknown: not declared", reason="NotDeclared")
        self.switched.append((what, *models))
        return {"models": list(models)}

    async def explain(self, model: str) -> Mapping[str, Any] | None:
        known = {name: {"name": name} for name in ("smol", "secret")}
        return known.get(Name.parse(model).display)

    def last_event_id(self) -> int:
        return len(self.log)

    async def changed(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.news.wait()

    async def policy(self) -> Policy:
        return self.rules

    def metrics(self, counts: StreamCounts) -> str:
        return render([counts.first_byte])

    async def admit(self, model: str, peer: Peer | None) -> Admission:
        self.admitted.append(model)
        if not self.rules.sees_text(peer, model):
            return Admission(model, "not_found")
        return Admission(
            name=model,
            verdict=self.verdict,
            reason="SourceHashing",
            message=self.message or f"model '{model}' is being made",
            retry_after_s=7,
            mending_s=self.mending_s,
            residency=Residency(clients=self.clients),
            keep_alive=self.keep_alive,
        )

    def used(self, model: str) -> None:
        self.uses.append(model)


@dataclass
class Served:
    """An endpoint that runs, where it is, and what it asks."""

    endpoint: Endpoint
    host: ScriptedHost
    path: Path


@contextlib.asynccontextmanager
async def serving(
    path: Path, url: str, *, limits: EndpointLimits | None = None, mode: int = 0o660
) -> AsyncIterator[Served]:
    """Runs an endpoint on a socket at `path` meanwhile."""
    host = ScriptedHost()
    endpoint = Endpoint(host, url, limits=limits)
    with claim_socket(path, mode=mode) as claim:
        await endpoint.start(claim.sock)
        try:
            yield Served(endpoint, host, path)
        finally:
            await endpoint.stop(0)


class Wire:
    """One connection, to a path or to `host:port`, that sends one request and reads its answer."""

    opened: ClassVar[list[Wire]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.opened.append(self)

    @classmethod
    async def close_all(cls) -> None:
        while cls.opened:
            await cls.opened.pop().close()

    @classmethod
    async def open(cls, where: Path | str) -> Wire:
        if isinstance(where, str):
            host, port = where.split(":")
            return cls(*await asyncio.open_connection(host, int(port)))
        return cls(*await asyncio.open_unix_connection(where))

    async def ask(
        self, method: str, path: str, body: object = b"", *headers: str, version: str = "1.1"
    ) -> Head:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/{version}",
            "Host: localhost",
            f"Content-Length: {len(data)}",
        ]
        self.writer.write("\r\n".join([*lines, *headers, "", ""]).encode() + data)
        return await self.head()

    async def head(self) -> Head:
        return parse_head((await self.reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n"))

    async def chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def chunks(self) -> list[bytes]:
        """The rest of a chunked body, up to and including its end."""
        found = []
        while data := await self.chunk():
            found.append(data)
        return found

    async def body(self, head: Head) -> bytes:
        if head.get(b"transfer-encoding") == b"chunked":
            return b"".join(await self.chunks())
        if length := head.get(b"content-length"):
            return await self.reader.readexactly(int(length))
        return await self.reader.read()

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        return await self.reader.read()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@dataclass
class Reply:
    """A whole answer."""

    status: int
    head: Head
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def fetch(
    where: Path | str, method: str, path: str, body: object = b"", *headers: str
) -> Reply:
    """Sends one request on a connection of its own and reads the whole answer."""
    wire = await Wire.open(where)
    try:
        head = await wire.ask(method, path, body, *headers)
        return Reply(head.status, head, b"" if method == "HEAD" else await wire.body(head))
    finally:
        await wire.close()


async def until(holds: Callable[[], bool | Awaitable[bool]], within_s: float) -> None:
    """Waits until a fact holds. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


async def fetch_as(
    where: Path,
    method: str,
    path: str,
    body: object = None,
    *,
    uid: int,
    groups: Sequence[int] = (),
) -> Reply:
    """Sends one request as another user, by curl; only root may."""
    data = [] if body is None else ["-d", json.dumps(body)]
    curl = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-i", "-X", method, "--unix-socket", _real(where), *data,
        f"http://localhost{path}", user=uid, group=uid, extra_groups=[*groups],
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await curl.communicate()
    assert curl.returncode == 0
    head, _, answer = out.partition(b"\r\n\r\n")
    parsed = parse_head(head)
    return Reply(parsed.status, parsed, answer)


def _real(where: Path) -> str:
    """A path without links: the folder of a link may be closed to another user."""
    return str(where.resolve())
