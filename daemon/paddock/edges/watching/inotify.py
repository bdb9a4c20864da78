"""inotify(7), asked for by the three calls of the C library.

Linux alone. The kernel tells of changes, and not of reads, through a descriptor that an event loop
waits on: no thread, no timer. Folders below a watched one are watched as they come. Links to
folders are followed, and a folder that is met twice is entered once.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Self

from paddock.edges.watching.change import Change

# linux/inotify.h
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_UNMOUNT, _OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_ONLYDIR, _ISDIR = 0x1000000, 0x40000000

_COMES = _CREATE | _MOVED_TO
_GOES = _DELETE | _MOVED_FROM
_ENDS = _DELETE_SELF | _MOVE_SELF | _UNMOUNT
_CONTENTS = _MODIFY | _ATTRIB

_EVENT = struct.Struct("iIII")
_READ_BYTES = 1 << 16


class Inotify:
    """Watches on folders, as they are when it is made; use it as a context manager. Raises OSError
    where the kernel gives no more of them."""

    def __init__(self, folders: Iterable[str], *, below: bool, contents: bool):
        self._libc = ctypes.CDLL(None, use_errno=True)
        told = _COMES | _GOES | _ENDS | _CLOSE_WRITE
        self._mask = told | _ONLYDIR | (_CONTENTS if contents else 0)
        self._below = below
        self._folders = tuple(folders)
        self._paths: dict[int, list[str]] = {}
        self.descriptor = self._call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for folder in self._folders:
                self._watch(folder)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every watch."""
        os.close(self.descriptor)

    def read(self) -> set[tuple[Change, str]]:
        """What has happened since this was asked last, by path. Raises OSError."""
        found: set[tuple[Change, str]] = set()
        with suppress(BlockingIOError):
            while data := os.read(self.descriptor, _READ_BYTES):
                for watch, mask, name in _events(data):
                    found.update(self._told(watch, mask, name))
        return found

    def _told(self, watch: int, mask: int, name: str) -> Iterator[tuple[Change, str]]:
        if mask & _OVERFLOW:  # what was lost may be anything
            yield from ((Change.MODIFIED, folder) for folder in self._folders)
        for folder in tuple(self._paths.get(watch, ())):
            path = f"{folder}/{name}" if name else folder
            if self._below and name:
                self._follow(path, mask)
            if mask & (_COMES | _GOES | _ENDS | _CLOSE_WRITE | _CONTENTS):
                yield _change(mask), path
        if mask & _IGNORED:
            self._paths.pop(watch, None)

    def _follow(self, path: str, mask: int) -> None:
        if mask & _GOES and mask & _ISDIR:
            self._forget(path)
        if mask & _COMES and os.path.isdir(path):  # noqa: PTH112
            self._watch(path)

    def _watch(self, folder: str) -> None:
        """Watch a folder before its entries are read: what comes meanwhile is told of."""
        # Gone again, closed to us or no folder: then there is nothing to tell of it.
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            watch = self._call(
                "inotify_add_watch", self.descriptor, os.fsencode(folder), self._mask
            )
            paths = self._paths.setdefault(watch, [])
            is_known = bool(paths)
            if folder not in paths:
                paths.append(folder)
            if self._below and not is_known:
                with os.scandir(folder) as entries:
                    folders = [entry.path for entry in entries if entry.is_dir()]
                for below in folders:
                    self._watch(below)

    def _forget(self, folder: str) -> None:
        """What was moved away is watched no longer."""
        for watch, paths in tuple(self._paths.items()):
            paths[:] = [p for p in paths if p != folder and not p.startswith(f"{folder}/")]
            if not paths:
                del self._paths[watch]
                with suppress(OSError):  # gone by itself
                    self._call("inotify_rm_watch", self.descriptor, watch)

    def _call(self, name: str, *arguments: int | bytes) -> int:
        result: int = getattr(self._libc, name)(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    at = 0
    while at < len(data):
        watch, mask, _, size = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        yield watch, mask, os.fsdecode(data[at : at + size].rstrip(b"\0"))
        at += size


def _change(mask: int) -> Change:
    if mask & _COMES:
        return Change.ADDED
    if mask & (_GOES | _ENDS):
        return Change.DELETED
    return Change.WRITTEN if mask & _CLOSE_WRITE else Change.MODIFIED
