"""Triggers: what wakes the loop. A wake-up carries nothing; the cycle looks for itself.

Watches the folders that hold models.yaml (and the folders that its links lead to), `blobs/` and
`manifests/`. Bursts collapse. What cannot be watched is polled, and said so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from watchfiles import Change, awatch

log = structlog.get_logger()

DEBOUNCE_MS = 200
STEP_MS = 50
LOOK_AGAIN_MS = 2000


async def watch(folders: Callable[[], set[Path]], wake: asyncio.Event, stop: asyncio.Event) -> None:
    """Set `wake` whenever something below one of the folders changes, until `stop`.

    `folders` is asked again now and then: the file may name other templates, or a link lead to
    elsewhere.
    """
    while not stop.is_set():
        try:
            await _watch({path for path in folders() if path.is_dir()}, folders, wake, stop)
        except (OSError, RuntimeError) as error:
            log.warning("files not watched", error=str(error), instead="polled at each interval")
            await stop.wait()


async def _watch(
    watched: set[Path],
    folders: Callable[[], set[Path]],
    wake: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    """Watch these folders, until others are to be watched."""
    async for changes in awatch(
        *watched,
        watch_filter=_matters,
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


def _matters(_: Change, path: str) -> bool:
    """Editors' swap files wake nobody."""
    name = Path(path).name
    return not name.endswith((".swp", ".swx", "~")) and name != "4913"
