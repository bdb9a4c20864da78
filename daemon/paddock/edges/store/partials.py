"""What Ollama keeps of pulls that were broken off, where it can no longer read it.

A server that is stopped while it notes how far a part is may leave that note empty; from then on
each pull of that blob fails with `EOF`, for ever (ollama:server/download.go readPart, writePart).
Such a blob's parts are removed, all of them: Ollama takes the parts that it finds for the whole.
Nothing else of a pull is touched, and nothing that is younger than a moment.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

from paddock.edges.store.files import explained, scan, sync_dir

# A note is truncated and written at once: an empty one that is younger may be on its way. One from
# the future is not: the clock was put back.
SETTLED_S = 2.0
_NOTE = re.compile(r"(sha256-[0-9a-f]{64}-partial)-\d+")
_NOTE_BYTES = 4096


def clear_broken(blobs_dir: Path) -> list[str]:
    """Remove every file of the partial blobs whose notes cannot be read; gives their names. Raises
    StoreError."""
    names = sorted(entry.name for entry in scan(blobs_dir) if "-partial" in entry.name)
    broken = {
        found[1]
        for name in names
        if (found := _NOTE.fullmatch(name)) and _is_broken(blobs_dir / name)
    }
    removed = [n for n in names if n in broken or n.rpartition("-")[0] in broken]
    for name in removed:
        with explained(blobs_dir / name), contextlib.suppress(FileNotFoundError):
            (blobs_dir / name).unlink()
    if removed:
        sync_dir(blobs_dir)
    return removed


def _is_broken(note: Path) -> bool:
    try:
        found = note.lstat()
        if found.st_size > _NOTE_BYTES or 0 <= time.time() - found.st_mtime < SETTLED_S:
            return False
        return not isinstance(json.loads(note.read_bytes()), dict)
    except OSError:
        return False  # gone, or not ours to read: the pull says what is wrong with it
    except ValueError:
        return True
