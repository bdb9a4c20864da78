"""The file of Paddock's Unix socket: whose it is, who may connect, and when it goes.

Owns the claim: a socket handed over by systemd first, else one that we bind under a lock. It never
takes a path from a live server (asyncio would do that without a word), nobody can connect before
the mode is set, and only what is still ours is unlinked. Serves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from paddock.edges.systemd import handed_over
from paddock.errors import LockedError, PaddockError, SettingsError

RUN_DIR = Path("/run/paddock")
SOCKET_NAME = "paddock.sock"
MAX_PATH_BYTES = 107  # sun_path, less its NUL
_BACKLOG = 128
_UNBOUND_MODE = 0o600


@dataclass(slots=True)
class SocketClaim:
    """A listening socket; `release` closes it and removes what we made."""

    sock: socket.socket
    path: Path
    activated: bool
    _file: tuple[int, int] | None = None
    _lock: _Lock | None = None

    def release(self) -> None:
        """Closes the socket and unlinks its file while it is still ours; may be repeated."""
        self.sock.close()
        if self._file is not None and _identity(self.path) == self._file:
            self.path.unlink(missing_ok=True)
        self._file = None
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> SocketClaim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def default_socket_path(environ: Mapping[str, str], uid: int, *, run_dir: Path = RUN_DIR) -> Path:
    """Chooses where the socket lies: the setting, else /run/paddock, else the user's folder there,
    else, where no login made that (a container, a su), one in their home.

    Raises SettingsError when none of them can be used.
    """
    if setting := environ.get("PADDOCK_SOCKET"):
        return Path(setting)
    if os.access(run_dir, os.W_OK | os.X_OK):
        return run_dir / SOCKET_NAME
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
    if os.access(runtime, os.W_OK | os.X_OK):
        return runtime / SOCKET_NAME
    home = environ.get("HOME")
    if state := environ.get("XDG_STATE_HOME") or (f"{home}/.local/state" if home else ""):
        with contextlib.suppress(OSError):
            folder = Path(state, "paddock")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return folder / SOCKET_NAME
    raise SettingsError(
        f"no folder for the socket: {run_dir} and {runtime} cannot be written; set PADDOCK_SOCKET"
    )


def activated_socket(environ: Mapping[str, str], pid: int) -> socket.socket | None:
    """Takes the stream socket that systemd hands to this process, if it hands one over.

    Raises SettingsError when what is handed over is not one listening stream socket: a second one
    would be held open, and never served.
    """
    handed = handed_over(environ, pid)
    if not handed:
        return None
    if len(handed) > 1:
        names = ", ".join(handed)
        raise SettingsError(f"systemd hands over {len(handed)} sockets ({names}); hand over one")
    sock = socket.socket(fileno=min(handed.values()))
    wrong = _what_is_wrong(sock)
    if wrong:
        sock.detach()
        raise SettingsError(f"the socket from systemd {wrong}")
    return sock


def _what_is_wrong(sock: socket.socket) -> str:
    """Why nobody may be served on a socket that was handed over: who asks over TCP, or through an
    abstract name, was not let through by the mode of any file."""
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.type != socket.SOCK_STREAM or not listening:
        return "does not listen; use ListenStream= in it"
    if sock.family != socket.AF_UNIX:
        return "is no Unix socket; name a path in ListenStream=, and use the setting LISTEN for TCP"
    if isinstance(sock.getsockname(), bytes):
        return "is abstract, so anybody could connect; name a path in ListenStream="
    return ""


def claim_socket(
    path: Path,
    *,
    mode: int = 0o660,
    group: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> SocketClaim:
    """Takes the socket that systemd hands over, else binds `path` and listens on it.

    Raises LockedError when another program answers there, and SettingsError when the path cannot
    be used.
    """
    sock = activated_socket(environ or {}, os.getpid())
    if sock is not None:
        return SocketClaim(sock, Path(sock.getsockname()), activated=True)
    _check_path(path)
    lock = _Lock.take(path)
    try:
        _clear(path)
        sock, file = _bind(path, mode, _group_id(group))
    except BaseException:
        lock.release()
        raise
    return SocketClaim(sock, path, activated=False, _file=file, _lock=lock)


def _check_path(path: Path) -> None:
    name = os.fsencode(path)
    if name.startswith((b"@", b"\0")):
        raise SettingsError(f'socket "{path}" is abstract, so anybody could connect; name a file')
    if b"\0" in name:
        raise SettingsError("the socket's path holds a NUL byte; name a file")
    if len(name) > MAX_PATH_BYTES:
        raise SettingsError(
            f"socket {path} has {len(name)} bytes; the kernel takes {MAX_PATH_BYTES}; choose a"
            " shorter path"
        )
    if not path.parent.is_dir():
        raise SettingsError(f"socket {path}: folder {path.parent} does not exist; create it")


def _clear(path: Path) -> None:
    """Removes a socket that a crash left behind."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SettingsError(f"{path} is not a socket; remove it or choose another path")
    if _answers(path):
        raise LockedError(f"another program serves {path}; stop it first", holder="")
    with _translated(path):
        path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    """Whether anything but nobody is at the other end: every doubt counts as somebody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog would wait for ever
        return probe.connect_ex(os.fsencode(path)) not in {errno.ECONNREFUSED, errno.ENOENT}


def _bind(path: Path, mode: int, gid: int) -> tuple[socket.socket, tuple[int, int] | None]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _translated(path):
            # Linux gives the file this mode less the umask; before listen() nobody can connect.
            os.fchmod(sock.fileno(), _UNBOUND_MODE)
            sock.bind(os.fsencode(path))
            os.chown(path, -1, gid)
            path.chmod(mode)
            sock.listen(_BACKLOG)
    except BaseException:
        if sock.getsockname():
            path.unlink(missing_ok=True)
        sock.close()
        raise
    return sock, _identity(path)


def _group_id(group: str | None) -> int:
    if group is None:
        return -1
    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise SettingsError(f'the socket\'s group "{group}" does not exist; create it') from None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"socket {path}: {error.strerror}; check the folder's owner, or set another path"
        ) from error


@dataclass(slots=True)
class _Lock:
    """`<path>.lock`: whoever holds it may replace the socket's file."""

    path: Path
    fd: int

    @classmethod
    def take(cls, socket_path: Path) -> _Lock:
        path = socket_path.with_name(f"{socket_path.name}.lock")
        while True:
            with _translated(path):
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                cls._hold(fd, socket_path)
                facts = os.fstat(fd)
            except PaddockError:
                os.close(fd)
                raise
            if _identity(path) == (facts.st_dev, facts.st_ino):
                return cls(path, fd)
            os.close(fd)  # its holder removed it while we waited: ours is no lock any more

    @staticmethod
    def _hold(fd: int, socket_path: Path) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip()
            by = f" ({holder})" if holder else ""
            message = f"another paddock{by} serves {socket_path}; stop it, or set another path"
            raise LockedError(message, holder=holder) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self.fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self.fd)
            self.fd = -1
