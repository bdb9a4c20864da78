"""What Ollama's words about a failed pull mean. The texts are those of a real server, 0.34.4."""

from __future__ import annotations

import pytest

from paddock.core.pull_failures import judge, without_page
from paddock.errors import Retry

PULL = "Ollama did not pull example.com/lib/smol:v1: pull model manifest: "
BLOB = "Ollama did not pull example.com/lib/smol:v1: "
WANTED = "want sha256:b179c9523d0e, got sha256:d9babfbae4a0"
HTTPS = 'Get "https://example.com/v2/lib/smol/manifests/v1": '


@pytest.mark.parametrize(
    ("text", "reason", "retry"),
    [
        (f"{PULL}file does not exist", "NotInRegistry", Retry.STALLED),
        (f"{BLOB}file does not exist", "RegistryFailed", Retry.BACKOFF),
        (
            f"{PULL}{HTTPS}http: server gave HTTP response to HTTPS client",
            "InsecureRegistry",
            Retry.STALLED,
        ),
        (f"{PULL}403: go away", "NeedsCredentials", Retry.STALLED),
        (f"{PULL}404: 404 page not found", "NeedsCredentials", Retry.STALLED),
        (
            f'{PULL}realm host "" does not match original host "example.com"',
            "NeedsCredentials",
            Retry.STALLED,
        ),
        (f"{PULL}412: go away", "OllamaTooOld", Retry.STALLED),
        (f"{PULL}429: slow down", "RegistryFailed", Retry.BACKOFF),
        (f"{PULL}500: go away", "RegistryFailed", Retry.BACKOFF),
        (f"{BLOB}500:", "RegistryFailed", Retry.BACKOFF),
        (
            f"{PULL}invalid character '<' looking for beginning of value",
            "RegistryFailed",
            Retry.BACKOFF,
        ),
        (
            f"{PULL}{HTTPS}dial tcp 127.0.0.1:1: connect: connection refused",
            "RegistryUnreachable",
            Retry.BACKOFF,
        ),
        (
            f"{PULL}{HTTPS}dial tcp: lookup example.com: no such host",
            "RegistryUnreachable",
            Retry.BACKOFF,
        ),
        (
            f"{PULL}{HTTPS}tls: failed to verify certificate: x509: signed by unknown authority",
            "RegistryUntrusted",
            Retry.STALLED,
        ),
        (f"{BLOB}EOF", "PartialBroken", Retry.BACKOFF),
        (f"{PULL}{HTTPS}EOF", "RegistryUnreachable", Retry.BACKOFF),
        (f"{BLOB}max retries exceeded: unexpected EOF", "RegistryUnreachable", Retry.BACKOFF),
        (
            f"{BLOB}digest mismatch, file must be downloaded again: {WANTED}",
            "BlobCorrupt",
            Retry.BACKOFF,
        ),
        (f"{BLOB}write /x-partial: no space left on device", "NoSpace", Retry.BACKOFF),
    ],
)
def test_a_text_of_ollama_has_a_meaning(text: str, reason: str, retry: Retry) -> None:
    found = judge(text)
    assert found is not None
    assert (found.reason, found.retry) == (reason, retry)


@pytest.mark.parametrize(
    "text",
    [
        f"{BLOB}something that nobody has seen yet",
        "Ollama did not pull 127.0.0.1:403/lib/smol:404: something new",
        "Ollama did not pull example.com/lib/smol-500:v1: something new",
    ],
)
def test_a_text_that_is_not_known_is_left_as_it_is(text: str) -> None:
    assert judge(text) is None


def test_a_page_of_html_is_left_out() -> None:
    page = "502: <html> <head><title>502 Bad Gateway</title></head> </html>"
    assert without_page(f"{PULL}{page}") == f"{PULL}502:"
    assert without_page(f"{PULL}invalid character '<' looking") == (
        f"{PULL}invalid character '<' looking"
    )
