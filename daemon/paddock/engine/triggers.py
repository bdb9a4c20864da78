"""Triggers: what wakes the loop. A wake-up carries nothing; the cycle looks for itself.

Watches the folders that hold models.yaml (and the folders that its links lead to), `blobs/`,
`manifests/` and the folders of discover. Bursts collapse. What cannot be watched is polled, and
said so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from watchfiles import Change, awatch

from paddock.core.discover_files import is_half_written

log = structlog.get_logger()

DEBOUNCE_MS = 200
STEP_MS = 50
LOOK_AGAIN_MS = 2000


Matters = Callable[[Change, str], bool]


def _matters(_: Change, path: str) -> bool:
    """Editors' swap files wake nobody."""
    name = Path(path).name
    return not name.endswith((".swp", ".swx", "~")) and name != "4913"


def comes_or_goes(change: Change, path: str) -> bool:
    """Files that grow, as downloads do, wake nobody; the next look finds what became of them."""
    return change is not Change.modified and not is_half_written(path)


async def watch(
    folders: Callable[[], set[Path]],
    wake: asyncio.Event,
    stop: asyncio.Event,
    *,
    matters: Matters = _matters,
) -> None:
    """Set `wake` whenever something that matters changes below one of the folders, until `stop`.

    `folders` is asked again now and then: the file may name other templates, or a link lead to
    elsewhere.
    """
    while not stop.is_set():
        try:
            watched = {path for path in folders() if path.is_dir()}
            await _watch(watched, folders, wake=wake, stop=stop, matters=matters)
        except (OSError, RuntimeError) as error:
            log.warning("files not watched", error=str(error), instead="polled at each interval")
            await stop.wait()


async def _watch(
    watched: set[Path],
    folders: Callable[[], set[Path]],
    *,
    wake: asyncio.Event,
    stop: asyncio.Event,
    matters: Matters,
) -> None:
    """Watch these folders, until others are to be watched."""
    async for changes in awatch(
        *watched,
        watch_filter=matters,
        debounce=DEBOUNCE_MS,
        step=STEP_MS,
        stop_event=stop,
        rust_timeout=LOOK_AGAIN_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    ):
        if changes:
            wake.set()
        if watched != {path for path in folders() if path.is_dir()}:
            wake.set()
            return


def spec_folders(files: Iterable[Path]) -> set[Path]:
    """The folders to watch for files: where each lies, and where its links lead."""
    found = {file.absolute().parent for file in files}
    return found | {file.resolve().parent for file in files}
