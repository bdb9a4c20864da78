"""The command line's own client: finds a daemon that answers and says plainly when none does."""

from __future__ import annotations

import grp
import io
import os
import socket
import tempfile
from pathlib import Path

import pytest

from paddock.cli.chat import Chat, Streams, run_chat
from paddock.cli.daemon import no_daemon
from paddock.edges.daemon_client import (
    DaemonUnreachable,
    find_daemon,
    get_json,
    post_json,
    socket_candidates,
)
from paddock.settings import Settings

NOBODY = 65534


def test_nobody_there_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="start it with `paddock run`") as caught:
        get_json(tmp_path / "p.sock", "/paddock/status", timeout_s=1)
    assert caught.value.exit_code == 11


def test_a_dead_or_silent_socket_is_no_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as silent:
        dead.bind("dead")
        silent.bind("silent")
        silent.listen()
        with pytest.raises(DaemonUnreachable, match="no answer in time"):
            get_json(Path("silent"), "/healthz", timeout_s=0.1)
        assert find_daemon([Path("absent"), Path("dead")]) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (0o660, "join the group daemon, or set SOCKET_MODE and SOCKET_GROUP for the daemon"),
        (0o600, "set SOCKET_MODE and SOCKET_GROUP for the daemon"),
    ],
)
def test_a_socket_that_is_closed_to_its_user_is_told_of_and_what_opens_it(
    mode: int, told: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as ours:
        path = Path(folder, "p.sock")
        Path(folder).chmod(0o755)
        ours.bind(str(path))
        ours.listen()
        os.chown(path, 0, grp.getgrnam("daemon").gr_gid)
        path.chmod(mode)
        os.seteuid(NOBODY)
        try:
            why = no_daemon(Settings(socket=path))
            with pytest.raises(DaemonUnreachable, match="is closed to you; `ls -l /") as refused:
                post_json(path, "/paddock/pause", {}, timeout_s=5)
        finally:
            os.seteuid(0)
        assert no_daemon(Settings(socket=path)) == "no daemon answers"
    what = f"the daemon's socket {path} is closed to you (mode {mode:04o}, group daemon); {told}"
    assert why == what
    assert "start it" not in refused.value.message
    streams = Streams(io.StringIO(), io.StringIO(), io.StringIO())
    assert run_chat(Chat("a", None, "http://127.0.0.1:9", alone=why), "hi", streams) == 11
    assert streams.err.getvalue().startswith(f"paddock: {what}; asking ollama at http://")


def test_the_setting_is_looked_at_first() -> None:
    environ = {"PADDOCK_SOCKET": "/a/b", "XDG_RUNTIME_DIR": "/c"}
    assert socket_candidates(environ, 7) == (
        Path("/a/b"),
        Path("/c/paddock.sock"),
        Path("/run/paddock/paddock.sock"),
    )
    assert socket_candidates({}, 7)[0] == Path("/run/user/7/paddock.sock")
    assert socket_candidates({"HOME": "/h"}, 7)[-1] == Path("/h/.local/state/paddock/paddock.sock")
    assert socket_candidates({"XDG_STATE_HOME": "/s"}, 7)[-1] == Path("/s/paddock/paddock.sock")


def test_an_empty_prompt_is_an_error_and_asks_nobody() -> None:
    streams = Streams(io.StringIO(" \n"), io.StringIO(), io.StringIO())
    chat = Chat("a", Path("/nowhere"), "http://127.0.0.1:1")
    assert run_chat(chat, None, streams) == 1
    assert streams.err.getvalue().startswith("paddock: the prompt is empty")


def test_chat_exits_11_when_neither_daemon_nor_ollama_answers() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        streams = Streams(io.StringIO(), io.StringIO(), io.StringIO())
        assert run_chat(Chat("a", None, url), "hi", streams) == 11
    first, second = streams.err.getvalue().splitlines()
    assert first == f"paddock: no daemon answers; asking ollama at {url} directly"
    assert second.startswith(f"paddock: ollama at {url} does not answer: ")
    assert os.linesep not in streams.out.getvalue()


class Interrupted(io.StringIO):
    def read(self, _size: int | None = -1) -> str:
        raise KeyboardInterrupt


def test_an_interrupt_ends_chat_with_130() -> None:
    streams = Streams(Interrupted(), io.StringIO(), io.StringIO())
    assert run_chat(Chat("a", Path("/nowhere"), "http://127.0.0.1:1"), None, streams) == 130
