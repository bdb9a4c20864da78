"""The host's users and groups, by its name service.

Reads only. A name that nobody has is None, and so is one that the name service cannot tell now.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd


def user_id(name: str) -> int | None:
    """The uid of a user."""
    with contextlib.suppress(KeyError, OSError):
        return pwd.getpwnam(name).pw_uid
    return None


def group_id(name: str) -> int | None:
    """The gid of a group."""
    with contextlib.suppress(KeyError, OSError):
        return grp.getgrnam(name).gr_gid
    return None


def group_name(gid: int) -> str:
    """The name of a group; its number where it has none."""
    with contextlib.suppress(KeyError, OSError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def groups_of(uid: int, gid: int) -> frozenset[int]:
    """The groups of a user, as a login would get them; `gid` alone where nobody has that uid."""
    with contextlib.suppress(KeyError, OSError):
        return frozenset(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    return frozenset({gid})
