"""Files and folders, as the store needs them: scanned, synced, and with errors in plain words.

Touches what it is given and nothing else. Every OSError becomes a StoreError that says what, where
and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from paddock.errors import StoreError, store_error, words

T = TypeVar("T")
Folder = TypeVar("Folder", str, str | Path)


def scan(folder: str | Path) -> list[os.DirEntry[str]]:
    """The entries of a folder; none where there is no such folder. Raises StoreError."""
    return listed(folder, _entries)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def listed(folder: Folder, how: Callable[[Folder], list[T]]) -> list[T]:
    """What is found in a folder; nothing where there is no such folder. Raises StoreError."""
    try:
        return how(folder)
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise StoreError(f"{folder} is not a folder", reason="StoreBroken") from error
    except OSError as error:
        what = f"cannot read {folder}: {words(error)}"
        raise StoreError(what, reason="StoreUnreadable") from error


def read_file(path: str | Path, limit_bytes: int) -> bytes:
    """The first bytes of a regular file; never waits for a FIFO or a device. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - what is open already
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        return file.read(min(limit_bytes, found.st_size + 1))  # room is made for all of it


def check_may_write(folder: Path) -> None:
    """Raise StoreError where nothing can be made in a folder."""
    if not os.access(folder, os.W_OK | os.X_OK):
        is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
        raise store_error(folder, OSError(number, os.strerror(number)))


def sync_dir(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """OSError becomes a StoreError that names the path and what to do."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise store_error(path, error) from error


def user_name(uid: int) -> str:
    """The name of a user, or the number of one who has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
