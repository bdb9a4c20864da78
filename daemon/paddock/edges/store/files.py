"""Files and folders, as the store needs them: scanned, synced, and with errors in plain words.

Touches what it is given and nothing else. Every OSError becomes a StoreError that says what, where
and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from paddock.errors import PaddockError, StoreError


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder; none where there is no such folder. Raises StoreError."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise StoreError(f"{folder} is not a folder", reason="StoreBroken") from error
    except OSError as error:
        what = f"cannot read {folder}: {words(error)}"
        raise StoreError(what, reason="StoreUnreadable") from error


def files_at_depth(folder: Path, depth: int) -> Iterator[Path]:
    """The entries at a depth below a folder, as Ollama globs its manifests."""
    for entry in scan(folder):
        path = Path(entry.path)
        if depth == 1:
            yield path
        elif entry.is_dir():
            yield from files_at_depth(path, depth - 1)


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
        reasons = {
            errno.ENOSPC: ("NoSpace", "free some space"),
            errno.EDQUOT: ("NoSpace", "free some space, or raise the quota"),
            errno.EROFS: ("ReadOnly", "the file system is read-only; mount it writable"),
            errno.EACCES: ("NotPermitted", "run as the owner of the models folder"),
            errno.EPERM: ("NotPermitted", "run as the owner of the models folder"),
        }
        reason, hint = reasons.get(error.errno or 0, ("StoreFailed", "see the file system"))
        raise StoreError(f"cannot write {path}: {words(error)}; {hint}", reason=reason) from error


def words(error: Exception) -> str:
    """An error in a few lower-case words."""
    if isinstance(error, PaddockError):
        return error.message
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]


def user_name(uid: int) -> str:
    """The name of a user, or the number of one who has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
