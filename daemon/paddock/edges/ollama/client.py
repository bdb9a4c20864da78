"""The Ollama server: what Paddock asks of it, and its errors in our terms.

Talks to one address and nothing else. What reads, loads and unloads, what the typed client does
not know (blobs, version, drafts) and the probe are asked for by plain HTTP: the `ollama` package
takes most of a second to import. What pulls and removes goes through it. Every call has a timeout;
proxies in the environment are never used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp

from paddock.core.desired import Overrides
from paddock.core.digest import Digest, digest_of
from paddock.core.names import Name
from paddock.core.observed import Running, Tag
from paddock.edges.ollama.answers import parse_running, parse_tags
from paddock.edges.ollama.failures import one_line, translated
from paddock.edges.ollama.gate import Gate
from paddock.edges.ollama.pulling import Progress, follow
from paddock.errors import OllamaError, OllamaRefused, Retry

if TYPE_CHECKING:
    import ollama

CONNECT_S = 5.0
CONTROL_S = 30.0
PROBE_S = 10.0
# Ollama itself gives up a load that stands still (OLLAMA_LOAD_TIMEOUT); one that waits for its turn
# behind others is silent.
LOAD_S = 7200.0
# While it verifies, it is silent: what counts then is for `follow` to say.
PULL_SILENCE_S = 86_400.0
UNLOAD_S = 60.0
UNLOAD_POLL_S, UNLOAD_POLL_MOST_S = 0.05, 1.0
_IN_USE = timedelta(seconds=1)
# Answers that the same request may not get again: it took too long, too many, its client is gone.
_TRANSIENT = frozenset({408, 429, 499})


class Ollama:
    """A client for the server at `url`."""

    def __init__(self, url: str):
        self.url = url
        self._session: aiohttp.ClientSession | None = None
        self._clients: dict[float, ollama.AsyncClient] = {}
        self._tags: Mapping[Name, Tag] = {}  # one object while they are the same
        self._tags_digest: Digest | None = None
        self._running: tuple[Running, ...] = ()
        self._leaving: dict[Digest, float] = {}  # when each was asked to go
        self._gate = Gate()

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
        for client in self._clients.values():
            await client._client.aclose()  # noqa: SLF001  the package offers no other way

    # What is there.

    async def version(self) -> str:
        """The server's version; `0.0.0` for one built without it."""
        document = await self._get("/api/version")
        version = str(document.get("version", "")) if isinstance(document, dict) else ""
        self._gate.meet(version)
        return version

    async def tags(self) -> Mapping[Name, Tag]:
        """The models that the server lists."""
        content = await self._content("/api/tags")
        digest = digest_of(content)
        if digest != self._tags_digest:  # of thousands it takes longer to parse than to hash
            found = parse_tags(self._parsed("/api/tags", content))
            if found != self._tags:
                self._tags = found
            self._tags_digest = digest
        return self._tags

    async def running(self) -> tuple[Running, ...]:
        """The models in memory; of a server that must not be asked just now what it said last."""
        wait_s = self._gate.wait_s
        if wait_s is None:
            return self._running
        await asyncio.sleep(wait_s)
        return await self._ps()

    async def has_blob(self, digest: Digest) -> bool:
        """Whether the server itself sees a blob and what its link points to."""
        async with self._request("HEAD", f"/api/blobs/{digest}") as answer:
            return answer.status == 200

    async def capabilities(self, name: Name) -> tuple[str, ...]:
        """What a model can do; raises OllamaRefused where the server cannot use it."""
        body = json.dumps({"model": name.full}).encode()
        async with self._request("POST", "/api/show", body) as answer:
            if answer.status != 200:
                raise await _refusal(answer, f"show {name}")
            shown = await answer.json(content_type=None)
        found = shown.get("capabilities") if isinstance(shown, dict) else None
        return tuple(map(str, found)) if isinstance(found, list) else ()

    # The header probe.

    async def upload_blob(self, digest: Digest, content: bytes) -> None:
        """Give the server a small blob."""
        async with self._request("POST", f"/api/blobs/{digest}", content) as answer:
            if answer.status not in (200, 201):
                raise await _refusal(answer, "upload a blob")

    async def create(self, name: Name, made_of: Mapping[str, Any], say: Overrides) -> None:
        """Make a model of uploaded blobs (`files`, `draft_files`, by name) or of another model
        (`from`), with what the file says over it. The typed client knows no `draft_files`."""
        messages = [{"role": m.role, "content": m.content} for m in say.messages]
        told = {
            "template": say.template,
            "system": say.system,
            "parameters": dict(say.parameters),
            "messages": messages,
            "license": list(say.license),
        }
        given = {key: value for key, value in told.items() if value not in (None, {}, [])}
        body = json.dumps({"model": name.full, "stream": False, **made_of, **given}).encode()
        async with self._request("POST", "/api/create", body, total_s=PROBE_S) as answer:
            if answer.status != 200:
                raise await _refusal(answer, f"make {name}")

    async def delete(self, name: Name) -> None:
        """Remove a model and the blobs that no other one names; gone already is no error."""
        try:
            async with translated(self.url, f"remove {name}"):
                await self._client(CONTROL_S).delete(name.full)
        except OllamaRefused as error:
            if error.status != 404:
                raise

    # Memory.

    async def load(
        self, name: Name, keep_alive: float | None, *, num_ctx: int | None = None
    ) -> None:
        """Load a model and wait until it is in memory, by what it can do. One that is in memory
        stays as it is where `num_ctx` is what it was loaded with, and its keep_alive is set."""
        able = await self.capabilities(name)
        said: dict[str, Any] = {} if keep_alive is None else {"keep_alive": keep_alive}
        if num_ctx is not None:
            said["options"] = {"num_ctx": num_ctx}
        with self._gate.change():
            if "completion" in able or "embedding" not in able:
                await self._ask("/api/generate", f"load {name}", name, LOAD_S, said)
            else:
                await self._ask("/api/embed", f"load {name}", name, LOAD_S, {"input": [], **said})

    async def set_keep_alive(
        self, name: Name, keep_alive: float, *, num_ctx: int | None = None
    ) -> None:
        """Assert how long a loaded model stays; 0 lets it go after its requests."""
        if keep_alive != 0:
            await self.load(name, keep_alive, num_ctx=num_ctx)
            return
        with self._gate.change():
            what = f"unload {name}"
            await self._ask("/api/generate", what, name, CONTROL_S, {"keep_alive": 0})

    async def unload(
        self, manifest_digest: Digest, ask: Callable[[], Awaitable[None]], *, patience_s: float
    ) -> None:
        """Have a runner asked to go and wait until ps says that it has; requests under way end
        first. Raises OllamaError(Busy) when that takes longer: it is not asked again then, unless a
        client has given it time since."""
        clock, asked = asyncio.get_running_loop().time, False
        wait_s = max(UNLOAD_POLL_S, self._gate.poll_s)
        while left := [r for r in await self.running() if r.manifest_digest == manifest_digest]:
            asked_s = self._leaving.get(manifest_digest)
            if not asked and (asked_s is None or any(map(_was_kept, left))):
                self._leaving[manifest_digest], asked = clock(), True
                await ask()
            elif asked_s is not None and clock() >= asked_s + patience_s:
                what = f"{left[0].name} is in use; it goes when its requests have ended"
                raise OllamaError(what, reason="Busy", retry=Retry.WAIT)
            await asyncio.sleep(wait_s)
            wait_s = max(min(1.5 * wait_s, UNLOAD_POLL_MOST_S), self._gate.poll_s)
        self._leaving.pop(manifest_digest, None)

    async def _ps(self) -> tuple[Running, ...]:
        self._gate.asked()
        self._running = parse_running(await self._get("/api/ps"), datetime.now(UTC))
        return self._running

    async def _ask(
        self, route: str, what: str, name: Name, total_s: float, said: Mapping[str, Any]
    ) -> None:
        body = json.dumps({"model": name.full, "stream": False, **said}).encode()
        async with self._request("POST", route, body, total_s=total_s) as answer:
            if answer.status != 200:
                raise await _refusal(answer, what)
            await answer.read()

    # The registry.

    async def pull(self, reference: Name, *, insecure: bool, progress: Progress) -> None:
        """Let the server pull a model; `progress` is told of each line of its stream."""
        async with translated(self.url, f"pull {reference}"):
            client = self._client(PULL_SILENCE_S)
            parts = await client.pull(reference.full, insecure=insecure, stream=True)
            await follow(reference, parts, progress)

    def _client(self, stall_s: float) -> ollama.AsyncClient:
        import ollama  # takes most of a second, and `paddock plan` does not need it

        if stall_s not in self._clients:
            import httpx

            timeout = httpx.Timeout(stall_s, connect=CONNECT_S)
            client = ollama.AsyncClient(self.url, timeout=timeout, trust_env=False)
            self._clients[stall_s] = client
        return self._clients[stall_s]

    async def _get(self, route: str) -> Any:
        return self._parsed(route, await self._content(route))

    async def _content(self, route: str) -> bytes:
        async with self._request("GET", route) as answer:
            if answer.status != 200:
                raise await _refusal(answer, f"answer {route}")
            return await answer.read()

    def _parsed(self, route: str, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError as error:
            what = f"{self.url} answers {route} with something that is not JSON"
            raise OllamaError(f"{what}; is it an Ollama?", reason="NotOllama") from error

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, route: str, content: bytes | None = None, *, total_s: float = CONTROL_S
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S)
        async with (
            translated(self.url, f"answer {route}"),
            self._session.request(
                method, self.url + route, data=content, timeout=timeout
            ) as answer,
        ):
            yield answer


async def _refusal(answer: aiohttp.ClientResponse, what: str) -> OllamaError:
    text = one_line(_said(await answer.text(errors="replace")))
    message = f"Ollama did not {what}: {answer.status} {text}"
    if 400 <= answer.status < 500 and answer.status not in _TRANSIENT:
        return OllamaRefused(message, status=answer.status)
    return OllamaError(message)


def _said(text: str) -> str:
    """The words of an error, where it is JSON as Ollama's are."""
    with contextlib.suppress(ValueError):
        document = json.loads(text)
        if isinstance(document, dict) and isinstance(document.get("error"), str):
            return str(document["error"])
    return text


def _was_kept(runner: Running) -> bool:
    """Whether a runner that was asked to go has been given time since: it would stay."""
    return runner.expires_at is None or runner.expires_at > datetime.now(UTC) + _IN_USE
