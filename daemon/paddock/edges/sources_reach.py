"""Who may reach a file: which part of its path is closed to a user, by modes and ACLs.

Reads the modes, owners and access ACLs of a path's parts, and the host's users; opens nothing.
What it cannot see counts as open: the kernel and Ollama have the last word.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from paddock.errors import shown

_ACL = "system.posix_acl_access"
_ACL_VERSION = 2
# Tags of an ACL's entries (linux: include/uapi/linux/posix_acl.h).
_OWNER, _USER, _OWNING_GROUP, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_READ, _PASS = 4, 1


@dataclass(frozen=True, slots=True)
class Reader:
    """A user that must be able to read the sources, such as the one that Ollama runs as."""

    uid: int
    name: str
    groups: frozenset[int]

    @classmethod
    def of(cls, uid: int) -> Self:
        """The user of a number, with the groups that a login would get."""
        with contextlib.suppress(KeyError, OSError):
            found = pwd.getpwuid(uid)
            groups = os.getgrouplist(found.pw_name, found.pw_gid)
            return cls(uid, found.pw_name, frozenset(groups))
        return cls(uid, str(uid), frozenset())

    @classmethod
    def ourselves(cls) -> Self:
        """This process."""
        groups = frozenset({os.getegid(), *os.getgroups()})
        return cls(os.geteuid(), cls.of(os.geteuid()).name, groups)


class Closed(NamedTuple):
    """The first part of a path that a user may not pass, or the file that they may not read."""

    path: str
    is_folder: bool

    def hint(self, reader: Reader) -> str:
        """What opens it to this user, and to nobody else."""
        right = "x" if self.is_folder else "r"
        return f"let it: setfacl -m u:{reader.name}:{right} {shown(shlex.quote(self.path))}"


def closed_part(real_path: str, reader: Reader) -> Closed | None:
    """What of a real path is closed to a user; None where nothing is seen to be."""
    if reader.uid == 0:
        return None
    path = Path(real_path)
    for folder in reversed(path.parents):
        if not _may(folder, reader, _PASS):
            return Closed(str(folder), is_folder=True)
    return None if _may(path, reader, _READ) else Closed(real_path, is_folder=False)


class AclEntry(NamedTuple):
    """One line of an ACL: what it is about, whom, and which rights it gives."""

    tag: int
    rights: int
    id: int


def parse_acl(data: bytes) -> tuple[AclEntry, ...]:
    """The entries of an ACL as the kernel gives it; none where it has another form."""
    if len(data) < 4 or len(data) % 8 != 4 or data[:4] != struct.pack("<I", _ACL_VERSION):
        return ()
    return tuple(AclEntry(*entry) for entry in struct.iter_unpack("<HHI", data[4:]))


def acl_rights(acl: tuple[AclEntry, ...], reader: Reader, group: int, wanted: int) -> bool:
    """Whether an ACL lets a user who is not the owner (linux: fs/posix_acl.c posix_acl_permission).

    `group` is the file's own.
    """
    mask = next((entry.rights for entry in acl if entry.tag == _MASK), 7)
    for entry in acl:
        if entry.tag == _USER and entry.id == reader.uid:
            return bool(entry.rights & mask & wanted)
    mine = [entry for entry in acl if _is_of_group(entry, reader, group)]
    if mine:
        return any(entry.rights & mask & wanted for entry in mine)
    return any(entry.rights & wanted for entry in acl if entry.tag == _OTHER)


def _is_of_group(entry: AclEntry, reader: Reader, group: int) -> bool:
    if entry.tag == _OWNING_GROUP:
        return group in reader.groups
    return entry.tag == _GROUP and entry.id in reader.groups


def _may(path: Path, reader: Reader, wanted: int) -> bool:
    try:
        found = path.stat()
    except OSError:
        return True
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == reader.uid:
        return bool(mode >> 6 & wanted)
    if acl := _acl(path):
        return acl_rights(acl, reader, found.st_gid, wanted)
    return bool((mode >> 3 if found.st_gid in reader.groups else mode) & wanted)


def _acl(path: Path) -> tuple[AclEntry, ...]:
    get = getattr(os, "getxattr", None)  # Linux has it
    with contextlib.suppress(OSError):
        return () if get is None else parse_acl(get(path, _ACL))
    return ()
