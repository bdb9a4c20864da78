"""Records of the journal: how an event becomes fields, and fields bytes."""

from __future__ import annotations

import io
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from paddock.core.journal import encode, key_of, to_fields
from paddock.edges.journal import Journal, journal_of
from paddock.logs import configure_logs


def decoded(data: bytes) -> dict[str, str]:
    """The fields of a record, read as the journal reads it."""
    found = {}
    while data:
        head, _, rest = data.partition(b"\n")
        if b"=" in head:
            key, _, value = head.partition(b"=")
            data = rest
        else:
            key, (length,) = head, struct.unpack("<Q", rest[:8])
            value, data = rest[8 : 8 + length], rest[8 + length + 1 :]
        found[key.decode()] = value.decode()
    return found


@pytest.mark.parametrize("value", ["", "a", "a=b", "two\nlines", "\n", "ünï", "x\n" * 1000])
def test_what_is_encoded_is_read_back(value: str) -> None:
    fields = {"MESSAGE": value, "MODEL": "a"}
    assert decoded(encode(fields)) == fields


def test_a_value_cannot_forge_a_field() -> None:
    assert decoded(encode({"MODEL": "a\nPRIORITY=0"})) == {"MODEL": "a\nPRIORITY=0"}


def test_an_event_is_a_message_with_a_field_for_each_of_its_own() -> None:
    event = {"event": "link it", "level": "info", "ts": "now", "model": "a b", "elapsed_s": 0.5}
    assert to_fields(event, "paddock") == {
        "MESSAGE": "link it model='a b' elapsed_s=0.500",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "paddock",
        "MODEL": "a b",
        "ELAPSED_S": "0.500",
    }


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")],
)
def test_a_level_is_a_priority_of_syslog(level: str, priority: str) -> None:
    assert to_fields({"event": "x", "level": level}, "paddock")["PRIORITY"] == priority


def test_a_traceback_follows_the_message() -> None:
    event = {"event": "request failed", "level": "error", "exception": "Traceback\n  x"}
    assert to_fields(event, "paddock")["MESSAGE"] == "request failed\nTraceback\n  x"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("model", "MODEL"),
        ("elapsed_s", "ELAPSED_S"),
        ("a-b c", "A_B_C"),
        ("message", "PADDOCK_MESSAGE"),
        ("priority", "PADDOCK_PRIORITY"),
        ("_pid", "PADDOCK_PID"),
        ("1st", "PADDOCK_1ST"),
        ("x" * 100, "X" * 64),
    ],
)
def test_a_key_is_one_that_the_journal_takes_and_does_not_use_itself(name: str, key: str) -> None:
    assert key_of(name) == key


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    monkeypatch.chdir(tmp_path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind("journal")
    sock.settimeout(5)
    return sock


def test_a_record_is_one_datagram(receiver: socket.socket) -> None:
    with receiver:
        journal = Journal(Path("journal"))
        journal.send({"MESSAGE": "x"})
        assert receiver.recv(100) == b"MESSAGE=x\n"
        journal.close()


def test_a_record_that_no_datagram_holds_comes_as_a_sealed_file(receiver: socket.socket) -> None:
    fields = {"MESSAGE": "x" * 10_000_000}
    with receiver:
        journal = Journal(Path("journal"))
        journal.send(fields)
        data, (fd,), _, _ = socket.recv_fds(receiver, 100, 1)
        assert data == b""
        with os.fdopen(fd, "rb") as file:
            file.seek(0)
            assert decoded(file.read()) == fields
            with pytest.raises(OSError, match="not permitted"):
                os.truncate(file.fileno(), 1)
        journal.close()


def test_what_the_journal_does_not_take_goes_to_stderr_with_its_priority(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        journal = Journal(tmp_path / "nobody", stderr=stderr)
        journal.send({"MESSAGE": "a\nb", "PRIORITY": "3"})
        journal.close()
    assert (tmp_path / "stderr").read_text() == "<3>a\n<3>b\n"


def test_without_a_stream_to_the_journal_there_is_none(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        assert journal_of({}, stderr) is None
        assert journal_of({"JOURNAL_STREAM": "1:2"}, stderr) is None


def test_logs_are_records_where_a_journal_is_given_and_nobody_looks_on() -> None:
    records = list[Mapping[str, Any]]()
    try:
        configure_logs("info", "auto", stream=io.StringIO(), journal=records.append)
        structlog.get_logger().warning("action failed", model="a")
        structlog.get_logger().debug("nothing")
    finally:
        structlog.reset_defaults()
    [record] = records
    assert {k: record[k] for k in ("event", "level", "model")} == {
        "event": "action failed",
        "level": "warning",
        "model": "a",
    }


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_form_that_is_asked_for_is_kept_under_systemd_too(form: str) -> None:
    records, stream = list[Mapping[str, Any]](), io.StringIO()
    try:
        configure_logs("info", form, stream=stream, journal=records.append)
        structlog.get_logger().info("cycle ended", done=1)
    finally:
        structlog.reset_defaults()
    assert records == []
    assert "cycle ended" in stream.getvalue()
