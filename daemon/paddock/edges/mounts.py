"""Which folders lie on file systems that can hang: those of a network, and those of a program; and
how a path leads through links to one.

Reads /proc/self/mountinfo, which asks no file system anything. Where it cannot be read, every path
counts as remote: a wait in a thread is only slower. Looks at local file systems alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import select
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE_TYPES = """
    9p afs autofs ceph cifs coda davfs gfs2 glusterfs lustre ncpfs nfs nfs4 ocfs2 orangefs smb3
    smbfs virtiofs
"""
_REMOTE = frozenset(_REMOTE_TYPES.split())
_MAX_LINKS = 40  # as many as the kernel follows
_SETTLE_S = 0.1
_OCTAL = re.compile(r"\\([0-7]{3})")


@functools.lru_cache(maxsize=1)  # it is asked several times a look, and hardly ever changes
def parse_mounts(text: str) -> Mapping[str, str]:
    """The type of the file system at each mount point; of two at one point the later one counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after:
            found[_OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4])] = after.partition(" ")[0]
    return found


def remote_mount(path: str, mounts: Mapping[str, str]) -> str | None:
    """The mount point that an absolute path lies below, where a look at it may hang."""
    at = path
    while at not in mounts:
        above = os.path.dirname(at)  # noqa: PTH120 - of text
        if above == at:
            return at
        at = above
    kind = mounts[at]
    return at if kind in _REMOTE or kind.startswith("fuse") else None


@dataclass(frozen=True, slots=True)
class Way:
    """How a path leads to what it means. `entries` are those that decide it, in order: each link
    on the way, and what it ends at, or would end at if that were there. `remote` is the mount point
    at which a look may hang: from there on nothing was looked at."""

    entries: tuple[str, ...]
    remote: str | None = None


def way(path: str, mounts: Mapping[str, str], plain: set[str] | None = None) -> Way:
    """How an absolute path leads to what it means, at this moment. `plain` are local folders that
    no link leads to, for one pass over many paths: found here, and not looked at again."""
    plain = set() if plain is None else plain
    entries: list[str] = []
    at, ahead = _start(path, plain)
    while ahead:
        if len(entries) == _MAX_LINKS:
            return Way(tuple(dict.fromkeys(entries)))
        here = os.path.normpath(os.path.join(at, ahead.pop()))  # noqa: PTH118 - of text
        if here in plain:
            at = here
            continue
        remote = remote_mount(here, mounts)
        if remote is not None:
            return Way(tuple(entries), remote)
        target = _target(here)
        if target is None:
            return Way((*entries, here))
        if target:
            entries.append(here)
            at, more = _start(target, plain) if target.startswith("/") else (at, _parts(target))
            ahead += more
        else:
            at = here
            if ahead:
                plain.add(here)
    return Way((*entries, at))


def _start(path: str, plain: set[str]) -> tuple[str, list[str]]:
    """How far an absolute path is known, and the parts ahead, last first."""
    folder, _, name = path.rpartition("/")
    return (folder, _parts(name)) if folder in plain else ("/", _parts(path))


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _target(path: str) -> str | None:
    """Where a link leads; nothing for what is no link, and None for what cannot be seen."""
    try:
        is_link = stat.S_ISLNK(os.lstat(path).st_mode)
        return os.readlink(path) if is_link else ""  # noqa: PTH115
    except (OSError, ValueError):  # ValueError: a NUL
        return None


def mounts() -> Mapping[str, str]:
    """The mounts of this process; none where they cannot be read."""
    try:
        return parse_mounts(_MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return {}


async def follow_mounts(changed: Callable[[], None]) -> None:
    """Call `changed` whenever something was mounted or unmounted, once for what happens within a
    moment. Returns where no kernel tells (proc_pid_mountinfo(5): EPOLLPRI)."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(_MOUNTS, "rb"))  # noqa: ASYNC230, PTH123 - in memory
        except OSError:
            return
        # The file is always readable: an event loop cannot wait for it itself.
        waiting = stack.enter_context(select.epoll())
        waiting.register(file, select.EPOLLPRI)
        while True:
            await _readable(waiting.fileno())
            await asyncio.sleep(_SETTLE_S)
            waiting.poll(0)
            changed()


async def _readable(descriptor: int) -> None:
    running, told = asyncio.get_running_loop(), asyncio.Event()
    running.add_reader(descriptor, told.set)
    try:
        await told.wait()
    finally:
        running.remove_reader(descriptor)
