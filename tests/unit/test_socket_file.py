"""The socket's file: never stolen from a live server, never open to more than it should be."""

from __future__ import annotations

import grp
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paddock.endpoint.socket import activated_socket, claim_socket, default_socket_path
from paddock.errors import LockedError, SettingsError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short path: the kernel takes 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return Path("p.sock")


def here() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def leave_behind(path: Path) -> None:
    """What a crash leaves: the file of a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_a_claimed_socket_can_be_connected_to_and_is_gone_afterwards(path: Path) -> None:
    with claim_socket(path) as claim:
        connect(path)
        assert not claim.activated
        assert here() == ["p.sock", "p.sock.lock"]
    assert here() == []
    claim.release()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_is_the_one_asked_for_whatever_the_umask(
    path: Path, mode: int, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with claim_socket(path, mode=mode):
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_the_file_is_never_more_open_than_its_mode(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real_chown = os.chown

    def chown(target: Path, uid: int, gid: int) -> None:
        seen.append(stat.S_IMODE(target.stat().st_mode))
        with pytest.raises(ConnectionRefusedError):
            connect(target)
        real_chown(target, uid, gid)

    monkeypatch.setattr(os, "chown", chown)
    before = os.umask(0)
    try:
        claim_socket(path, mode=0o666).release()
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_the_group_is_given_by_name_or_number(path: Path) -> None:
    group = grp.getgrgid(os.getgid())
    for name in (group.gr_name, str(group.gr_gid)):
        with claim_socket(path, group=name):
            assert path.stat().st_gid == group.gr_gid


def test_a_group_that_does_not_exist_is_told_and_nothing_is_left(path: Path) -> None:
    with pytest.raises(SettingsError, match='group "nobody-here" does not exist'):
        claim_socket(path, group="nobody-here")
    assert here() == []


def test_the_socket_of_a_crash_is_replaced(path: Path) -> None:
    leave_behind(path)
    with claim_socket(path):
        connect(path)


def test_a_live_socket_of_anybody_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(LockedError, match="another program serves") as caught:
            claim_socket(path)
        assert caught.value.exit_code == 12
        connect(path)


def test_a_live_socket_with_a_full_backlog_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
        other.bind(str(path))
        other.listen(0)
        waiting.connect(str(path))
        with pytest.raises(LockedError):
            claim_socket(path)


def test_a_second_paddock_is_told_who_holds_the_socket(path: Path) -> None:
    with claim_socket(path):
        with pytest.raises(LockedError, match=rf"pid {os.getpid()}") as caught:
            claim_socket(path)
        assert caught.value.holder == f"pid {os.getpid()}"
        connect(path)


def test_a_lock_without_a_socket_still_counts(path: Path) -> None:
    """Between two steps of a start there is a lock and no socket yet."""
    with claim_socket(path):
        path.unlink()
        with pytest.raises(LockedError):
            claim_socket(path)


def test_release_does_not_remove_the_socket_of_a_successor(path: Path) -> None:
    claim = claim_socket(path)
    path.rename("mine")
    leave_behind(path)
    claim.release()
    assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case _:
            leave_behind(Path("other"))
            path.symlink_to("other")
    with pytest.raises(SettingsError, match="is not a socket; remove it"):
        claim_socket(path)
    assert path.exists()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("x" * 108, "108 bytes; the kernel takes 107"),
        ("@paddock", "abstract"),
        ("\0paddock", "abstract"),
        ("a\0b", "NUL"),
        ("absent/p.sock", "folder absent does not exist; create it"),
    ],
)
def test_a_path_that_cannot_hold_a_socket_is_told_in_one_line(
    path: Path, bad: str, why: str
) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        claim_socket(Path(bad))
    assert "\n" not in caught.value.message
    assert here() == []


def test_the_longest_path_that_the_kernel_takes_is_taken(tmp_path: Path, path: Path) -> None:
    with claim_socket(Path("x" * 107)):
        connect(Path("x" * 107))


def test_a_socket_handed_over_by_systemd_is_used_and_stays(tmp_path: Path, path: Path) -> None:
    program = """
