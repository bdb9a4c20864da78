"""What `install-service` would write, for one host or another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paddock.core.install import (
    Place,
    Server,
    Units,
    digest,
    drop_in,
    files,
    quoted,
    read_receipt,
    receipt,
)

OLLAMA = Server("ollama", "ollama", "http://127.0.0.1:11434", "/srv/models")
PLACE = Place("/etc/systemd/system", "/etc/paddock", "/usr/lib/systemd/system")
UNITS = Units(
    {
        "paddock.service": "service",
        "paddock.socket": "socket",
        "paddock.service.d/notify-reload.conf": "reload",
    }
)


def written(server: Server = OLLAMA, version: int = 252, *, units: Units = UNITS) -> dict[str, str]:
    return files(PLACE, server, "/opt/paddock", units=units, version=version, spec="spec")


def test_models_yaml_comes_first_and_the_units_are_as_shipped() -> None:
    found = written()
    assert next(iter(found.items())) == ("/etc/paddock/models.yaml", "spec")
    assert found["/etc/systemd/system/paddock.service"] == "service"
    assert found["/etc/systemd/system/paddock.socket"] == "socket"


@pytest.mark.parametrize(("version", "is_there"), [(252, False), (253, True), (257, True)])
def test_the_newer_kind_of_reload_is_for_a_systemd_that_knows_it(
    version: int, is_there: bool
) -> None:
    path = "/etc/systemd/system/paddock.service.d/notify-reload.conf"
    assert (path in written(version=version)) is is_there


def test_a_drop_in_says_what_is_of_this_host() -> None:
    assert drop_in(OLLAMA, "/opt/paddock", "service").splitlines()[1:] == [
        "[Service]",
        "User=ollama",
        "Group=ollama",
        "ReadWritePaths=",
        "ReadWritePaths=/srv/models",
        "ExecStart=",
        "ExecStart=/opt/paddock run",
        "Environment=OLLAMA_HOST=http://127.0.0.1:11434",
        "Environment=OLLAMA_MODELS=/srv/models",
    ]


def test_for_oneself_there_is_no_other_user_and_no_folder_to_open() -> None:
    own = replace(OLLAMA, user=None, group=None)
    text = drop_in(own, "/opt/paddock", "service")
    assert "User=" not in text
    assert "ReadWritePaths=" not in text
    assert "/etc/systemd/system/paddock.socket.d/installed.conf" not in written(own)


def test_beside_the_units_of_a_package_only_what_is_of_this_host_is_written() -> None:
    found = written(units=replace(UNITS, are_packaged=True))
    assert list(found) == [
        "/etc/paddock/models.yaml",
        "/etc/systemd/system/paddock.service.d/installed.conf",
        "/etc/systemd/system/paddock.socket.d/installed.conf",
    ]


@pytest.mark.parametrize(
    ("start", "is_said"),
    [("ExecStart=/opt/paddock run", False), ("ExecStart=/opt/paddock run --managed", True)],
)
def test_where_the_program_is_is_said_only_where_the_unit_says_otherwise(
    start: str, is_said: bool
) -> None:
    text = drop_in(OLLAMA, "/opt/paddock", f"[Service]\n{start}\n")
    assert ("ExecStart=/opt/paddock run\n" in text) is is_said


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", "a"), ("a b", '"a b"'), ("50%", "50%%"), ('a "b', '"a \\"b"'), ("a\\b", "a\\\\b")],
)
def test_a_value_is_written_as_units_read_it(text: str, expected: str) -> None:
    assert quoted(text) == expected


def test_a_receipt_is_read_back_and_adds_to_an_earlier_one() -> None:
    text = receipt({"/b": "new"}, ("/x", "/x"), earlier={"/a": "0", "/b": "1"})
    assert read_receipt(text) == ({"/a": "0", "/b": digest("new")}, ("/x",))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"files": 1, "folders": []}', '{"files": {}}'])
def test_what_is_no_receipt_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"receipt|Expecting"):
        read_receipt(text)
