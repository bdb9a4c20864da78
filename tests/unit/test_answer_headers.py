"""The headers of an answer: what is for one connection stays on it."""

from __future__ import annotations

from paddock.endpoint.framing import parse_head
from paddock.endpoint.relay import passed_on


def test_what_is_for_one_connection_is_not_passed_on_and_all_else_is_as_it_came() -> None:
    head = parse_head(
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/event-stream\r\n"
        b"connection: X-Hop , keep-alive\r\n"
        b"Connection: X-OTHER\r\n"
        b"x-hop: 1\r\n"
        b"X-Other: 1\r\n"
        b"Keep-Alive: timeout=5\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"Trailer: X-Late\r\n"
        b"Upgrade: h2c\r\n"
        b"Proxy-Connection: close\r\n"
        b"Set-Cookie: a=b\r\n"
        b"set-cookie: c=d"
    )
    assert passed_on(head) == [
        (b"Content-Type", b"text/event-stream"),
        (b"Set-Cookie", b"a=b"),
        (b"set-cookie", b"c=d"),
    ]
