"""Ollama's answers, read into our nouns."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from paddock.edges.ollama.answers import parse_running

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("shown", "is_forever"),
    [
        ("2318-05-14T03:51:21.854775807Z", True),
        ("2144-05-14T03:51:21.854775807Z", True),
        ("2125-11-02T03:04:05Z", False),
        ("2026-01-02T03:09:05Z", False),
    ],
)
def test_an_expiry_in_more_than_a_hundred_years_is_for_ever_and_is_kept(
    shown: str, is_forever: bool
) -> None:
    line = {"name": "a", "digest": "a" * 64, "expires_at": shown, "size": 1, "context_length": 2}
    [runner] = parse_running({"models": [line]}, NOW)
    assert (runner.expires_at is None) == is_forever
    assert runner.stamp == datetime.fromisoformat(shown)
