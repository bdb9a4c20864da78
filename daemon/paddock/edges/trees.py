"""Publish trees on disk: the only writer of them.

Walks from a tree's folder by descriptors and follows no link below it, so that nothing is made or
removed outside of it. Makes what is not there, and fails where something is; changes and removes
only what is still the very Thing that the caller names. Touches nothing that a link points to.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat as modes
from collections.abc import Iterator
from pathlib import Path

from paddock.core.tree_facts import FOLDER, Place, Root, Thing
from paddock.core.unknown import Known, Unknown
from paddock.errors import Retry, StoreError

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER_MODE = 0o755
_FILE_MODE = 0o644
_SMALL_BYTES = 64 << 10
_TEMP = ".paddock-new"


def look_at_root(path: str, store: Path) -> Known[Root | None]:
    """The folder of a tree as it is; None where it is not there and could be made."""
    try:
        found = os.stat(path)  # noqa: PTH116
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        return _no_root(path, error)
    if not modes.S_ISDIR(found.st_mode):
        return Unknown("TreeBroken", f"{path} is not a folder; name a folder to publish to")
    if not os.access(real, os.R_OK | os.W_OK | os.X_OK):
        what = f"cannot write to {path}: permission denied"
        return Unknown("TreeNotPermitted", f"{what}; let the user that runs Ollama write there")
    in_store = Path(real).is_relative_to(os.path.realpath(store))
    return Root(real, found.st_dev, in_store)


def _no_root(path: str, error: OSError) -> Known[None]:
    parent = Path(path).parent
    if error.errno not in _GONE:
        return Unknown("TreeUnreadable", f"cannot look at {path}: {_words(error)}")
    if os.path.lexists(path):
        return Unknown("TreeBroken", f"{path} is a link that leads nowhere; mend or remove it")
    if not parent.is_dir():
        return Unknown("TreeMissing", f"cannot make {path}: {parent} is not there; make that first")
    return None


def look(root: str, path: str) -> Place:
    """What lies at a path of a tree; None where nothing does."""
    try:
        with _parent(root, path) as (folder, name):
            return _thing(folder, name)
    except OSError as error:
        if error.errno in _GONE:
            return None
        return Unknown("TreeUnreadable", f"cannot look at {path}: {_words(error)}")


def temp_path(path: str) -> str:
    """Where what shall take the place of a path is made first: beside it."""
    return path + _TEMP


def device_above(path: str) -> int:
    """The device of the folder that a path lies in."""
    parent = Path(path).parent
    with _explained(path):
        return parent.stat().st_dev


def make_root(path: str) -> None:
    """Make the folder of a tree; its parent is there."""
    with _explained(path), _parent(str(Path(path).parent), path) as (folder, name):
        _make_folder(folder, name)
        os.fsync(folder)


def make(root: str, path: str, thing: Thing, content: bytes | None = None) -> None:
    """Make a link, a small file or a folder where nothing is; fine where it is there already."""
    with _explained(path), _parent(root, path) as (folder, name):
        try:
            _make(folder, name, thing, content)
        except FileExistsError:
            if _thing(folder, name) != thing:
                what = f"{path} is there and not ours"
                raise StoreError(f"{what}; move it away", reason="PathTaken") from None
        os.fsync(folder)


def put_in_place(root: str, path: str, before: Thing, after: Thing) -> None:
    """Rename what lies at the `temp_path` of a path over it, while both are as named."""
    with _explained(path), _parent(root, path) as (folder, name):
        temp = _base(temp_path(path))
        if _thing(folder, name) != before or _thing(folder, temp) != after:
            what = f"{path} was changed by somebody else just now"
            raise StoreError(what, reason="PathTaken", retry=Retry.BACKOFF)
        os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def remove(root: str, path: str, thing: Thing) -> None:
    """Remove what lies at a path, if it is still this; a folder only if it is empty."""
    with _explained(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if thing.kind == "root":
            _remove_folder(path, None)
            return
        with _parent(root, path) as (folder, name):
            if _thing(folder, name) != thing:
                return
            if thing == FOLDER:
                _remove_folder(name, folder)
            else:
                os.unlink(name, dir_fd=folder)
            os.fsync(folder)


@contextlib.contextmanager
def _parent(root: str, path: str) -> Iterator[tuple[int, str]]:
    """The opened folder that a path lies in, and its last name. Raises OSError: also for a link in
    the place of a folder on the way."""
    *folders, name = os.path.relpath(path, root).split("/")
    if {"", ".", ".."} & {name, *folders}:
        raise StoreError(f"{path} does not lie in {root}", reason="TreeBroken")
    descriptor = os.open(root, _FOLDER_FLAGS)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor, name
    finally:
        os.close(descriptor)


def _thing(folder: int, name: str) -> Thing | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if modes.S_ISLNK(found.st_mode):
        return Thing("link", os.readlink(name, dir_fd=folder))
    if modes.S_ISDIR(found.st_mode):
        return FOLDER
    if not modes.S_ISREG(found.st_mode) or found.st_size > _SMALL_BYTES:
        return Thing("file")
    return Thing("file", _digest(folder, name))


def _digest(folder: int, name: str) -> str:
    """Of a file that we may not read: none, so that it is never taken for ours."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except PermissionError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        return f"sha256:{hashlib.sha256(file.read(_SMALL_BYTES + 1)).hexdigest()}"


def _make(folder: int, name: str, thing: Thing, content: bytes | None) -> None:
    if thing == FOLDER:
        _make_folder(folder, name)
    elif content is None:
        os.symlink(thing.content, name, dir_fd=folder)
        _give_to_owner(folder, name)
    else:
        _write(folder, name, content)


def _make_folder(folder: int, name: str) -> None:
    os.mkdir(name, dir_fd=folder)
    os.chmod(name, _FOLDER_MODE, dir_fd=folder)  # whatever the umask
    _give_to_owner(folder, name)


def _give_to_owner(folder: int, name: str) -> None:
    """What root makes in somebody's folder is theirs."""
    if os.geteuid() == 0:
        owner = os.fstat(folder)
        os.chown(name, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)


def _write(folder: int, name: str, content: bytes) -> None:
    """Whole or not at all: a program may read the folder at any time."""
    temp = f".{name}{_TEMP}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temp, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temp, flags, _FILE_MODE, dir_fd=folder), "wb") as file:
            os.fchmod(file.fileno(), _FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _give_to_owner(folder, temp)
        # Unlike a rename, a link fails where something is.
        os.link(temp, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temp, dir_fd=folder)


def _remove_folder(name: str, folder: int | None) -> None:
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
            raise


def _base(path: str) -> str:
    return path.rpartition("/")[2]


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """OSError becomes a StoreError that names the path and what to do."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: ("NoSpace", "free some space"),
            errno.EDQUOT: ("NoSpace", "free some space, or raise the quota"),
            errno.EROFS: ("ReadOnly", "the file system is read-only; mount it writable"),
            errno.EACCES: ("TreeNotPermitted", "let the user that runs Ollama write there"),
            errno.EPERM: ("TreeNotPermitted", "publish to a file system that knows links"),
        }
        reason, hint = hints.get(error.errno or 0, ("TreeFailed", "see the file system"))
        raise StoreError(f"cannot write {path}: {_words(error)}; {hint}", reason=reason) from error


def _words(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
