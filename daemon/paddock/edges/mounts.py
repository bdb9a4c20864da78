"""Which folders lie on file systems that can hang: those of a network, and those of a program.

Reads /proc/self/mountinfo, which asks no file system anything. Where it cannot be read, every path
counts as remote: a wait in a thread is only slower.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE_TYPES = """
    9p afs autofs ceph cifs coda davfs gfs2 glusterfs lustre ncpfs nfs nfs4 ocfs2 orangefs smb3
    smbfs virtiofs
"""
_REMOTE = frozenset(_REMOTE_TYPES.split())
_OCTAL = re.compile(r"\\([0-7]{3})")


def parse_mounts(text: str) -> Mapping[str, str]:
    """The type of the file system at each mount point; of two at one point the later one counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after:
            found[_OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4])] = after.partition(" ")[0]
    return found


def is_remote(path: str, mounts: Mapping[str, str]) -> bool:
    """Whether an absolute path lies where a look at it may hang."""
    at = path
    while at not in mounts:
        above = os.path.dirname(at)  # noqa: PTH120 - of text
        if above == at:
            return True
        at = above
    kind = mounts[at]
    return kind in _REMOTE or kind.startswith("fuse")


def mounts() -> Mapping[str, str]:
    """The mounts of this process; none where they cannot be read."""
    try:
        return parse_mounts(_MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return {}
