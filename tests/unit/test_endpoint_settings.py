"""The settings of the socket: limits, administrators, the listener."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.endpoint.answers import Problem
from paddock.endpoint.listener import check_host, own_names
from paddock.endpoint.ports import EndpointLimits
from paddock.errors import SettingsError
from paddock.service import limits_of
from paddock.settings import Settings, load_settings


def test_the_limits_have_the_same_defaults_as_settings_and_without_them() -> None:
    assert limits_of(Settings()) == EndpointLimits()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_body", "4096", 4096),
        ("max_body", "8MiB", 8 << 20),
        ("max_buffered", "1 gib", 1 << 30),
        ("max_header", "16KiB", 16384),
        ("socket_mode", "0600", 0o600),
        ("socket_mode", "666", 0o666),
        ("admins", "alice, 1000,", ("alice", "1000")),
        ("admins", "alice", ("alice",)),
        ("listen", "127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("listen", "[::1]:0", ("::1", 0)),
        ("undeclared", "deny", "deny"),
        ("max_wait", "5", 5.0),
    ],
)
def test_a_setting_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"PADDOCK_{name.upper()}", text)
    assert getattr(load_settings({}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_body", "8MB"),
        ("max_body", "10"),
        ("max_header", "1"),
        ("socket_mode", 660),
        ("socket_mode", "1777"),
        ("socket_mode", "rw"),
        ("max_streams", 0),
        ("header_time", 0),
        ("listen", "9464"),
        ("listen", ":9464"),
        ("listen", "host:port"),
        ("listen", "http://host:1"),
        ("undeclared", "no"),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"setting {name}"):
        load_settings({name: value})


@pytest.mark.parametrize(
    "header",
    [
        "127.0.0.1:9464",
        "127.0.0.1",
        "[::1]:9464",
        "localhost:1",
        "a.localhost",
        "GPU1:9464",
        "gpu1.",
    ],
)
def test_an_address_and_our_own_names_may_stand_in_the_host_header(header: str) -> None:
    check_host(header, own_names("gpu1"))


@pytest.mark.parametrize(
    "header", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[x", "gpu2"]
)
def test_any_other_name_is_refused_because_a_browser_may_have_been_sent(header: str) -> None:
    with pytest.raises(Problem) as error:
        check_host(header, own_names("gpu1"))
    assert error.value.status == 403
