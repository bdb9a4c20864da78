"""A model registry: asked for the digest of a manifest, and for nothing else.

Speaks the OCI distribution API as Ollama does (ollama:server/images.go pullModelManifest); what is
pulled, Ollama pulls. Asks as nobody: a registry that wants a token gets asked for an anonymous one,
at its own host only (ollama:server/auth.go). Proxies of the environment are used, but not for this
host itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from paddock.core.digest import Digest, digest_of
from paddock.core.manifest import MANIFEST_TYPE, parse_manifest
from paddock.core.names import Name
from paddock.errors import InvalidManifest, Retry, SourceError

_TIMEOUT_S = 30.0
_MANIFEST_BYTES = 4 << 20
_TOKEN_BYTES = 64 << 10
_FIELD = re.compile(r'(\w+)="([^"]*)"')
_OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


async def manifest_digest(reference: Name, *, insecure: bool) -> Digest:
    """The digest of the manifest that the registry gives now. Raises SourceError, whose reason is
    NotInRegistry, NeedsCredentials, InsecureRegistry, RegistryUnreachable or RegistryFailed."""
    scheme = "http" if insecure else "https"
    path = f"v2/{reference.namespace}/{reference.model}/manifests/{reference.tag}"
    url = f"{scheme}://{reference.host}/{path}"
    with _translated(reference):
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            asked = _Asked(session, reference, scheme)
            answer = await asked.get(url)
            if answer.status == 401:
                token = await asked.token(answer.challenge)
                answer = await asked.get(url, token)
    return _checked(reference, answer)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    challenge: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Asked:
    """One registry, asked about one reference."""

    session: aiohttp.ClientSession
    reference: Name
    scheme: str

    async def get(self, url: str, token: str | None = None) -> _Answer:
        """A manifest, with its status; a token goes to the registry itself and no further."""
        headers = {"Accept": MANIFEST_TYPE}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self._got(url, headers) as answer:
            body = await self._body(answer, _MANIFEST_BYTES)
            return _Answer(answer.status, answer.headers.get("WWW-Authenticate", ""), body)

    async def token(self, challenge: str) -> str:
        """An anonymous token. Raises SourceError(NeedsCredentials) where none is to be had."""
        fields = dict(_FIELD.findall(challenge))
        realm = fields.pop("realm", "")
        if not challenge.startswith("Bearer ") or not self._is_own(realm):
            raise needs_credentials(self.reference)
        query = {key: fields[key] for key in ("service", "scope") if key in fields}
        async with self._got(realm, {}, query) as answer:
            body = await self._body(answer, _TOKEN_BYTES)
        found = _json(body) if answer.status == 200 else {}
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise needs_credentials(self.reference)
        return token

    def _is_own(self, realm: str) -> bool:
        """Ollama refuses a realm on another host (ollama:server/auth.go getAuthorizationToken)."""
        parts = urlsplit(realm)
        return parts.netloc == self.reference.host and parts.scheme in {self.scheme, "https"}

    @contextlib.asynccontextmanager
    async def _got(
        self, url: str, headers: dict[str, str], query: dict[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        proxy = _proxy(self.scheme, self.reference.host)
        async with self.session.get(url, headers=headers, params=query, proxy=proxy) as answer:
            yield answer

    async def _body(self, answer: aiohttp.ClientResponse, most_bytes: int) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_chunked(65536):
            body += chunk
            if len(body) > most_bytes:
                what = f"{self.reference.host} answers with more than {most_bytes} bytes"
                raise SourceError(what, reason="RegistryFailed", retry=Retry.STALLED)
        return bytes(body)


def needs_credentials(reference: Name) -> SourceError:
    """The error of a registry that does not give a model to nobody."""
    what = f"{reference.host} does not give {reference} without credentials"
    hint = "paddock asks as nobody; Ollama itself may be able to pull it"
    return SourceError(f"{what}; {hint}", reason="NeedsCredentials", retry=Retry.STALLED)


def _checked(reference: Name, answer: _Answer) -> Digest:
    match answer.status:
        case 200:
            return _digest(reference, answer.body)
        case 401 | 403:
            raise needs_credentials(reference)
        case 404:
            what = f"{reference} is not in its registry; check the name and its tag"
            raise SourceError(what, reason="NotInRegistry", retry=Retry.STALLED)
        case _:
            what = f"{reference.host} answers {answer.status} for {reference}"
            raise SourceError(what, reason="RegistryFailed")


def _digest(reference: Name, body: bytes) -> Digest:
    """A page of a proxy or of another service is no manifest, whatever its status."""
    try:
        if parse_manifest(body).digests:
            return digest_of(body)
    except InvalidManifest:
        pass
    what = f"{reference.host} answers for {reference} with something that is no manifest"
    raise SourceError(f"{what}; is it a registry?", reason="RegistryFailed")


@contextlib.contextmanager
def _translated(reference: Name) -> Iterator[None]:
    host = reference.host
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        what = f"the certificate of the registry {host} is not trusted here"
        raise SourceError(what, reason="RegistryUnreachable", retry=Retry.STALLED) from error
    except aiohttp.ClientSSLError as error:
        what = f"the registry {host} does not speak TLS as it should ({_tls_words(error)})"
        hint = "write insecure: true beside registry: if you trust it and the network to it"
        raise SourceError(
            f"{what}; {hint}", reason="InsecureRegistry", retry=Retry.STALLED
        ) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        what = f"cannot reach the registry {host}: {error or 'no answer in time'}"
        raise SourceError(what, reason="RegistryUnreachable") from error


def _tls_words(error: aiohttp.ClientSSLError) -> str:
    """OpenSSL's own word: `wrong version number` where plain HTTP answers."""
    return (
        str(getattr(error.os_error, "reason", None) or "no reason given").lower().replace("_", " ")
    )


def _proxy(scheme: str, host: str) -> str | None:
    """As Go does, which Ollama is written in: nothing on this host goes through a proxy."""
    name = urlsplit(f"//{host}").hostname or ""
    if name in _OWN_HOSTS or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(scheme)


def _json(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
