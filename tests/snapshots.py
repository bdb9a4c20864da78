"""What a models folder holds, path by path, so that a test can say that nothing was written.

Only reads. `.paddock/` is left out: it is where Paddock may always write.
"""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """What a snapshot holds of one path; `content` is a file's SHA-256 or a link's target."""

    kind: str
    size_bytes: int
    mtime_ns: int
    mode: int
    content: str


def store_snapshot(models_dir: Path) -> dict[str, Entry]:
    """Every path below a models folder outside `.paddock/`, so that any write there is seen."""
    found: dict[str, Entry] = {}
    for path in sorted(models_dir.rglob("*")):
        relative = path.relative_to(models_dir)
        if relative.parts[0] != ".paddock":
            found[str(relative)] = _entry(path)
    return found


def _entry(path: Path) -> Entry:
    facts = path.lstat()
    mode = stat.S_IMODE(facts.st_mode)
    if stat.S_ISLNK(facts.st_mode):
        return Entry("link", facts.st_size, facts.st_mtime_ns, mode, str(path.readlink()))
    if stat.S_ISDIR(facts.st_mode):
        return Entry("folder", 0, facts.st_mtime_ns, mode, "")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry("file", facts.st_size, facts.st_mtime_ns, mode, digest)