import os, socket, sys
os.dup2(int(sys.argv[1]), 3)
from pathlib import Path
from paddock.endpoint.socket import claim_socket
environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
with claim_socket(Path("other"), environ=environ) as claim:
    print(claim.activated, claim.path, claim.sock.fileno(), os.get_inheritable(3))
"""
    with socket.socket(socket.AF_UNIX) as handed:
        handed.bind(str(path))
        handed.listen()
        out = subprocess.run(
            [sys.executable, "-c", program, str(handed.fileno())],
            pass_fds=[handed.fileno()], capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert out.stdout == "True p.sock 3 False\n"
    assert here() == ["p.sock"]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("tcp", "is no Unix socket; name a path"),
        ("abstract", "is abstract, so anybody could connect"),
        ("datagram", "does not listen"),
        ("deaf", "does not listen"),
        ("two", "hands over 2 sockets"),
    ],
)
def test_what_systemd_hands_over_must_be_a_file_that_listens(
    path: Path, kind: str, why: str
) -> None:
    """Whoever asks over TCP or an abstract name was let in by nobody."""
    program = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[1]), 4)
from pathlib import Path
from paddock.endpoint.socket import claim_socket
from paddock.errors import SettingsError
environ = {"LISTEN_FDS": sys.argv[2], "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a:b"}
try:
    claim_socket(Path("other"), environ=environ)
except SettingsError as error:
    print(error.message)
"""
    family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
    how = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
    with socket.socket(family, how) as handed:
        names: dict[str, Any] = {"tcp": ("127.0.0.1", 0), "abstract": f"\0paddock-{os.getpid()}"}
        handed.bind(names.get(kind, str(path)))
        if kind not in {"datagram", "deaf"}:
            handed.listen()
        out = subprocess.run(
            [sys.executable, "-c", program, str(handed.fileno()), "2" if kind == "two" else "1"],
            pass_fds=[handed.fileno()], capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert why in out.stdout
    assert out.stdout.count("\n") == 1
    assert "other" not in here()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "0", "LISTEN_PID": "77"},
        {"LISTEN_FDS": "x", "LISTEN_PID": "77"},
    ],
)
def test_what_systemd_handed_to_another_process_is_not_taken(environ: dict[str, str]) -> None:
    assert activated_socket(environ, 77) is None


def test_where_no_login_made_a_folder_the_path_is_in_the_home(tmp_path: Path) -> None:
    run, user, home = (tmp_path / name for name in ("run", "user", "home"))
    environ = {"XDG_RUNTIME_DIR": str(user), "HOME": str(home)}
    path = default_socket_path(environ, 1000, run_dir=run)
    assert path == home / ".local" / "state" / "paddock" / "paddock.sock"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    set_state = environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    path = default_socket_path(set_state, 1000, run_dir=run)
    assert path == tmp_path / "state" / "paddock" / "paddock.sock"
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="set PADDOCK_SOCKET"):
        default_socket_path(environ | {"HOME": str(tmp_path / "file")}, 1000, run_dir=run)


def test_the_path_is_the_setting_then_run_then_the_users_folder(tmp_path: Path) -> None:
    run, user = tmp_path / "run", tmp_path / "user"
    environ = {"XDG_RUNTIME_DIR": str(user)}
    with pytest.raises(SettingsError, match="set PADDOCK_SOCKET"):
        default_socket_path(environ, 1000, run_dir=run)
    user.mkdir()
    assert default_socket_path(environ, 1000, run_dir=run) == user / "paddock.sock"
    run.mkdir()
    assert default_socket_path(environ, 1000, run_dir=run) == run / "paddock.sock"
    setting = environ | {"PADDOCK_SOCKET": "/x/y.sock"}
    assert default_socket_path(setting, 1000, run_dir=run) == Path("/x/y.sock")
