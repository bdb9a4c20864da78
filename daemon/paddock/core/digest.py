"""The digest: how a blob, a layer or a source file is named by its content.

Owns the one textual form that the rest of Paddock sees (`sha256:` and 64 lower-case hexadecimal
digits) and its check. The file name form, `sha256-<hex>`, is accepted here and made only in
`edges/store.py`. Hashes bytes in memory; never opens a file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from typing import NewType

from paddock.errors import InvalidDigest

Digest = NewType("Digest", str)

_PATTERN = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_SHORT_HEX = 12
_SHOWN_CHARS = 100


@functools.lru_cache(maxsize=1 << 16)  # a store names each many times: one object for all
def parse_digest(text: str) -> Digest:
    """Returns `text` in the one form; takes what Ollama takes (`ollama:manifest/paths.go`).

    That is `sha256:` or `sha256-` and 64 hexadecimal digits of either case. Raises InvalidDigest.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        shown = json.dumps(text[:_SHOWN_CHARS])
        raise InvalidDigest(f"{shown} is not a digest; write sha256: and 64 hexadecimal digits")
    return Digest("sha256:" + found[1].lower())


def digest_of(data: bytes) -> Digest:
    """Returns the digest of bytes in memory."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def short(digest: Digest) -> str:
    """Returns the digest as people read it: 12 hexadecimal digits and an ellipsis."""
    algorithm, _, hex_digits = digest.partition(":")
    return f"{algorithm}:{hex_digits[:_SHORT_HEX]}…"
