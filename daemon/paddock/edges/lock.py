"""The lock that makes one Paddock the only writer of a store.

Touches `<models>/.paddock/lock` and nothing else: flock, which ends with its process, and one line
in the file that names the holder: pid, since when, its models.yaml and its socket, as JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from paddock.errors import LockedError, store_error


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a store. `file` is the real path of its models.yaml; `socket` None: no daemon."""

    pid: int
    since: str
    file: str
    socket: str | None

    def __str__(self) -> str:
        what = "paddock apply" if self.socket is None else "paddock run"
        return f"{what} with pid {self.pid} since {self.since}"


class StoreLock:
    """A held lock. It is released when the process ends, however it ends."""

    def __init__(self, folder: Path, holder: Holder):
        path = folder / "lock"
        self.holder = holder
        self._path = path
        try:
            # Never through a link: the line below would go into what it leads to.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            raise store_error(path, error) from error
        if not _acquire(self._descriptor):
            os.close(self._descriptor)
            other = read_holder(folder)
            who = "another paddock" if other is None else str(other)
            what = f"{folder.parent} is held by {who}; stop it, or ask it through its socket"
            raise LockedError(what, holder=who)
        line = json.dumps(asdict(holder)).encode() + b"\n"
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, line, 0)
        except OSError as error:
            os.close(self._descriptor)
            raise store_error(path, error) from error

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is locked is still the one that others would lock."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.lstat())
        except OSError:
            return False

    def release(self) -> None:
        """Let the next one in."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def read_holder(folder: Path) -> Holder | None:
    """Who holds the lock now; None where nobody does, or it cannot be told."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not _is_held(descriptor):
            return None
        return Holder(**json.loads(os.pread(descriptor, 65536, 0)))
    except (ValueError, TypeError, OSError):
        return None
    finally:
        os.close(descriptor)


def _acquire(descriptor: int) -> bool:
    """Tried thrice: a reader that asks who holds it takes it for a moment."""
    for _ in range(3):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
