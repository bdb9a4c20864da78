"""Requests: what is judged is what Ollama reads, and nothing in it is damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.core.desired import Bounds, Residency
from paddock.core.keep_alive import KeepAlive
from paddock.endpoint.ports import Admission
from paddock.endpoint.requests import BadRequest, fold, parse_body

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def admission(keep_alive: float | None, clients: Any) -> Admission:
    held = None if keep_alive is None else KeepAlive.parse(keep_alive)
    return Admission("a", "serve", residency=Residency(clients=clients), keep_alive=held)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "missing request body"),
        (b" \n", "missing request body"),
        (b"[]", "expected a JSON object"),
        (b'"model"', "expected a JSON object"),
        (b"\xef\xbb\xbf{}", "expected a JSON object"),
        (b"{}", "model is required"),
        (b'{"model":""}', "model is required"),
        (b'{"model":null}', "model is required"),
        (b'{"model":1}', "model must be a string"),
        (b'{"model":"a"}{}', "nothing after the object"),
        (b'{"model":"a"},', "nothing after the object"),
        (b'{"model":"a",}', "expected a key"),
        (b'{"model" "a"}', "expected ':'"),
        (b'{"model":"a" "b":1}', "expected ',' or '}'"),
        (b'{model:"a"}', "expected a key"),
        (b'{"model":"a"', "expected ',' or '}'"),
        (b'{"model":"a","x":NaN}', "NaN is not a number"),
        (b'{"model":"a","x":-Infinity}', "-Infinity is not a number"),
        (b'{"model":"a","x":01}', "expected ',' or '}'"),
        (b'{"model":"a\nb"}', "Invalid control character"),
        (b'{"model":"\xff"}', "not UTF-8"),
        (b'{"model":"a","model":"b"}', "stands twice"),
        (b'{"model":"a","MODEL":"b"}', "stands twice"),
        (b'{"model":"a","m\\u006fdel":"b"}', "stands twice"),
        ('{"model":"a","keep_alive":1,"\u212aeep_alive":0}'.encode(), "stands twice"),
        (b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"model":"a","x":[' + b"1," * 1_000_001 + b"1]}", "too many values"),
        (b'{"model":"a",' + b",".join(b'"%d":1' % n for n in range(300)) + b"}", "more than 256"),
    ],
)
def test_a_body_that_go_might_read_otherwise_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why.replace("{", r"\{")):
        parse_body(data)


def test_the_key_is_read_whatever_its_case_and_forwarded_folded() -> None:
    body = parse_body(b' { "Model" : "a" , "STREAM" : false } ')
    assert body.model == "a"
    assert body.encode() == b'{"model":"a","stream":false}'


def test_numbers_keys_and_texts_keep_the_form_in_which_they_came() -> None:
    text = (
        r'{"model":"a","options":{"seed":123456789012345678901234567890,"temperature":1.10,'
        r'"B":1e400,"b":[{"z":1,"a":2}]},"prompt":"\u00e9\ud83d\ude00 é\/"}'
    )
    assert parse_body(text.encode()).encode().decode() == text


def test_a_number_of_any_length_is_passed_on() -> None:
    data = b'{"model":"a","x":' + b"9" * 10_000 + b"}"
    assert parse_body(data).encode() == data


def test_keys_below_the_top_may_differ_in_case_only() -> None:
    data = b'{"model":"a","format":{"properties":{"A":{},"a":{}}}}'
    assert parse_body(data).encode() == data


def test_show_takes_the_older_key_where_the_newer_is_empty() -> None:
    keys = ("model", "name")
    assert parse_body(b'{"model":"","name":"b"}', model_keys=keys).model == "b"
    assert parse_body(b'{"name":"b","model":"a"}', model_keys=keys).model == "a"


SOME = Bounds(KeepAlive(60.0), KeepAlive(600.0))


@pytest.mark.parametrize(
    ("data", "keep_alive", "clients", "sent"),
    [
        (b'{"model":"a"}', -1, "allow", "-1"),
        (b'{"model":"a"}', -1, "deny", "-1"),
        (b'{"model":"a"}', 0.5, "allow", "0.5"),
        (b'{"model":"a"}', None, "allow", None),
        (b'{"model":"a"}', None, None, None),
        (b'{"model":"a","keep_alive":null}', 300, "allow", "300"),
        (b'{"model":"a","keep_alive":0}', -1, "allow", "0"),
        (b'{"model":"a","keep_alive":0}', -1, "deny", "-1"),
        (b'{"model":"a","keep_alive":"5m"}', 300, "allow", '"5m"'),
        (b'{"model":"a","keep_alive":"no time"}', 300, "allow", '"no time"'),
        (b'{"model":"a","keep_alive":"no time"}', 300, "deny", "300"),
        (b'{"model":"a","KEEP_ALIVE":0}', -1, "deny", "-1"),
        ('{"model":"a","\u212aeep_alive":0}'.encode(), -1, "deny", "-1"),
        (b'{"model":"a","keep_alive":0}', None, "deny", None),
        # Without a rule a client's own counts where the file says nothing.
        (b'{"model":"a","keep_alive":0}', -1, None, "-1"),
        (b'{"model":"a","keep_alive":0}', None, None, "0"),
        # Within bounds, which a client that gives none does not meet.
        (b'{"model":"a","keep_alive":"2m"}', -1, SOME, "120"),
        (b'{"model":"a","keep_alive":0}', -1, SOME, "60"),
        (b'{"model":"a","keep_alive":-1}', 300, SOME, "600"),
        (b'{"model":"a"}', -1, SOME, "-1"),
        (b'{"model":"a","keep_alive":null}', None, SOME, None),
        (b'{"model":"a","keep_alive":5}', None, SOME, "60"),
    ],
)
def test_keep_alive_is_the_clients_only_where_it_may_give_one(
    data: bytes, keep_alive: float | None, clients: Any, sent: str | None
) -> None:
    body = parse_body(data).with_keep_alive(admission(keep_alive, clients))
    assert body.fields.get("keep_alive") == sent
    assert json.loads(body.encode())["model"] == "a"


@pytest.mark.parametrize("value", ["true", '"soon"', "9e99", "[1]", '""'])
def test_a_time_that_cannot_be_held_against_bounds_is_refused(value: str) -> None:
    body = parse_body(b'{"model":"a","keep_alive":%b}' % value.encode())
    with pytest.raises(BadRequest, match=r"^keep_alive "):
        body.with_keep_alive(admission(-1, SOME))


@given(st.dictionaries(st.text(), VALUES, max_size=6), st.booleans())
def test_what_is_forwarded_means_what_came(value: dict[str, object], ascii_only: bool) -> None:
    value = {fold(key): item for key, item in value.items()} | {"model": "a"}
    text = json.dumps(value, ensure_ascii=ascii_only)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    assert json.loads(parse_body(data).encode()) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_body_or_refused(data: bytes) -> None:
    try:
        body = parse_body(data)
    except BadRequest:
        return
    assert parse_body(body.encode()) == body


@pytest.mark.parametrize(
    ("key", "folded"),
    [
        ("MODEL", "model"),
        ("\u017f", "s"),
        ("\u212a", "k"),
        ("ß", "ß"),
        ("ẞ", "ß"),
        ("\u03a3\u03c2", "\u03c3\u03c3"),
    ],
)
def test_keys_fold_letter_by_letter_as_in_go(key: str, folded: str) -> None:
    assert fold(key) == folded
