"""The Ollama server: what Paddock asks of it, and its errors in our terms.

Talks to one address and nothing else. What reads, what the typed client does not know (blobs,
version, drafts) and the probe are asked for by plain HTTP: the `ollama` package takes most of a
second to import. What loads, pulls and removes goes through it. Every call has a timeout; proxies
in the environment are never used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp

from paddock.core.desired import Overrides
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.observed import Running, Tag
from paddock.edges.ollama.answers import parse_running, parse_tags
from paddock.edges.ollama.failures import one_line, translated
from paddock.edges.ollama.pulling import Progress, follow
from paddock.errors import OllamaError, OllamaRefused, Retry

if TYPE_CHECKING:
    import ollama

CONNECT_S = 5.0
CONTROL_S = 30.0
PROBE_S = 10.0
LOAD_S = 900.0
# While it verifies, it is silent: what counts then is for `follow` to say.
PULL_SILENCE_S = 86_400.0
UNLOAD_S = 60.0
UNLOAD_POLL_S = 0.1


class Ollama:
    """A client for the server at `url`."""

    def __init__(self, url: str):
        self.url = url
        self._session: aiohttp.ClientSession | None = None
        self._clients: dict[float, ollama.AsyncClient] = {}
        self._tags: Mapping[Name, Tag] = {}  # one object while they are the same

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
        return str(document.get("version", "")) if isinstance(document, dict) else ""

    async def tags(self) -> Mapping[Name, Tag]:
        """The models that the server lists."""
        found = parse_tags(await self._get("/api/tags"))
        if found != self._tags:
            self._tags = found
        return self._tags

    async def running(self) -> tuple[Running, ...]:
        """The models in memory."""
        return parse_running(await self._get("/api/ps"), datetime.now(UTC))

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

    async def load(self, name: Name, keep_alive: float | None) -> None:
        """Load a model and wait until it is in memory, by what it can do."""
        able = await self.capabilities(name)
        client = self._client(LOAD_S)
        async with translated(self.url, f"load {name}"):
            if "completion" in able or "embedding" not in able:
                await client.generate(name.full, keep_alive=keep_alive)
            else:
                await client.embed(name.full, input=[], keep_alive=keep_alive)

    async def set_keep_alive(self, name: Name, keep_alive: float) -> None:
        """Assert how long a loaded model stays; 0 lets it go after its requests."""
        if keep_alive != 0:
            await self.load(name, keep_alive)
            return
        async with translated(self.url, f"unload {name}"):
            await self._client(CONTROL_S).generate(name.full, keep_alive=0)

    async def unload(self, name: Name, manifest_digest: Digest) -> None:
        """Take a runner out of memory and wait until ps says so; requests under way end first."""
        await self.set_keep_alive(name, 0)
        for _ in range(round(UNLOAD_S / UNLOAD_POLL_S)):
            if all(r.manifest_digest != manifest_digest for r in await self.running()):
                return
            await asyncio.sleep(UNLOAD_POLL_S)
        raise OllamaError(f"{name} is still in use", reason="Busy", retry=Retry.WAIT)

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
        async with self._request("GET", route) as answer:
            if answer.status != 200:
                raise await _refusal(answer, f"answer {route}")
            try:
                return await answer.json(content_type=None)
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
    text = one_line(await answer.text(errors="replace"))
    message = f"Ollama did not {what}: {answer.status} {text}"
    if 400 <= answer.status < 500:
        return OllamaRefused(message, status=answer.status)
    return OllamaError(message)
