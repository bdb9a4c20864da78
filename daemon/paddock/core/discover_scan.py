"""Scans: what one look at a folder of models found.

Pure data, made by `edges/folders.py`. A path is relative to its folder, with `/` between its parts.
What could not be read is said so, and never taken for empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paddock.core.observed import Unknown


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that is, or may become, a GGUF. `real_path` has no link on the way; of a link, `hop`
    is where it points first and `linked_ns` when it was made (both empty else)."""

    path: str
    size_bytes: int
    mtime_ns: int
    real_path: str
    hop: str = ""
    linked_ns: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at a folder, at a time. `devices` has the number of its device (at ``""``) and of
    each other one that is mounted below it; `refs` the commit that a cached repository stands at;
    `unread` what could not be read, and why; `folder_links` links to folders, not followed."""

    at_ns: int
    entries: tuple[Entry, ...]
    devices: Mapping[str, int]
    refs: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, Unknown] = field(default_factory=dict)
    folder_links: tuple[str, ...] = ()
