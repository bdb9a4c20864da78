"""The log of a server that we start: levels where they can be told, and nobody's words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.core.managed_log import LogLine, parse_line

SLOG = 'time=2026-11-22T22:19:11.010Z level={} source=routes.go:2065 msg="{}"{}'


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("TRACE", "debug"),
        ("DEBUG", "debug"),
        ("DEBUG-4", "debug"),
        ("INFO", "info"),
        ("WARN", "warning"),
        ("ERROR", "error"),
        ("NEW", "info"),
    ],
)
def test_a_line_of_ollama_has_its_level(said: str, level: str) -> None:
    line = parse_line(SLOG.format(said, "Listening on 127.0.0.1:1", ' count=1 free="2 GiB"'))
    assert line is not None
    assert (line.level, line.event) == (level, "Listening on 127.0.0.1:1")
    assert (line.source, line.fields) == ("routes.go:2065", 'count=1 free="2 GiB"')


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('[GIN] 2026/11/22 - 22:19:13 | 200 |  7ms |  127.0.0.1 | POST  "/api/chat"', "debug"),
        ('[GIN] 2026/11/22 - 22:19:13 | 404 |  7ms |  127.0.0.1 | GET  "/x"', "debug"),
        ('[GIN] 2026/11/22 - 22:19:13 | 500 |  7ms |  127.0.0.1 | POST  "/api/chat"', "warning"),
        ("0.00.000.339 I srv  llama_server: initializing ...", "info"),
        ("0.00.000.339 E srv  llama_server: no", "error"),
        ("print_info: n_head = 9", "debug"),
        ("[GIN-debug] HEAD /api/version --> github.com/ollama", "debug"),
        ("Error: listen tcp 127.0.0.1:1: bind: address already in use", "error"),
        ("llama_model_load: error loading model: no", "error"),
        ("ggml_cuda: CUDA error: out of memory", "error"),
    ],
)
def test_other_lines_have_the_level_that_can_be_told(text: str, level: str) -> None:
    line = parse_line(text)
    assert line is not None
    assert line.level == level


def test_what_follows_a_crash_belongs_to_it_until_ollama_speaks_again() -> None:
    before: LogLine | None = None
    levels = []
    for text in (
        "panic: no",
        "goroutine 1 [running]:",
        "main.main()",
        "",
        "\t/x.go:3 +0x1",
        SLOG.format("INFO", "back", ""),
        "print_info: x",
    ):
        line = parse_line(text, before)
        levels += [line.level] if line is not None else []
        before = line or before
    assert levels == ["error"] * 4 + ["info", "debug"]


def test_an_empty_line_says_nothing() -> None:
    assert parse_line("  \r") is None


@pytest.mark.parametrize("key", ["prompt", "content", "messages", "thinking", "toolCalls", "input"])
def test_what_people_say_is_left_out_whatever_the_level(key: str) -> None:
    said = rf' error=bad {key}="my \"secret\" plan=secret\nsecret" done=true'
    line = parse_line(SLOG.format("WARN", "parsing failed", said))
    assert line is not None
    assert line.fields == f"error=bad {key}=… done=true"


def test_how_much_was_said_is_no_secret() -> None:
    line = parse_line(SLOG.format("DEBUG", "request", " messages=3 prompt=12"))
    assert line is not None
    assert line.fields == "messages=3 prompt=12"


def test_a_password_in_an_address_is_left_out() -> None:
    line = parse_line(SLOG.format("INFO", "config", ' env="HTTPS_PROXY:http://me:pw@proxy:1"'))
    assert line is not None
    assert line.fields == 'env="HTTPS_PROXY:http://…@proxy:1"'


def test_what_a_terminal_obeys_is_spelt_out() -> None:
    line = parse_line("kv 2: general.name = \x1b]0;title\x07evil")
    assert line is not None
    assert line.event == "kv 2: general.name = \\x1b]0;title\\x07evil"


def test_a_long_line_is_cut_after_it_was_understood() -> None:
    said = "w " * 20_000
    line = parse_line(SLOG.format("INFO", "x", f' content="{said}" a=1'))
    assert line is not None
    assert line.fields == "content=… a=1"
    shown = parse_line("y" * 20_000)
    assert shown is not None
    assert len(shown.event) == 4097


@given(st.text())
def test_any_text_is_one_line_that_can_be_printed(text: str) -> None:
    line = parse_line(text)
    assert line is None or (line.event + line.fields).isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_part_of_a_prompt_is_left_whatever_it_holds(said: str) -> None:
    """As Go quotes it: what is odd is escaped, so that the closing quote is the end."""
    quoted = json.dumps(said)
    line = parse_line(SLOG.format("DEBUG", "x", "").rstrip() + f" a=1 prompt={quoted} b=2")
    assert line is not None
    assert line.fields == "a=1 prompt=… b=2"
