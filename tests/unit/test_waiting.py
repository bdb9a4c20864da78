"""How long a client says that it would wait for a model."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from paddock.endpoint.answers import Problem
from paddock.endpoint.waiting import wait_of, without_wait


@pytest.mark.parametrize(
    ("query", "headers", "seconds"),
    [
        ("", {}, 0),
        ("wait=30", {}, 30),
        ("a=b&wait=0.5", {}, 0.5),
        ("wait=1&wait=2", {}, 2),
        ("w%61it=3", {}, 3),
        ("wait=1000000", {}, 600),
        ("", {"paddock-wait": "10s"}, 10),
        ("", {"Prefer": "wait=10"}, 10),
        ("", {"Prefer": 'respond-async, WAIT = "7"'}, 7),
        ("", {"Prefer": "await=10, handling=strict"}, 0),
        ("wait=1", {"Paddock-Wait": "2"}, 1),
    ],
)
def test_a_wait_is_read_from_the_query_or_a_header(
    query: str, headers: dict[str, str], seconds: float
) -> None:
    assert wait_of(query, CIMultiDict(headers), limit_s=600) == seconds


@pytest.mark.parametrize("value", ["", "x", "-1", "nan", "inf", "1e999"])
def test_a_wait_that_is_no_time_is_refused(value: str) -> None:
    with pytest.raises(Problem, match="number of seconds") as error:
        wait_of(f"wait={value}", {}, limit_s=600)
    assert error.value.status == 400


@pytest.mark.parametrize(
    ("query", "forwarded"),
    [("wait=1", ""), ("a=%20&wait=1&b", "a=%20&b"), ("await=1", "await=1"), ("a", "a")],
)
def test_ollama_is_not_told_of_the_wait(query: str, forwarded: str) -> None:
    assert without_wait(query) == forwarded
