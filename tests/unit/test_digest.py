"""Digests: one form everywhere, and nothing else passes for one."""

from __future__ import annotations

import pytest

from paddock.core.digest import digest_of, parse_digest, short
from paddock.errors import InvalidDigest

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_digest_of_no_bytes_is_the_well_known_one() -> None:
    assert digest_of(b"") == EMPTY


@pytest.mark.parametrize("text", [EMPTY, EMPTY.replace(":", "-"), "sha256:" + EMPTY[7:].upper()])
def test_every_form_that_ollama_takes_becomes_the_one_form(text: str) -> None:
    assert parse_digest(text) == EMPTY


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY[7:],
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY + "\n",
        " " + EMPTY,
        EMPTY.replace("sha256", "SHA256"),
        EMPTY.replace("sha256:", "sha256/"),
        EMPTY.replace("sha256:", "sha512:"),
        "sha256:../../../../../../../../../../../../../../../../../../../etc/passwd",
        "sha256:" + "g" * 64,
        "sha256:" + "٣" * 64,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """A digest becomes a path, so that a loose check here would be a way out of the store."""
    with pytest.raises(InvalidDigest, match="write sha256: and 64 hexadecimal digits"):
        parse_digest(text)


def test_a_refusal_is_one_short_line_whatever_was_written() -> None:
    with pytest.raises(InvalidDigest) as raised:
        parse_digest("x\n\x1b[31m" * 1000)
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 500


def test_people_read_twelve_digits() -> None:
    assert short(parse_digest(EMPTY)) == "sha256:e3b0c44298fc…"
