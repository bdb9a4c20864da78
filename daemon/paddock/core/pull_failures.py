"""What a failed pull means: Ollama's words about a registry, as a reason and what comes next.

Pure. Ollama tells of a failed pull with a text alone, and with no status
(ollama:server/images.go PullModel, makeRequestWithRetry; server/download.go): the texts are matched
here, and nowhere else. One that is not known is tried again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from paddock.errors import Retry


class Judged(NamedTuple):
    """A reason in CamelCase, what a person can do (or nothing), and what comes next."""

    reason: str
    hint: str
    retry: Retry


_PLAIN_HTTP = "write insecure: true beside registry: if you trust it and the network to it"
_SIGN_IN = "log Ollama in there (ollama signin), or name a public model"
_BROKEN_PART = "PartialBroken"
_KNOWN: tuple[tuple[str, Judged], ...] = (
    # Of a connection, it would say which: this one is of Ollama's own note of an earlier pull.
    (
        r"^Ollama did not pull \S+: (?:unexpected )?EOF$",
        Judged(_BROKEN_PART, "what is left of an earlier pull cannot be read", Retry.BACKOFF),
    ),
    (
        r"server gave HTTP response to HTTPS client|insecure protocol",
        Judged("InsecureRegistry", _PLAIN_HTTP, Retry.STALLED),
    ),
    (
        r"manifest: file does not exist",
        Judged("NotInRegistry", "check the name and its tag", Retry.STALLED),
    ),
    # Asked for a manifest, Ollama words its own 404 as above: this one is of where tokens are.
    (
        r"unauthorized|realm host|manifest: 404:|: 40[13]:|access denied",
        Judged("NeedsCredentials", _SIGN_IN, Retry.STALLED),
    ),
    (
        r"newer version of Ollama|: 412:",
        Judged("OllamaTooOld", "upgrade Ollama", Retry.STALLED),
    ),
    (r"requires MLX", Judged("NeedsMlx", "name a GGUF model", Retry.STALLED)),
    (
        r"no space left on device|disk quota exceeded",
        Judged("NoSpace", "make room; what came already is kept", Retry.BACKOFF),
    ),
    (r"digest mismatch", Judged("BlobCorrupt", "", Retry.BACKOFF)),
    (
        r"x509|tls:|certificate",
        Judged("RegistryUntrusted", "let Ollama's host trust its certificate", Retry.STALLED),
    ),
    (
        r"dial tcp|connection re(?:fused|set)|no such host|i/o timeout|\bEOF\b|max retries",
        Judged("RegistryUnreachable", "", Retry.BACKOFF),
    ),
    (
        r": (?:404|429|5\d\d):|file does not exist|invalid character|unexpected end of JSON",
        Judged("RegistryFailed", "", Retry.BACKOFF),
    ),
)
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body)\b.*", re.IGNORECASE | re.DOTALL)


def without_page(text: str) -> str:
    """A text without the page of HTML that a proxy gave in place of an answer."""
    return _PAGE.sub("", text)


def is_broken_part(text: str) -> bool:
    """Whether Ollama could not read what it keeps of an earlier pull."""
    found = judge(text)
    return found is not None and found.reason == _BROKEN_PART


def judge(text: str) -> Judged | None:
    """What Ollama's text about a pull means; None where it is not known."""
    found = (judged for pattern, judged in _KNOWN if re.search(pattern, text, re.IGNORECASE))
    return next(found, None)
