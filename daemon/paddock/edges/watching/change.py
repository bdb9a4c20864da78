"""What became of a path."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeAlias


class Change(enum.Enum):
    """What became of a path. WRITTEN: who wrote to it has closed it; where there is no inotify that
    is not told."""

    ADDED = "added"
    MODIFIED = "modified"
    WRITTEN = "written"
    DELETED = "deleted"


Matters: TypeAlias = Callable[[Change, str], bool]
