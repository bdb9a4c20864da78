"""A model registry: asked for the digest of a manifest, and for nothing else.

Speaks the OCI distribution API as Ollama does (ollama:server/images.go pullModelManifest); what is
pulled, Ollama pulls.
"""

from __future__ import annotations

import aiohttp

from paddock.core.digest import Digest, digest_of
from paddock.core.manifest import MANIFEST_TYPE
from paddock.core.names import Name
from paddock.errors import Retry, SourceError

_TIMEOUT_S = 30.0
_MANIFEST_BYTES = 4 << 20


async def manifest_digest(reference: Name, *, insecure: bool) -> Digest:
    """The digest of the manifest that the registry gives now. Raises SourceError."""
    scheme = "http" if insecure else "https"
    path = f"v2/{reference.namespace}/{reference.model}/manifests/{reference.tag}"
    url = f"{scheme}://{reference.host}/{path}"
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers={"Accept": MANIFEST_TYPE}) as answer,
        ):
            if answer.status == 404:
                what = f"{reference} is not in its registry"
                raise SourceError(what, reason="NotInRegistry", retry=Retry.STALLED)
            if answer.status != 200:
                raise SourceError(
                    f"{reference.host} answers {answer.status} for {reference}",
                    reason="RegistryFailed",
                )
            if (answer.content_length or 0) > _MANIFEST_BYTES:
                what = f"{reference.host} gives a manifest of {answer.content_length} bytes"
                raise SourceError(what, reason="RegistryFailed", retry=Retry.STALLED)
            return digest_of(await answer.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        what = f"cannot reach the registry {reference.host}: {error or 'no answer in time'}"
        raise SourceError(what, reason="RegistryUnreachable") from error
